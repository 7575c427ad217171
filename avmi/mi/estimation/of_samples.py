"""Samples of two sides, row for row → their mutual information in nats, with bounds, an interval and what was tried.

Critics are trained on half of the rows and chosen on a quarter; what is reported comes from the last quarter, which
nothing was chosen by. The value is InfoNCE of all held-out rows: a lower bound, at most log K.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avmi.mi.bound import Bound
from avmi.mi.bounds import info_nce
from avmi.mi.conditional import barber_agakov, club, leave_one_out_upper
from avmi.mi.estimation.candidates import Rows, Scorer, candidates, score_blocks
from avmi.mi.estimation.checks import checked_rows, require_pairs
from avmi.mi.estimation.protocol import ESTIMATOR, EstimatorSettings
from avmi.mi.variational import donsker_varadhan, interpolated, log_mean_of_negatives, nwj, smile

NORMAL_95 = 1.959964  # half-width of a 95 % interval in standard errors
_ALPHA = 0.5  # of the interpolated bound in the table: half way between NWJ and InfoNCE
_NEAR_CEILING_NATS = 2.0
_SMILE_CLIP = 5.0  # Song & Ermon 2020, their middle choice


@dataclass(frozen=True)
class Tried:
    """What was trained, and what validation rows say of it."""

    name: str
    validation_nats: float


@dataclass(frozen=True)
class Estimate:
    """Mutual information of samples. `bound` is the answer; `table` has it and the other readings of its critic."""

    bound: Bound
    interval_nats: tuple[float, float]  # 95 % for the bound, over draws of held-out rows; the critic is fixed
    table: tuple[Bound, ...]
    chosen: str
    tried: tuple[Tried, ...]
    train_rows: int
    validation_rows: int
    held_out_rows: int
    log_ratios: Float[Tensor, "held_out"]  # log density ratio of each held-out pair, as the critic has it

    @property
    def value_nats(self) -> float:
        """Give the answer."""
        return float(self.bound.value_nats)

    @property
    def ceiling_nats(self) -> float:
        """Give the most that the answer can be."""
        return float(self.bound.ceiling_nats)

    @property
    def is_saturated(self) -> bool:
        """Say whether the answer is so near its ceiling that the truth may be far above.

        Two nats below log K = 6.9 the exact critic reads 0.1 (one dimension) to 0.4 nats (twenty) too little, one nat
        below 0.3 to 0.75 (Gaussians).
        """
        return self.value_nats > self.ceiling_nats - _NEAR_CEILING_NATS


def estimate(x: Any, y: Any, *, seed: int = 0, settings: EstimatorSettings = ESTIMATOR) -> Estimate:
    """Estimate the mutual information of two samples (tensors or arrays of rows; one dimension is one column).

    Rows are taken as independent draws: neighbours in time count as more than they are. The same seed gives the
    same answer. Raises `InputError` for what cannot be used: values that are not finite, constant columns, sides of
    different length, too few rows.
    """
    rows_x, rows_y = checked_rows(x, "X"), checked_rows(y, "Y")
    require_pairs(rows_x, rows_y, least=least_rows(settings))
    generator = torch.Generator().manual_seed(seed)
    train, valid, held_out = (
        (rows_x[part], rows_y[part]) for part in split(len(rows_x), generator=generator, settings=settings)
    )
    require_varying(train)
    tried = list(candidates(train, valid, generator=generator, settings=settings))
    chosen = max(tried, key=lambda candidate: candidate.validation_nats)
    offset = _offset(chosen.critic, valid, settings)
    matrices = [scores - offset for scores in score_blocks(chosen.critic, held_out, settings)]
    table = tuple(_averaged(of_blocks) for of_blocks in zip(*map(readings, matrices), strict=True))
    influences = torch.cat([_influences(matrix) for matrix in matrices])
    error = influences.std() / math.sqrt(len(influences))
    bound = replace(table[0], standard_error_nats=error)
    return Estimate(
        bound=bound,
        interval_nats=interval(bound),
        table=(bound, *table[1:]),
        chosen=chosen.name,
        tried=tuple(Tried(candidate.name, candidate.validation_nats) for candidate in tried),
        train_rows=len(train[0]),
        validation_rows=len(valid[0]),
        held_out_rows=len(held_out[0]),
        log_ratios=torch.cat([matrix.diagonal() for matrix in matrices]),
    )


def least_rows(settings: EstimatorSettings) -> int:
    """Give the fewest rows whose training share holds a batch."""
    return math.ceil(settings.batch_rows / settings.train_share)


def split(
    rows: int, *, generator: torch.Generator, settings: EstimatorSettings
) -> tuple[Int[Tensor, "train"], Int[Tensor, "valid"], Int[Tensor, "held_out"]]:
    """Draw training, validation and held-out rows: 2/4, 1/4, 1/4."""
    order = torch.randperm(rows, generator=generator)
    train = round(rows * settings.train_share)
    valid = (rows - train) // 2
    return order[:train], order[train : train + valid], order[train + valid :]


def require_varying(train: tuple[Rows, Rows]) -> None:
    """Check that no column is constant on the training rows, which a nearly constant one may be."""
    for name, rows in zip(("X", "Y"), train, strict=True):
        checked_rows(rows, name)


def interval(bound: Bound) -> tuple[float, float]:
    """Give the 95 % interval of a bound's value."""
    value, reach = float(bound.value_nats), NORMAL_95 * float(bound.standard_error_nats)
    return value - reach, value + reach


