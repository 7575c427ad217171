"""Samples → the same with Gaussian margins (normal scores), and how far out each row lies (radius).

Maps that keep the order of every dimension change no mutual information, and heavy tails break critics: on a Student
t with two degrees of freedom critics on raw values read below zero. Scores are fitted on training rows only.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class NormalScores:
    """Rank of a value among the fitted rows → the Gaussian quantile of that rank, dimension by dimension.

    Between fitted values it is linear, beyond them constant. Equal values share the quantile of their middle rank.
    """

    values: tuple[Float[Tensor, "_"], ...]  # of each dimension, distinct and rising
    quantiles: tuple[Float[Tensor, "_"], ...]

    @classmethod
    def fitted(cls, rows: Float[Tensor, "rows dims"]) -> "NormalScores":
        """Fit on rows; a dimension needs two distinct values."""
        values, quantiles = [], []
        for column in rows.double().T:
            distinct, counts = column.unique(return_counts=True)
            middle = (counts.cumsum(0) - counts.double() / 2) / len(rows)
            values.append(distinct)
            quantiles.append(torch.special.ndtri(middle))
        return cls(tuple(values), tuple(quantiles))

    def __call__(self, rows: Float[Tensor, "rows dims"]) -> Float[Tensor, "rows dims"]:
        """Give the scores of rows in float64."""
        columns = [
            _interpolated(column.contiguous(), values, quantiles)
            for column, values, quantiles in zip(rows.double().T, self.values, self.quantiles, strict=True)
        ]
        return torch.stack(columns, dim=1)


@dataclass(frozen=True)
class Radius:
    """Row → normal score of log(1 + mean of squares), each dimension centred by its median and scaled by quartiles.

    What a common scale of all dimensions says (Student t, elliptical data) is in this one number.
    """

    centre: Float[Tensor, "dims"]
    scale: Float[Tensor, "dims"]
    scores: NormalScores

    @classmethod
    def fitted(cls, rows: Float[Tensor, "rows dims"]) -> "Radius":
        """Fit on rows."""
        rows = rows.double()
        quarter, centre, three_quarters = rows.quantile(
            torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64), dim=0
        )
        spread = three_quarters - quarter
        scale = torch.where(spread > 0, spread, rows.std(dim=0))  # more than half of the rows are one value
        return cls(centre, scale, NormalScores.fitted(_log_square(rows, centre, scale)))

    def __call__(self, rows: Float[Tensor, "rows dims"]) -> Float[Tensor, "rows 1"]:
        """Give the radius of rows in float64."""
        return self.scores(_log_square(rows.double(), self.centre, self.scale))


def _log_square(
    rows: Float[Tensor, "rows dims"], centre: Float[Tensor, "dims"], scale: Float[Tensor, "dims"]
) -> Float[Tensor, "rows 1"]:
    return ((rows - centre) / scale).square().mean(dim=1, keepdim=True).log1p()


def _interpolated(
    column: Float[Tensor, "rows"], values: Float[Tensor, "distinct"], quantiles: Float[Tensor, "distinct"]
) -> Float[Tensor, "rows"]:
    if len(values) == 1:
        return torch.zeros_like(column)
    above = torch.searchsorted(values, column).clamp(1, len(values) - 1)
    low, high = values[above - 1], values[above]
    share = ((column - low) / (high - low)).clamp(0, 1)
    return quantiles[above - 1] + share * (quantiles[above] - quantiles[above - 1])
