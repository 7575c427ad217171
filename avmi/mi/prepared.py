"""Scores and which of them are negatives → the sums over negatives that bounds are made of, in log space; pure."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avmi.errors import InputError


@dataclass(frozen=True)
class Prepared:
    """Scores in float32 or better; rows that do not count hold zeros, so that a NaN in them goes nowhere."""

    scores: Float[Tensor, "rows columns"]
    mask: Bool[Tensor, "rows rows"]  # negatives; all True in a row that does not count
    counted: Bool[Tensor, "rows"]
    number: Float[Tensor, "rows"]  # of negatives; at least 1, so that logarithms stay finite

    @property
    def positives(self) -> Float[Tensor, "rows"]:
        """Give the diagonal."""
        return self.scores.diagonal()

    def log_mean(self, *, clip: float = math.inf) -> Float[Tensor, "rows"]:
        """Give the logarithm of the mean of e^f over the negatives of each row."""
        clipped = self.scores.clamp(-clip, clip)
        kept = clipped.masked_fill(~self.mask, -math.inf)
        return kept.logsumexp(dim=1) - self.mask.sum(dim=1).to(kept.dtype).log()

    def weights(self, log_values: Float[Tensor, "rows rows"]) -> Float[Tensor, "rows rows"]:
        """Give exp of the values over the number of negatives of the row, 0 where there is no negative that counts."""
        kept = self.mask & self.counted[:, None]
        return log_values.masked_fill(~kept, -math.inf).exp() / self.number[:, None]

    def log_sum_without_one(self) -> Float[Tensor, "rows rows"]:
        """Give, for each negative l of a row, log Σ e^f over the other negatives; 0 elsewhere.

        Prefixes and suffixes are added, not the one taken from the whole: nothing cancels.
        """
        least = torch.finfo(self.scores.dtype).min / 4  # −inf has no gradient here
        kept = self.scores.masked_fill(~self.mask, least)
        edge = kept.new_full((len(kept), 1), least)
        before = torch.cat([edge, kept.logcumsumexp(dim=1)[:, :-1]], dim=1)
        after = torch.cat([kept.flip(1).logcumsumexp(dim=1).flip(1)[:, 1:], edge], dim=1)
        return torch.logaddexp(before, after).masked_fill(~self.mask, 0.0)

    def mean_over_negatives(self, values: Float[Tensor, "rows rows"]) -> Float[Tensor, "rows"]:
        """Give each row's mean of values at its negatives."""
        return values.masked_fill(~self.mask, 0.0).sum(dim=1) / self.mask.sum(dim=1)

    def mean(self, terms: Float[Tensor, "rows"]) -> Float[Tensor, ""]:
        """Give the mean over the rows that count; 0 without any."""
        return terms.masked_fill(~self.counted, 0.0).sum() / self.counted.sum().clamp(min=1)


def prepared_scores(
    scores: Float[Tensor, "rows columns"], negatives: Bool[Tensor, "rows columns"] | None, *, least: int = 1
) -> Prepared:
    """Take the others as negatives where none are named; a row counts with `least` of them.

    Raises `InputError` when the matrix is not square.
    """
    rows, columns = scores.shape
    if rows != columns:
        raise InputError(f"scores of {rows}×{columns} lack a positive for some: give a square matrix")
    scores = scores if scores.dtype == torch.float64 else scores.float()
    others = ~torch.eye(rows, dtype=torch.bool, device=scores.device)
    mask = others if negatives is None else negatives & others
    counted = mask.sum(dim=1) >= least
    return Prepared(
        scores=scores.masked_fill(~counted[:, None], 0.0).masked_fill(~(mask | ~others), 0.0),
        mask=mask | ~counted[:, None],
        counted=counted,
        number=mask.sum(dim=1).clamp(min=max(least, 1)).to(scores.dtype),
    )


def log_mean_over(log_values: Float[Tensor, "rows"], counted: Bool[Tensor, "rows"]) -> Float[Tensor, ""]:
    """Give the logarithm of the mean of exp of the rows that count; −inf without any."""
    kept = log_values.masked_fill(~counted, -math.inf)
    return kept.logsumexp(dim=0) - counted.sum().clamp(min=1).to(kept.dtype).log()
