"""What is recorded of a step of several batches: means over those in which a pair had clips."""

import math

import pytest
import torch

from avmi.objective import Loss, PairTerm
from avmi.training.mean_loss import mean_of


def term(loss: float, *, clips: int, error: float = 0.0, ceiling: float = 2.0) -> PairTerm:
    value = torch.tensor(loss)
    return PairTerm(
        loss=value,
        bound_nats=ceiling - value if math.isfinite(ceiling) else value,
        ceiling_nats=torch.tensor(ceiling),
        k_effective=torch.tensor(float(clips)),
        standard_error_nats=torch.tensor(error),
        clips=torch.tensor(clips),
        temperature=torch.tensor(0.1),
        kind="lower",
    )


def loss_of(total: float, *, codes: dict[str, float] | None = None, **terms: PairTerm) -> Loss:
    of_codes = {name: torch.tensor(value) for name, value in (codes or {}).items()}
    return Loss(torch.tensor(total, requires_grad=True), terms, torch.tensor(0.1), of_codes)


def test_the_loss_of_one_batch_is_given_as_it_is() -> None:
    loss = loss_of(1.0, a=term(1.0, clips=4))
    assert mean_of([loss]) is loss


def test_losses_bounds_and_codes_are_averaged_and_clips_added_up() -> None:
    first = loss_of(1.0, a=term(0.5, clips=4, error=0.3), codes={"upper": 5.0, "rare": 2.0})
    second = loss_of(4.0, a=term(1.0, clips=5, error=0.4), codes={"upper": 6.0})
    mean = mean_of([first, second])
    assert mean.total.item() == 2.5
    assert not mean.total.requires_grad
    found = mean.terms["a"]
    assert (found.loss.item(), found.bound_nats.item(), found.clips.item()) == (0.75, 1.25, 9)
    assert found.k_effective.item() == 4.5
    assert found.standard_error_nats.item() == pytest.approx(0.25)  # √(0.3² + 0.4²) / 2
    assert {name: value.item() for name, value in mean.codes.items()} == {"upper": 5.5, "rare": 2.0}


def test_batches_without_clips_of_a_pair_do_not_count() -> None:
    nothing = term(math.nan, clips=0, error=math.nan, ceiling=math.inf)
    mean = mean_of([loss_of(1.0, a=nothing), loss_of(1.0, a=term(0.5, clips=3, error=0.2))]).terms["a"]
    assert (mean.loss.item(), mean.ceiling_nats.item(), mean.clips.item()) == (0.5, 2.0, 3)
    assert mean.standard_error_nats.item() == pytest.approx(0.2)


def test_of_no_clips_at_all_it_says_what_the_batches_say() -> None:
    mean = mean_of([loss_of(1.0, a=term(0.0, clips=0)), loss_of(1.0, a=term(0.0, clips=0))]).terms["a"]
    assert (mean.clips.item(), mean.loss.item(), mean.ceiling_nats.item()) == (0, 0.0, 2.0)


def test_a_batch_that_is_not_finite_is_seen_in_the_mean() -> None:
    mean = mean_of([loss_of(math.inf, a=term(math.inf, clips=3)), loss_of(1.0, a=term(1.0, clips=3))])
    assert not mean.total.isfinite()
    assert not mean.terms["a"].loss.isfinite()
