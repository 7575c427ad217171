"""A torchvision network's name → the network without its last layer, whose layers can be tapped."""

from collections.abc import Collection

import torch
import torchvision
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.layers import is_video
from avmi.config.parts import BackboneName
from avmi.models.taps import Steps, Tapped, run_steps
from avmi.models.weights import stem_of

# What comes after the convolutions in all of torchvision's networks here; ShuffleNet has no module avgpool.
_END = ("avgpool", "fc", "classifier")


class TorchvisionBackbone(nn.Module):
    """A torchvision classifier without its last layer.

    Networks of pictures take any number of channels. Video networks take a stack of at least one picture,
    3 channels each, as a video; their pooling windows become a mean over all that is left, so that a few
    pictures are enough. On inputs of the length and size that torchvision names the features are its own.
    """

    def __init__(self, name: BackboneName, channels_in: int, *, checkpoints: bool = False) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        self.video = is_video(name)
        self.net = torchvision.models.get_model(name, weights=None)
        last_name, last = [
            (n, m) for n, m in self.net.named_modules() if isinstance(m, nn.Linear | nn.Conv3d)
        ][-1]
        _replace(self.net, last_name, nn.Identity())
        self.feature_dim = int(last.weight.shape[1])
        stem_name, stem = stem_of(self.net)
        if isinstance(stem, nn.Conv2d) and stem.in_channels != channels_in:
            _replace(self.net, stem_name, _stem_for(stem, channels_in))
        if name == "s3d":
            # Its last pooling drops an odd place at the end, and with fewer than 5 pictures the only one.
            self.net.features[13].ceil_mode = True
        if not self.video:
            # As in `SmallConv`: 1.1 to 1.3 times the speed on CPUs. Video networks gain nothing from theirs.
            self.net.to(memory_format=torch.channels_last)

    def tap(self, x: Float[Tensor, "batch channels height width"], layers: Collection[str]) -> Tapped:
        """Embed a batch and keep the maps of the named layers: rows and columns, of videos time before them."""
        if self.video:
            x = rearrange(x, "n (frames channels) h w -> n channels frames h w", channels=3)
        else:
            x = x.contiguous(memory_format=torch.channels_last)
        last, maps = run_steps(self._steps(), x, layers, checkpoints=self.checkpoints)
        pooled: Tensor = last.mean(dim=tuple(range(2, last.ndim)), keepdim=True)
        classifier = getattr(self.net, "classifier", None)
        if classifier is None:
            return Tapped(pooled.flatten(1), maps)
        # ConvNeXt's normalizes the channels of a map and flattens it itself.
        flattens = any(isinstance(module, nn.Flatten) for module in classifier)
        return Tapped(classifier(pooled if flattens else pooled.flatten(1)), maps)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch feature"]:
        """Embed a batch."""
        return self.tap(x, ()).feature

    def _steps(self) -> Steps:
        """List the convolutions in the order that they run, which is torchvision's order of declaring them."""
        for name, module in self.net.named_children():
            if name == "features":
                yield from ((f"features.{i}", part) for i, part in enumerate(module))
            elif name not in _END:
                yield name, module


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