def readings(scores: Float[Tensor, "rows rows"]) -> tuple[Bound, ...]:
    """Read a critic f ≈ log p(x, y) / p(x) p(y) with every bound that it can be read with; InfoNCE first.

    Trained by symmetric InfoNCE, f is free of one number only, which validation rows have set. In columns it is the
    log of a learned conditional up to what depends on the column, which leave-one-out and CLUB do not see.
    """
    no_baseline = torch.zeros(())  # E e^f is 1 over the product of the margins
    entropies = barber_agakov(scores.diagonal(), entropy_nats=0.0, entropy_is="learned")
    return (
        info_nce(scores),
        nwj(scores + 1),
        interpolated(scores, alpha=_ALPHA, log_baseline=no_baseline),
        donsker_varadhan(scores),
        smile(scores, clip=_SMILE_CLIP),
        replace(entropies, name="difference_of_entropies"),
        leave_one_out_upper(scores, conditional="learned"),
        club(scores, conditional="learned"),
    )


def _offset(critic: Scorer, valid: tuple[Rows, Rows], settings: EstimatorSettings) -> Tensor:
    """Give log E e^f over validation pairs of different rows; a critic less this is a log density ratio."""
    means = [log_mean_of_negatives(scores) for scores in score_blocks(critic, valid, settings)]
    return torch.stack(means).logsumexp(dim=0) - math.log(len(means))


def _averaged(of_blocks: Sequence[Bound]) -> Bound:
    """Average one bound over blocks of rows of nearly the same size."""
    first, number = of_blocks[0], len(of_blocks)
    if number == 1:
        return first

    def mean(name: str) -> Tensor:
        return torch.stack([getattr(bound, name) for bound in of_blocks]).mean(dim=0)

    errors = torch.stack([bound.standard_error_nats for bound in of_blocks])
    return replace(
        first,
        value_nats=mean("value_nats"),
        ceiling_nats=mean("ceiling_nats"),
        k_effective=mean("ceiling_nats").exp() if first.name == "info_nce" else mean("k_effective"),
        standard_error_nats=errors.square().sum().sqrt() / number,
        counted=torch.stack([bound.counted for bound in of_blocks]).sum(),
        excluded=torch.stack([bound.excluded for bound in of_blocks]).sum(),
    )


def _influences(scores: Float[Tensor, "rows rows"]) -> Float[Tensor, "rows"]:
    """Give what each row adds to symmetric InfoNCE, also as a negative of the others (delta method).

    Rows share their negatives, so that the deviation of the terms alone is not the error of their mean.
    """
    rows, columns = scores.logsumexp(dim=1), scores.logsumexp(dim=0)
    terms = scores.diagonal() - (rows + columns) / 2
    as_x = (scores - columns[None, :]).exp().sum(dim=1)  # share of row i in the sums over the x
    as_y = (scores - rows[:, None]).exp().sum(dim=0)
    return terms - (as_x + as_y) / 2
