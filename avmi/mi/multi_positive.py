"""Scores between the places of clips → InfoNCE with several positives for each clip, in nats; pure.

Every place of a clip is a positive for the other view of that clip, as the local features of Deep InfoMax
(Hjelm et al. 2019, arXiv 1808.06670, section 3.2) and of Augmented Multiscale Deep InfoMax (Bachman et al. 2019,
arXiv 1906.00910, section 3.3) are; each positive stands against the same true negatives and against no other
positive, so that the ceiling is log K and not log(K / positives).
"""

import math
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from avmi.errors import InputError
from avmi.mi.bound import Bound, summed_up

PlaceCount = Literal["as_one", "each"]


def multi_positive_info_nce(
    scores: Float[Tensor, "clips places clips other_places"],
    *,
    negatives: Bool[Tensor, "clips clips"] | None = None,
    count_places: PlaceCount = "as_one",
    independent_negatives: bool = True,
) -> Bound:
    """Bound the MI between a place of one view and a place of another by InfoNCE, averaged over places and ways.

    `scores[i, p, j, q]` is the critic of place p of clip i and place q of clip j; a view without places has one.
    The term of a place p as the query and q as its positive is F_ipiq − log(exp F_ipiq + Σ_n exp F_n) + log K,
    where n runs over the places of the negative clips of i; both ways are averaged. `negatives[i, j]` says that
    clip j is a negative for clip i, whichever of its two views is the query; without it all others are. Where
    the mask is symmetric and views have one place each, this is `info_nce`.

    The places of one clip are no independent draws. `as_one` weighs each by 1 / places, so that a negative clip
    counts once: K = 1 + negative clips, and the value is a lower bound however alike its places are. `each`
    counts every place, K = 1 + negative clips × places: right for independent places only, and otherwise the
    value can exceed the truth, up to the leave-one-out form; its kind is then `neither`.

    A clip without a negative is left out and counted in `excluded`. Raises `InputError` when the clips of both
    sides differ in number.
    """
    clips, _, other_clips, _ = scores.shape
    if clips != other_clips:
        raise InputError(
            f"scores of {clips} against {other_clips} clips lack a positive for some: give both views of each clip"
        )
    with torch.autocast(scores.device.type, enabled=False):
        scores = scores if scores.dtype == torch.float64 else scores.float()
        others = ~torch.eye(clips, dtype=torch.bool, device=scores.device)
        mask = others if negatives is None else negatives & others
        forth = _clip_terms(scores, mask, count_places)
        back = _clip_terms(rearrange(scores, "i p j q -> j q i p"), mask, count_places)
        return summed_up(
            (forth[0] + back[0]) / 2,
            (forth[1] + back[1]) / 2,
            counted=forth[2],
            name="multi_positive_info_nce",
            kind="lower" if independent_negatives and count_places == "as_one" else "neither",
        )


def terms_of_places(
    positives: Float[Tensor, "clips places other_places"], of_negatives: Float[Tensor, "clips places"]
) -> Float[Tensor, "clips"]:
    """Average log e^f / (e^f + Σ) over the positives f of each clip, Σ being that of the query's negatives."""
    return (positives - torch.logaddexp(positives, of_negatives[:, :, None])).mean(dim=(1, 2))


def _clip_terms(
    scores: Float[Tensor, "clips places clips other_places"],
    negatives: Bool[Tensor, "clips clips"],
    count_places: PlaceCount,
) -> tuple[Float[Tensor, "clips"], Float[Tensor, "clips"], Bool[Tensor, "clips"]]:
    """Give each clip's mean over its places of the terms, its log K, and whether it has a negative."""
    places = scores.shape[3]
    counted = negatives.any(dim=1)
    # Clips that do not count are overwritten before the logsumexp: a NaN in them, as a view that is not there
    # may have, then reaches neither the value nor the gradient.
    kept = scores.masked_fill(~negatives[:, None, :, None], -math.inf).masked_fill(
        ~counted[:, None, None, None], 0.0
    )
    of_negatives = kept.flatten(2).logsumexp(dim=2)
    number = negatives.sum(dim=1).to(scores.dtype)
    if count_places == "as_one":
        of_negatives = of_negatives - math.log(places)
    else:
        number = number * places
    positives = scores.diagonal(dim1=0, dim2=2).permute(2, 0, 1)  # clips places other_places
    positives = positives.masked_fill(~counted[:, None, None], 0.0)
    log_k = (1 + number).log()
    return terms_of_places(positives, of_negatives) + log_k, log_k, counted
