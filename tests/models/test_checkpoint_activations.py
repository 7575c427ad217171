"""Activations that are made again: the same gradients, draws and running statistics, and less kept."""

import pytest
import torch

from avmi.config.layers import LAYERS
from avmi.config.parts import Backbone
from avmi.models.backbones import build_backbone

NAMES = (
    "small_conv",
    "resnet18",
    "mobilenet_v3_small",
    "shufflenet_v2_x0_5",
    "efficientnet_b0",  # drops whole blocks at random
)


def pass_through(name: str, *, checkpoints: bool):
    """Two batches forward and backward, with two taps; what comes out, and what is kept for the backward pass."""
    torch.manual_seed(0)
    settings = Backbone(name=name, normalization="batch", width=8, checkpoint_activations=checkpoints)
    backbone = build_backbone(settings, channels_in=3).train()
    layers, seen = LAYERS[name][1:3], []
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    for batch in (5, 3):
        x = torch.randn(batch, 3, 36, 40)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            tapped = backbone.tap(x, layers)
        assert set(tapped.maps) == set(layers)
        (tapped.feature.square().mean() + sum(m.square().mean() for m in tapped.maps.values())).backward()
        seen += [tapped.feature.detach(), *(tapped.maps[layer].detach() for layer in layers)]
    weights = sum(p.numel() * 4 for p in backbone.parameters())
    return backbone, seen, sum(kept.values()) - weights


@pytest.mark.parametrize("name", NAMES)
def test_gradients_draws_and_running_statistics_are_the_same(name: str) -> None:
    (plain, seen, _), (again, seen_again, _) = (
        pass_through(name, checkpoints=checkpoints) for checkpoints in (False, True)
    )
    torch.testing.assert_close(seen_again, seen, atol=0, rtol=0)
    state, expected = again.state_dict(), plain.state_dict()
    assert state.keys() == expected.keys()
    torch.testing.assert_close(state, expected, atol=0, rtol=0)
    counts = {int(count) for key, count in expected.items() if key.endswith("num_batches_tracked")}
    assert counts == {2}
    theirs = dict(plain.named_parameters())
    for key, parameter in again.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[key].grad, atol=1e-6, rtol=1e-5, msg=key)


@pytest.mark.parametrize("name", ["small_conv", "resnet18"])
def test_less_than_half_is_kept(name: str) -> None:
    whole, again = (pass_through(name, checkpoints=checkpoints)[2] for checkpoints in (False, True))
    assert again < whole / 2


def test_without_gradients_nothing_is_run_twice() -> None:
    backbone = build_backbone(Backbone(width=8, checkpoint_activations=True), channels_in=3).train()
    calls: list[int] = []
    backbone.stage2.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        backbone(torch.randn(2, 3, 32, 32))
    backbone(torch.randn(2, 3, 32, 32)).sum().backward()
    assert len(calls) == 3
