"""A typed backbone choice → a network from pictures or spectrograms to one feature vector each."""

import math
from pathlib import Path

import torch
import torchvision
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

from avmi.config.parts import Backbone
from avmi.errors import InputError


class ConvStage(nn.Sequential):
    """Convolution, group normalization, ReLU.

    Group normalization (Wu & He 2018) looks at one clip at a time: several processes then give what
    one process gives on the joined batch, and no statistics leak between clips. Eight groups, or as
    many as divide the channels.
    """

    def __init__(self, channels_in: int, channels: int, *, kernel: int, stride: int) -> None:
        super().__init__(
            nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=kernel // 2, bias=False),
            nn.GroupNorm(math.gcd(8, channels), channels),
            nn.ReLU(inplace=True),
        )


class SmallConv(nn.Module):
    """Four convolution stages and a pooling, for machines of a few CPU cores.

    The pooling joins the mean and the maximum over all places: what is there on the whole, and
    whatever is there at all.
    """

    def __init__(self, channels_in: int, *, width: int) -> None:
        super().__init__()
        self.stage1 = ConvStage(channels_in, width, kernel=5, stride=4)
        self.stage2 = ConvStage(width, 2 * width, kernel=3, stride=2)
        self.stage3 = ConvStage(2 * width, 4 * width, kernel=3, stride=2)
        self.stage4 = ConvStage(4 * width, 8 * width, kernel=3, stride=1)
        self.feature_dim = 16 * width

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch feature"]:
        """Embed a batch; any height and width from 16 up."""
        maps = self.stage4(self.stage3(self.stage2(self.stage1(x))))
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


class TorchvisionBackbone(nn.Module):
    """A torchvision classifier without its last layer, for any number of input channels."""

    def __init__(self, name: str, channels_in: int) -> None:
        super().__init__()
        self.net = torchvision.models.get_model(name, weights=None)
        last_name, last = [
            (name, module) for name, module in self.net.named_modules() if isinstance(module, nn.Linear)
        ][-1]
        _replace(self.net, last_name, nn.Identity())
        self.feature_dim = int(last.in_features)
        stem_name, stem = _first_convolution(self.net)
        if stem.in_channels != channels_in:
            _replace(self.net, stem_name, _stem_for(stem, channels_in))

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch feature"]:
        """Embed a batch."""
        features: Tensor = self.net(x)
        return features


def build_backbone(settings: Backbone, *, channels_in: int) -> SmallConv | TorchvisionBackbone:
    """Build the backbone that the configuration names, with its local weights if it names some."""
    if settings.name == "small_conv":
        backbone: SmallConv | TorchvisionBackbone = SmallConv(channels_in, width=settings.width)
        network: nn.Module = backbone
    else:
        backbone = TorchvisionBackbone(settings.name, channels_in)
        network = backbone.net
    if settings.weights is not None:
        load_weights(network, settings.weights)
    return backbone


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a local state dict into a backbone; the classifier's own entries may be absent or extra.

    A stem for other channels (spectrograms, stacks) takes the file's filters averaged over channels.
    Raises `InputError` when the file is missing, is no state dict, or fits another network.
    """
    own = network.state_dict()
    loaded = {name: value for name, value in _read_state(path).items() if name in own}
    stem = f"{_first_convolution(network)[0]}.weight"
    if stem in loaded:
        loaded[stem] = _fit_channels(loaded[stem], own[stem])
    # Files from before PyTorch 0.4.1, as most of torchvision's are, count no batches; nothing reads it.
    uncounted = {name for name in own if name.endswith("num_batches_tracked")} - loaded.keys()
    loaded |= {name: own[name] for name in uncounted}
    missing = sorted(own.keys() - loaded.keys())
    wrong = sorted(name for name, value in loaded.items() if value.shape != own[name].shape)
    if missing or wrong:
        what = f"it lacks {missing[0]}" if missing else f"{wrong[0]} has another shape"
        raise InputError(
            f"{path} does not fit the backbone ({what}; {len(missing) + len(wrong)} such entries of "
            f"{len(own)}): give a state dict of the backbone that the config names"
        )
    network.load_state_dict(loaded)


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: no such weights file; give a local state dict")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # any reader's complaint means the same to the user
        raise _no_state_dict(path) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise _no_state_dict(path)
    return state


def _no_state_dict(path: Path) -> InputError:
    return InputError(
        f"{path} is not a state dict of tensors: save one by torch.save(model.state_dict(), …) or safetensors"
    )


def _fit_channels(value: Tensor, own: Tensor) -> Tensor:
    if value.ndim == 4 and value.shape[1] != own.shape[1]:
        mean = value.mean(dim=1, keepdim=True) * (value.shape[1] / own.shape[1])
        return mean.expand(-1, own.shape[1], -1, -1).contiguous()
    return value


def _first_convolution(network: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, m) for name, m in network.named_modules() if isinstance(m, nn.Conv2d))


def _stem_for(stem: nn.Conv2d, channels_in: int) -> nn.Conv2d:
    return nn.Conv2d(
        channels_in,
        stem.out_channels,
        kernel_size=stem.kernel_size,  # type: ignore[arg-type]
        stride=stem.stride,  # type: ignore[arg-type]
        padding=stem.padding,  # type: ignore[arg-type]
        bias=stem.bias is not None,
    )


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    setattr(network.get_submodule(parent), child, module)
