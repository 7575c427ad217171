"""Mutual information between views: score matrix → bound in nats."""

from avmi.mi.bound import Bound
from avmi.mi.bounds import cosine_ceiling_nats, info_nce
from avmi.mi.conditional import barber_agakov, club, leave_one_out_upper, tractable_nce
from avmi.mi.critics import BilinearCritic, ConcatenatedCritic, SeparableCritic
from avmi.mi.diagnostics import alignment, effective_rank, embedding_deviation, uniformity
from avmi.mi.estimate_of_labels import estimate_labels
from avmi.mi.estimate_of_samples import Estimate, estimate
from avmi.mi.multi_positive import multi_positive_info_nce
from avmi.mi.places import clip_scores, place_map, place_scores
from avmi.mi.stream import StreamEstimator
from avmi.mi.variational import (
    donsker_varadhan,
    interpolated,
    jensen_shannon,
    leave_one_out_lower,
    nwj,
    smile,
    tuba,
)

__all__ = [
    "BilinearCritic",
    "Bound",
    "ConcatenatedCritic",
    "Estimate",
    "SeparableCritic",
    "StreamEstimator",
    "alignment",
    "barber_agakov",
    "clip_scores",
    "club",
    "cosine_ceiling_nats",
    "donsker_varadhan",
    "effective_rank",
    "embedding_deviation",
    "estimate",
    "estimate_labels",
    "info_nce",
    "interpolated",
    "jensen_shannon",
    "leave_one_out_lower",
    "leave_one_out_upper",
    "multi_positive_info_nce",
    "nwj",
    "place_map",
    "place_scores",
    "smile",
    "tractable_nce",
    "tuba",
    "uniformity",
]
