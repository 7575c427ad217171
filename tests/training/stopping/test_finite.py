"""Losses and gradients that are not finite: what the optimizer does, and what is said a step later."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor, nn

from avmi.errors import TrainingError
from avmi.models.encoders import Encoders
from avmi.training.runs.run_folder import Trained
from avmi.training.stopping.finite import MOST_OVERFLOWS, FiniteCheck, hold_updates

NAN, INF = math.nan, math.inf


def number(value: float) -> Tensor:
    return torch.tensor(value)


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def trained_of(layer: nn.Linear, *, fused: bool = True) -> Trained:
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    encoders = Encoders.__new__(Encoders)  # no test here looks at encoders
    return Trained(encoders, layer, optimizer, schedule)


def step(trained: Trained, layer: nn.Linear, *, loss: float = 1.0, norm: float = 1.0) -> None:
    for parameter in layer.parameters():
        parameter.grad = torch.full_like(parameter, norm)
    hold_updates(trained, loss=number(loss), gradient_norm=number(norm))
    trained.optimizer.step()


def state_of(trained: Trained, layer: nn.Linear) -> list[Tensor]:
    moments = [value for state in trained.optimizer.state.values() for value in state.values()]
    return [tensor.detach().clone() for tensor in (*layer.parameters(), *moments)]


@pytest.mark.parametrize(("loss", "norm"), [(NAN, 1.0), (1.0, NAN), (1.0, INF), (-INF, 1.0)])
def test_from_a_number_that_is_not_finite_on_the_optimizer_changes_nothing(
    layer: nn.Linear, loss: float, norm: float
) -> None:
    trained = trained_of(layer)
    step(trained, layer)
    before = state_of(trained, layer)
    step(trained, layer, loss=loss, norm=norm)
    step(trained, layer)  # also with a gradient that is finite again
    assert all(torch.equal(one, other) for one, other in zip(before, state_of(trained, layer), strict=True))


def test_finite_numbers_hold_nothing(layer: nn.Linear) -> None:
    held, free = trained_of(layer), nn.Linear(3, 2)
    free.load_state_dict(layer.state_dict())
    plain = torch.optim.AdamW(free.parameters(), lr=0.1, fused=True)
    for norm in (1.0, 3.0, 2.0):
        step(held, layer, norm=norm)
        for parameter in free.parameters():
            parameter.grad = torch.full_like(parameter, norm)
        plain.step()
    assert torch.equal(layer.weight, free.weight)


def test_an_optimizer_that_is_not_fused_is_left_alone(layer: nn.Linear) -> None:
    step(trained_of(layer, fused=False), layer)


def add(check: FiniteCheck, at: int, loss: float = 1.0, norm: float = 1.0) -> None:
    check.add(at, loss=number(loss), gradient_norm=number(norm), details=lambda: f"details of {at}")


def test_a_step_is_judged_when_the_next_one_is_taken(layer: nn.Linear) -> None:
    check = FiniteCheck(trained_of(layer))
    add(check, 1)
    add(check, 2, loss=NAN)
    with pytest.raises(TrainingError, match=r"^the loss of step 2 is not finite \(details of 2\)"):
        add(check, 3)


def test_the_gradient_is_named_when_the_loss_is_finite(layer: nn.Linear) -> None:
    check = FiniteCheck(trained_of(layer))
    add(check, 4, norm=INF)
    with pytest.raises(TrainingError, match=r"^the gradient of step 4 is not finite \(details of 4\)"):
        check.require()


def test_details_are_asked_for_only_when_they_are_told(layer: nn.Linear) -> None:
    check = FiniteCheck(trained_of(layer))
    check.require()
    for at in (1, 2):
        check.add(at, loss=number(1.0), gradient_norm=number(2.0), details=lambda: pytest.fail("asked"))
    check.require()


def test_overflows_of_half_precision_are_counted_and_end_a_run_when_many_follow_each_other(
    layer: nn.Linear,
) -> None:
    trained = dataclasses.replace(trained_of(layer), scaler=torch.amp.GradScaler("cpu"))
    check = FiniteCheck(trained)
    for at in range(MOST_OVERFLOWS - 1):
        add(check, at, norm=INF)
    add(check, 100)
    for at in range(101, 100 + MOST_OVERFLOWS):
        add(check, at, norm=NAN)
    add(check, 120, norm=INF)
    assert trained.counts.overflows == 2 * (MOST_OVERFLOWS - 1)
    assert trained.counts.scalars()["skipped_updates"] == 38
    with pytest.raises(TrainingError, match="the gradient of step 120 is not finite"):
        check.require()


def test_a_loss_that_is_not_finite_ends_a_run_in_half_precision_at_once(layer: nn.Linear) -> None:
    check = FiniteCheck(dataclasses.replace(trained_of(layer), scaler=torch.amp.GradScaler("cpu")))
    add(check, 1, loss=INF, norm=NAN)
    with pytest.raises(TrainingError, match="the loss of step 1 is not finite"):
        check.require()
