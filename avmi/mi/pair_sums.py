"""Embeddings of two views → positives and sums over negatives → InfoNCE in nats, without a matrix of scores; pure.

The sums of some clips against all can be made by themselves: several processes make those of their own clips and join
them, and each then has the bound of all (`avmi.objective`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avmi.mi.bound import Bound, summed_up
from avmi.mi.log_sums import scores_and_log_sums
from avmi.mi.multi_positive import terms_of_places
from avmi.mi.negatives import NegativeRule

Memory = Literal["by_size", "fast", "low"]

# Exponentials of one pair that are kept for the gradient, at most: 4,096 clips without places.
LARGEST_KEPT_BYTES = 64 << 20


@dataclass(frozen=True)
class PairSums:
    """What InfoNCE needs of the scores between some clips of one view and all clips of another."""

    positives: Float[Tensor, "some places other_places"]  # scores of the views of one clip
    of_rows: Float[Tensor, "some places"]  # log Σ e^score over the negatives of these clips
    of_columns: Float[Tensor, "clips other_places"]  # the same of all clips, over negatives among these clips
    negatives: Int[Tensor, "some"]  # number of negative clips

    @classmethod
    def joined(cls, parts: Sequence["PairSums"]) -> "PairSums":
        """Join the sums of the clips of all parts, in their order, into those of all clips against all."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            positives=torch.cat([part.positives for part in parts]),
            of_rows=torch.cat([part.of_rows for part in parts]),
            of_columns=_log_sum(torch.stack([part.of_columns for part in parts])),
            negatives=torch.cat([part.negatives for part in parts]),
        )


def pair_sums(
    first: Float[Tensor, "some places dim"],
    second: Float[Tensor, "clips other_places dim"],
    temperature: Float[Tensor, ""],
    *,
    negatives: NegativeRule,
    memory: Memory = "by_size",
    first_clip: int = 0,
) -> PairSums:
    """Sum over the negatives of the clips from `first_clip` on, as many as `first` holds, against all clips.

    Embeddings are of unit length, and scores are cosines over the temperature; their matrix is never a whole in
    autograd. `fast` keeps as many numbers as it has, `low` a few rows of it and makes it twice; `by_size` keeps up to
    `LARGEST_KEPT_BYTES`. Clips that are not present hold zeros, or anything finite.
    """
    some, places, _ = first.shape
    size_bytes = some * len(second) * places * second.shape[1] * first.element_size()
    keeps = memory == "fast" or (memory == "by_size" and size_bytes <= LARGEST_KEPT_BYTES)
    with torch.autocast(first.device.type, enabled=False):
        return PairSums(
            *scores_and_log_sums(
                first,
                second,
                1 / temperature,
                negatives=negatives,
                keeps_exponentials=keeps,
                first_clip=first_clip,
            )
        )


def info_nce_of_sums(sums: PairSums, *, independent_negatives: bool = True) -> Bound:
    """Bound the MI as `multi_positive_info_nce` does (places as one), from the sums of all clips against all."""
    other_places, places = sums.of_columns.shape[1], sums.of_rows.shape[1]
    forth = terms_of_places(sums.positives, sums.of_rows - math.log(other_places))
    back = terms_of_places(sums.positives.transpose(1, 2), sums.of_columns - math.log(places))
    log_k = (1 + sums.negatives).to(sums.of_rows.dtype).log()
    return summed_up(
        (forth + back) / 2 + log_k,
        log_k,
        counted=sums.negatives > 0,
        name="multi_positive_info_nce",
        kind="lower" if independent_negatives else "neither",
    )


def log_mean_of_sums(sums: PairSums) -> Float[Tensor, ""]:
    """Give the logarithm of the mean of e^score over negatives, averaged over the first view's places; 0 without any."""
    counted = sums.negatives > 0
    other_places = sums.of_columns.shape[1]
    log_means = (
        sums.of_rows - (sums.negatives.clamp(min=1) * other_places).to(sums.of_rows.dtype).log()[:, None]
    )
    number = (counted.sum() * sums.of_rows.shape[1]).clamp(min=1)
    log_mean = _log_sum(log_means.flatten()[:, None, None])[0, 0] - number.to(log_means.dtype).log()
    return torch.where(counted.any(), log_mean, torch.zeros_like(log_mean))


def info_nce_of_embeddings(
    first: Float[Tensor, "clips places dim"],
    second: Float[Tensor, "clips other_places dim"],
    temperature: Float[Tensor, ""],
    *,
    negatives: NegativeRule,
    independent_negatives: bool = True,
    memory: Memory = "by_size",
) -> Bound:
    """Bound the MI as `multi_positive_info_nce` does (places as one), from unit-length embeddings and a temperature.

    See `pair_sums` for what it takes and keeps.
    """
    sums = pair_sums(first, second, temperature, negatives=negatives, memory=memory)
    return info_nce_of_sums(sums, independent_negatives=independent_negatives)


def _log_sum(logarithms: Float[Tensor, "parts clips places"]) -> Float[Tensor, "clips places"]:
    """Add in log space; where all parts are −inf the sum is, too, with a gradient of 0 and not of NaN."""
    nothing = (logarithms == -math.inf).all(dim=0)
    return logarithms.masked_fill(nothing, 0.0).logsumexp(dim=0).masked_fill(nothing, -math.inf)
