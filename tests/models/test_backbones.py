"""Every backbone of the configuration, for any number of channels; local weights, right and wrong."""

from pathlib import Path
from typing import get_args

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import Tensor, nn

from avmi.config.layers import LAYERS, OUTPUT
from avmi.config.parts import Backbone, ImageBackbone
from avmi.errors import InputError
from avmi.models.backbones import SmallConv, build_backbone

# The last layers' inputs, as torchvision's documentation of each network gives them.
FEATURE_DIMS = {
    "small_conv": 16 * 8,
    "resnet18": 512,
    "resnet34": 512,
    "resnet50": 2048,
    "mobilenet_v3_small": 1024,
    "mobilenet_v3_large": 1280,
    "shufflenet_v2_x0_5": 1024,
    "efficientnet_b0": 1280,
    "convnext_tiny": 768,
}
QUICK = "shufflenet_v2_x0_5"


def pictures(channels: int, *, batch: int = 2, height: int = 40, width: int = 56) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _cheap_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """ConvNeXt draws 28 million truncated normals in a second; a plain normal is as good here."""
    monkeypatch.setattr(nn.init, "trunc_normal_", lambda t, std=1.0, **_: nn.init.normal_(t, std=std))


def test_every_backbone_has_a_known_feature_length() -> None:
    assert set(FEATURE_DIMS) == set(get_args(ImageBackbone)) == set(LAYERS)


@pytest.mark.parametrize("channels", [1, 3, 9])
@pytest.mark.parametrize("name", FEATURE_DIMS)
@torch.no_grad()
def test_every_backbone_gives_one_vector_for_each_input(name: ImageBackbone, channels: int) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(Backbone(name=name, width=8), channels_in=channels).eval()
    x = pictures(channels, batch=1).repeat(3, 1, 1, 1)
    x[1, 0] += 1.0
    x[2, -1] += 1.0
    features = backbone(x)
    assert features.shape == (3, FEATURE_DIMS[name])
    assert backbone.feature_dim == FEATURE_DIMS[name]
    assert features.isfinite().all()
    # The first channel is seen, and the last (untrained features may be tiny: compare shares).
    moved = (features - features[0]).norm(dim=1) / features[0].norm()
    assert moved[1] > 1e-3
    assert moved[2] > 1e-3


@pytest.mark.parametrize("name", ["small_conv", QUICK, "mobilenet_v3_small", "resnet18"])
def test_the_layers_that_views_can_tap_are_modules_of_the_backbone(name: ImageBackbone) -> None:
    backbone = build_backbone(Backbone(name=name, width=8), channels_in=3)
    network = backbone if isinstance(backbone, SmallConv) else backbone.net
    for layer in LAYERS[name]:
        if layer != OUTPUT:
            assert network.get_submodule(layer) is not None


def test_torchvision_backbones_are_torchvision_networks_without_their_last_layer() -> None:
    torch.manual_seed(3)
    reference = torchvision.models.resnet18(weights=None).eval()
    torch.manual_seed(3)
    backbone = build_backbone(Backbone(name="resnet18"), channels_in=3).eval()
    with torch.no_grad():
        features, wanted = backbone(pictures(3)), reference(pictures(3))
    assert features.std() > 0.1
    torch.testing.assert_close(features @ reference.fc.weight.T + reference.fc.bias, wanted)


@pytest.mark.parametrize("width", [8, 12, 30])
@torch.no_grad()
def test_small_conv_takes_every_width_and_odd_sizes(width: int) -> None:
    backbone = SmallConv(2, width=width)
    assert backbone(torch.randn(3, 2, 17, 94)).shape == (3, 16 * width)
    assert backbone(torch.randn(1, 2, 16, 16)).shape == (1, 16 * width)


@torch.no_grad()
def test_small_conv_pools_the_mean_and_the_maximum_over_all_places() -> None:
    backbone = SmallConv(1, width=8)
    maps: list[Tensor] = []
    backbone.stage4.register_forward_hook(lambda _module, _inputs, output: maps.append(output))
    features = backbone(pictures(1))
    flat = maps[0].flatten(2)
    torch.testing.assert_close(features, torch.cat([flat.mean(2), flat.max(2).values], dim=1))


