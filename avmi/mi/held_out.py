"""Cosines of held-out clips, their negatives and videos → InfoNCE of each clip at a temperature that fits; pure.

A temperature that one pair was trained with need not suit another, and a pair that was not trained has none. So it is
fitted, on other videos than those that it is read on: a bound at a wrong temperature may stand far below what the
embeddings say.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avmi.mi.bounds import cosine_ceiling_nats

# From where cosines of trained embeddings are sharp (the least that training allows) to where all are alike.
LEAST_TEMPERATURE, MOST_TEMPERATURE, TEMPERATURES = 0.01, 10.0, 31
_GRID = torch.logspace(math.log10(LEAST_TEMPERATURE), math.log10(MOST_TEMPERATURE), TEMPERATURES)


@dataclass(frozen=True)
class HeldOutBound:
    """InfoNCE of held-out clips, both ways, with what is needed to read it."""

    terms: Float[Tensor, "counted"]  # of the clips that have a negative: their mean is the value
    rows: Int[Tensor, "counted"]  # which clips these are
    ceiling_nats: float  # mean log K
    temperature: float  # geometric mean over the halves; nan without clips
    standard_error_nats: float  # videos taken as independent draws; nan below two videos

    @property
    def value_nats(self) -> float:
        """Mean over the clips; nan when none has a negative."""
        return float(self.terms.mean())

    @property
    def k_effective(self) -> float:
        """One positive and its negatives: the geometric mean over the clips."""
        return math.exp(self.ceiling_nats)

    @property
    def cosine_ceiling_nats(self) -> float:
        """The most that cosines over this temperature can say."""
        return cosine_ceiling_nats(self.k_effective, self.temperature) if len(self.terms) else 0.0


def held_out_bound(
    cosines: Float[Tensor, "clips clips"],
    negatives: Bool[Tensor, "clips clips"],
    videos: Int[Tensor, "clips"],
    *,
    is_second_half: Bool[Tensor, "clips"] | None = None,
) -> HeldOutBound:
    """Bound the MI of two views on held-out clips by symmetric InfoNCE of cosines over a fitted temperature.

    The clips are split into two halves, and each half is read at the temperature, one of 31 from 0.01 to 10, at
    which the other half's mean is largest. Without `is_second_half` every other video is in the second half.
    `negatives` is symmetric, as `other_video_negatives` is; with those of the same video the value is no lower bound.
    """
    number = negatives.sum(dim=1)
    rows = torch.nonzero(number).flatten()
    if not len(rows):
        return HeldOutBound(cosines.new_empty(0), rows, 0.0, math.nan, math.nan)
    of_grid = torch.stack([clip_terms(cosines, negatives, temperature=float(t))[rows] for t in _GRID])
    second = (_every_other_video(videos) if is_second_half is None else is_second_half)[rows]
    # Few videos may leave one half empty: all clips are then read at what fits all.
    one_half = bool(second.all() or not second.any())
    fits = [(of_grid if one_half else of_grid[:, half]).mean(dim=1).argmax() for half in (second, ~second)]
    terms = torch.where(second, of_grid[fits[1]], of_grid[fits[0]])
    return HeldOutBound(
        terms=terms,
        rows=rows,
        ceiling_nats=float((1 + number[rows]).double().log().mean()),
        temperature=float((_GRID[fits[0]] * _GRID[fits[1]]).sqrt()),
        standard_error_nats=clustered_error(terms, videos[rows]),
    )


def clip_terms(
    cosines: Float[Tensor, "*batch clips clips"],
    negatives: Bool[Tensor, "*batch clips clips"],
    *,
    temperature: float,
) -> Float[Tensor, "*batch clips"]:
    """Give every clip's term of symmetric InfoNCE: the mean of both ways, log K added; 0 without a negative."""
    scores = cosines / temperature
    self_or_negative = negatives | torch.eye(scores.shape[-1], dtype=torch.bool, device=scores.device)
    kept = scores.masked_fill(~self_or_negative, -math.inf)
    both = (kept.logsumexp(dim=-1) + kept.logsumexp(dim=-2)) / 2
    log_k = (1 + negatives.sum(dim=-1)).to(scores.dtype).log()
    terms: Tensor = scores.diagonal(dim1=-2, dim2=-1) - both + log_k
    return terms


def clustered_error(terms: Float[Tensor, "clips"], videos: Int[Tensor, "clips"]) -> float:
    """Give the standard error of a mean over clips, of which those of one video are no independent draws.

    The sums over each video's deviations from the mean are (Liang & Zeger 1986); nan below two videos.
    """
    names, codes = videos.unique(return_inverse=True)
    number = len(names)
    if number < 2:
        return math.nan
    deviations = (terms - terms.mean()).double()
    sums = torch.zeros(number, dtype=torch.float64).index_add(0, codes.cpu(), deviations.cpu())
    return float((sums.square().sum() * number / (number - 1)).sqrt() / len(terms))


def _every_other_video(videos: Int[Tensor, "clips"]) -> Bool[Tensor, "clips"]:
    codes: Tensor = videos.unique(return_inverse=True)[1]
    return codes % 2 == 1
