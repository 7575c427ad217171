"""AdamW, its schedule in closed form."""

import math

import pytest
import torch
from torch import nn

from avmi.config.parts import Backbone, Optimizer
from avmi.models.backbones import build_backbone
from avmi.training.optimizer import build_optimizer, build_schedule, learning_rate_factor

SETTINGS = Optimizer(steps=50, learning_rate=2e-3, final_learning_rate=4e-5, warmup_fraction=0.1)


def rates(settings: Optimizer) -> list[float]:
    """Run the schedule and note the learning rate that every step takes."""
    optimizer = build_optimizer([nn.Linear(3, 2)], settings)
    schedule, seen = build_schedule(optimizer, settings), []
    for _ in range(settings.steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == optimizer.param_groups[1]["lr"]
    return seen


def test_the_rate_rises_in_a_line_and_falls_in_a_cosine() -> None:
    seen = rates(SETTINGS)
    for step in range(5):  # a tenth of the steps
        assert seen[step] == pytest.approx(2e-3 * (step + 1) / 5)
    for step in range(5, 50):
        angle = math.pi * (step - 5) / (49 - 5)
        assert seen[step] == pytest.approx(4e-5 + (2e-3 - 4e-5) * (1 + math.cos(angle)) / 2)


def test_the_first_step_moves_the_peak_is_reached_and_the_last_step_takes_the_final_rate() -> None:
    seen = rates(SETTINGS)
    assert seen[0] > 0
    assert max(seen) == pytest.approx(2e-3)
    assert seen[-1] == pytest.approx(4e-5)
    assert seen[27] == pytest.approx((2e-3 + 4e-5) / 2)  # half of the cosine: 5 + 22 steps


def test_without_warm_up_the_first_step_takes_the_peak_rate() -> None:
    seen = rates(SETTINGS.model_copy(update={"warmup_fraction": 0.0}))
    assert seen[0] == pytest.approx(2e-3)
    assert seen[-1] == pytest.approx(4e-5)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("warmup", [0.0, 0.5, 0.99])
def test_runs_of_a_few_steps_have_rates_between_zero_and_the_peak(steps: int, warmup: float) -> None:
    settings = SETTINGS.model_copy(update={"steps": steps, "warmup_fraction": warmup})
    assert all(0 < rate <= 2e-3 * (1 + 1e-9) for rate in rates(settings))


def test_beyond_the_last_step_the_rate_stays() -> None:
    assert learning_rate_factor(500, SETTINGS) == pytest.approx(4e-5 / 2e-3)


def test_weight_decay_acts_on_weights_and_on_nothing_else() -> None:
    class Temperature(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.log_temperature = nn.Parameter(torch.tensor(-2.0))
            self.layer_scale = nn.Parameter(torch.ones(7, 1, 1))  # ConvNeXt's

    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Linear(5, 4), Temperature())
    optimizer = build_optimizer([module], Optimizer(weight_decay=0.5, learning_rate=0.1))
    names = {parameter: name for name, parameter in module.named_parameters()}
    decayed, spared = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert decayed == {"0.weight", "2.weight"}
    assert spared == set(names.values()) - decayed

    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    for parameter in module.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()  # without a gradient only the decay moves anything: by 1 − 0.1 · 0.5
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.detach(), before[name] * (0.95 if name in decayed else 1.0))


def test_frozen_parameters_are_not_optimized() -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    module[0].requires_grad_(False)
    optimizer = build_optimizer([module, nn.Linear(2, 6)], Optimizer())
    shapes = {tuple(p.shape) for group in optimizer.param_groups for p in group["params"]}
    assert shapes == {(2, 4), (2,), (6, 2), (6,)}


def test_every_parameter_of_a_network_is_in_one_group() -> None:
    network = build_backbone(Backbone(name="shufflenet_v2_x0_5"), channels_in=1)
    groups = build_optimizer([network], Optimizer()).param_groups
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in network.parameters())
    norms = [p for m in network.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]
    assert {id(p) for p in norms} <= {id(p) for p in groups[1]["params"]}


def test_moments_of_another_layout_are_those_of_the_same_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, first, second = torch.randn(3, 4, 2, 5, 3, generator=generator).unbind()
    found = []
    for saved_as, loaded_as in [(torch.contiguous_format, torch.channels_last), (torch.channels_last,) * 2]:
        layers = [nn.Conv2d(2, 4, (5, 3), bias=False).to(memory_format=f) for f in (saved_as, loaded_as)]
        optimizers = [build_optimizer([layer], SETTINGS) for layer in layers]
        layers[0].weight.data.copy_(weight)
        layers[0].weight.grad = torch.empty_like(layers[0].weight).copy_(first)
        optimizers[0].step()
        layers[1].load_state_dict(layers[0].state_dict())
        optimizers[1].load_state_dict(optimizers[0].state_dict())
        layers[1].weight.grad = torch.empty_like(layers[1].weight).copy_(second)
        optimizers[1].step()
        found.append(layers[1].weight.detach())
    assert torch.equal(found[0], found[1])