@torch.no_grad()
def test_small_conv_looks_at_one_clip_at_a_time_even_while_training() -> None:
    backbone = SmallConv(3, width=8).train()
    x = pictures(3, batch=4)
    torch.testing.assert_close(backbone(x)[2:3], backbone(x[2:3]), atol=1e-5, rtol=1e-4)


# Local weights -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference() -> nn.Module:
    torch.manual_seed(11)
    network = torchvision.models.get_model(QUICK, weights=None)
    network.fc = nn.Identity()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    # Statistics as after training: with those of fresh weights, features in evaluation are all but zero.
    with torch.no_grad():
        network.train()(pictures(3, batch=16))
        assert network.eval()(pictures(3)).std() > 0.1
    return network


def save(state: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return path


def full_state(reference: nn.Module) -> dict[str, Tensor]:
    """Give the state with the classifier that a downloaded file has."""
    return {**reference.state_dict(), "fc.weight": torch.randn(1000, 1024), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
@torch.no_grad()
def test_a_local_file_gives_its_features(reference: nn.Module, tmp_path: Path, suffix: str) -> None:
    path = save(full_state(reference), tmp_path / f"w{suffix}")
    backbone = build_backbone(Backbone(name=QUICK, weights=path), channels_in=3).eval()
    torch.testing.assert_close(backbone(pictures(3)), reference(pictures(3)))


@torch.no_grad()
def test_old_files_that_count_no_batches_are_taken(reference: nn.Module, tmp_path: Path) -> None:
    state = {n: t for n, t in full_state(reference).items() if not n.endswith("num_batches_tracked")}
    path = save(state, tmp_path / "w.pth")
    backbone = build_backbone(Backbone(name=QUICK, weights=path), channels_in=3).eval()
    torch.testing.assert_close(backbone(pictures(3)), reference(pictures(3)))


@pytest.mark.parametrize("channels", [1, 9])
@torch.no_grad()
def test_a_stem_of_other_channels_sees_grey_as_the_file_does(
    reference: nn.Module, tmp_path: Path, channels: int
) -> None:
    path = save(full_state(reference), tmp_path / "w.safetensors")
    backbone = build_backbone(Backbone(name=QUICK, weights=path), channels_in=channels).eval()
    grey = pictures(1)
    features = backbone(grey.expand(-1, channels, -1, -1))
    wanted = reference(grey.expand(-1, 3, -1, -1))
    assert wanted.std() > 0.1
    torch.testing.assert_close(features, wanted, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_small_conv_takes_local_weights_too(tmp_path: Path) -> None:
    trained = SmallConv(1, width=16)
    path = save(trained.state_dict(), tmp_path / "w.safetensors")
    backbone = build_backbone(Backbone(name="small_conv", width=16, weights=path), channels_in=1)
    torch.testing.assert_close(backbone(pictures(1)), trained(pictures(1)))


def wrong_files(reference: nn.Module, folder: Path) -> dict[str, Path]:
    state = reference.state_dict()
    files = {
        "missing": folder / "missing.pth",
        "another network": save(SmallConv(3, width=8).state_dict(), folder / "other.safetensors"),
        "half of it": save(dict([*state.items()][: len(state) // 2]), folder / "half.pth"),
        "no tensors": folder / "numbers.pth",
        "a whole module": folder / "module.pth",
        "text": folder / "text.pth",
        "text as safetensors": folder / "text.safetensors",
        "cut off": folder / "cut.safetensors",
    }
    inner = "stage2.0.branch2.0.weight"  # a convolution that is not the stem
    files["another width"] = save({**state, inner: state[inner][:, :5]}, folder / "width.pth")
    torch.save({"epoch": 3, "loss": 0.5}, files["no tensors"])
    torch.save(nn.Linear(2, 3), files["a whole module"])
    for name in ("text", "text as safetensors"):
        files[name].write_text("these are not weights\n" * 9)
    whole = save(dict(state), folder / "whole.safetensors").read_bytes()
    files["cut off"].write_bytes(whole[: len(whole) // 2])
    return files


def test_wrong_files_are_refused_in_one_sentence_that_names_them(
    reference: nn.Module, tmp_path: Path
) -> None:
    for what, path in wrong_files(reference, tmp_path).items():
        with pytest.raises(InputError) as caught:
            build_backbone(Backbone(name=QUICK, weights=path), channels_in=3)
        text = str(caught.value)
        assert str(path) in text, what
        assert "\n" not in text, what
        assert len(text) < 300, what
