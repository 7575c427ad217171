"""Every backbone of the configuration: its feature, and the maps of its layers, from one pass."""

from typing import get_args

import pytest
import torch
import torchvision
from torch import Tensor, nn

from avmi.config.layers import LAYERS, OUTPUT, is_video
from avmi.config.parts import Backbone, BackboneName
from avmi.models.backbones import build_backbone
from avmi.models.weights import stem_of

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
    "r2plus1d_18": 512,
    "mc3_18": 512,
    "r3d_18": 512,
    "s3d": 1024,
}
VIDEO = [name for name in FEATURE_DIMS if is_video(name)]
# Every network that takes pictures or spectrograms with its channels, and video networks with their stacks.
INPUTS = [(n, c) for n in FEATURE_DIMS for c in ((6, 9) if n in VIDEO else (1, 3, 9))]


def inputs(channels: int, *, batch: int = 2, height: int = 40, width: int = 56) -> Tensor:
    return torch.randn(batch, channels, height, width, generator=torch.Generator().manual_seed(0))


def build(name: BackboneName, *, channels: int | None = None) -> nn.Module:
    torch.manual_seed(3)
    return build_backbone(Backbone(name=name, width=8), channels_in=channels or (6 if name in VIDEO else 3))


def test_every_backbone_has_a_known_feature_length() -> None:
    assert set(FEATURE_DIMS) == set(get_args(BackboneName)) == set(LAYERS)
    assert VIDEO == ["r2plus1d_18", "mc3_18", "r3d_18", "s3d"]


@pytest.mark.parametrize(("name", "channels"), INPUTS)
@torch.no_grad()
def test_every_backbone_gives_one_vector_for_each_input(name: BackboneName, channels: int) -> None:
    backbone = build(name, channels=channels).eval()
    x = inputs(channels, batch=1).repeat(3, 1, 1, 1)
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


@pytest.mark.parametrize("name", [n for n in FEATURE_DIMS if n != "small_conv"])
@torch.no_grad()
def test_with_the_last_layer_put_back_torchvisions_own_network_comes_out(name: BackboneName) -> None:
    torch.manual_seed(3)
    reference = torchvision.models.get_model(name, weights=None).eval()
    last = [m for m in reference.modules() if isinstance(m, nn.Linear | nn.Conv3d)][-1]
    last.bias.zero_()  # fresh networks give features so small that it would hide them
    if name == "s3d":  # the least that torchvision's pooling window takes
        stack = inputs(3 * 14, batch=1, height=224, width=224)
    else:
        stack = inputs(3 * 5 if name in VIDEO else 3, height=48, width=64)
    backbone = build(name, channels=stack.shape[1]).eval()
    video = stack.unflatten(1, (-1, 3)).transpose(1, 2)  # batch channels frames height width
    wanted = reference(video if name in VIDEO else stack)
    scores = backbone(stack) @ last.weight.flatten(1).T
    assert wanted.norm() > 0
    assert (scores - wanted).norm() < 1e-4 * wanted.norm()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", [n for n in FEATURE_DIMS if n not in VIDEO])
@torch.no_grad()
def test_pictures_and_sounds_are_computed_with_the_channels_innermost(
    name: BackboneName, channels: int
) -> None:
    backbone, last = build(name, channels=channels), LAYERS[name][-2]
    weights = [p for p in backbone.parameters() if p.ndim == 4]
    assert all(w.is_contiguous(memory_format=torch.channels_last) for w in weights)
    last_map = backbone.tap(inputs(channels, height=64, width=96), (last,)).maps[last]
    assert last_map.shape[2] > 1
    assert last_map.is_contiguous(memory_format=torch.channels_last)
    assert not last_map.is_contiguous()


@pytest.mark.parametrize("name", FEATURE_DIMS)
def test_every_layer_can_be_tapped_and_passes_gradients_down_to_the_stem(name: BackboneName) -> None:
    backbone = build(name)
    network = getattr(backbone, "net", backbone)
    layers = [layer for layer in LAYERS[name] if layer != OUTPUT]
    seen: dict[str, Tensor] = {}
    hooks = [
        network.get_submodule(layer).register_forward_hook(
            lambda _module, _inputs, output, layer=layer: seen.update({layer: output.detach().clone()})
        )
        for layer in layers
    ]
    x = inputs(6 if name in VIDEO else 3, height=32, width=64)
    tapped = backbone.tap(x, LAYERS[name])
    assert list(tapped.maps) == layers
    stem = stem_of(network)[1].weight
    for layer in layers:
        # What the module gave when it ran: no later module has written over it.
        assert torch.equal(tapped.maps[layer], seen[layer]), layer
        assert tapped.maps[layer].ndim == (5 if name in VIDEO else 4)
        weights = torch.randn(seen[layer].shape, generator=torch.Generator().manual_seed(1))
        (gradient,) = torch.autograd.grad((tapped.maps[layer] * weights).sum(), stem, retain_graph=True)
        assert gradient.isfinite().all(), layer
        assert gradient.norm() > 0, layer
    assert tapped.at(OUTPUT) is tapped.feature
    (gradient,) = torch.autograd.grad(tapped.feature[:, ::3].sum(), stem)
    assert gradient.norm() > 0
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("name", ["small_conv", "mobilenet_v3_small", "convnext_tiny", "s3d"])
@torch.no_grad()
def test_tapping_changes_nothing_and_gives_only_what_is_asked_for(name: BackboneName) -> None:
    backbone = build(name).eval()
    x, middle = inputs(6 if name in VIDEO else 3), LAYERS[name][2]
    tapped = backbone.tap(x, (middle,))
    assert set(tapped.maps) == {middle}
    assert torch.equal(tapped.feature, backbone(x))
    assert dict(backbone.tap(x, ()).maps) == {}


@pytest.mark.parametrize("name", VIDEO)
@pytest.mark.parametrize("frames", [2, 3, 5, 8])
@torch.no_grad()
def test_video_networks_take_a_few_pictures(name: BackboneName, frames: int) -> None:
    backbone = build(name, channels=3 * frames).eval()
    x = inputs(3 * frames, height=32, width=32)
    tapped = backbone.tap(x, LAYERS[name][:1])
    assert tapped.feature.shape == (2, FEATURE_DIMS[name])
    # The stem keeps the time of the ResNets and halves that of S3D (Xie et al. 2018).
    times = -(-frames // 2) if name == "s3d" else frames
    assert tapped.maps[LAYERS[name][0]].shape[2:] == (times, 16, 16)


@torch.no_grad()
def test_the_time_of_a_video_is_the_order_of_the_stack() -> None:
    backbone = build("mc3_18", channels=9).eval()
    x = inputs(9, height=32, width=32)
    later = x.clone()
    later[:, 6:] += 1.0  # the third picture
    stem, moved = (backbone.tap(part, ("stem",)).maps["stem"] for part in (x, later))
    same = (stem == moved).all(dim=(1, 3, 4))[0]
    assert same.tolist() == [True, False, False]  # a kernel of three pictures
