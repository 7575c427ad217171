"""Mutual information between views: score matrix → bound in nats."""

from avmi.mi.bound import Bound
from avmi.mi.bounds import cosine_ceiling_nats, info_nce
from avmi.mi.conditional import barber_agakov, club, leave_one_out_upper, tractable_nce
from avmi.mi.critics import BilinearCritic, ConcatenatedCritic, SeparableCritic
from avmi.mi.diagnostics import alignment, effective_rank, embedding_deviation, uniformity
from avmi.mi.estimation.of_labels import estimate_labels
from avmi.mi.estimation.of_samples import Estimate, estimate
from avmi.mi.estimation.stream import StreamEstimator
from avmi.mi.marginals import GaussianMixture, StandardNormal
from avmi.mi.multi_positive import multi_positive_info_nce
from avmi.mi.negatives import NegativeRule
from avmi.mi.pair_sums import PairSums, info_nce_of_embeddings, info_nce_of_sums, pair_sums
from avmi.mi.places import clip_scores, place_map, place_scores
from avmi.mi.posterior import (
    Marginal,
    Posterior,
    clamp_log_sigma,
    defensive,
    log_densities,
    posterior_nce,
    rate,
)
from avmi.mi.sigmoid import pairwise_sigmoid
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
    "GaussianMixture",
    "Marginal",
    "NegativeRule",
    "PairSums",
    "Posterior",
    "SeparableCritic",
    "StandardNormal",
    "StreamEstimator",
    "alignment",
    "barber_agakov",
    "clamp_log_sigma",
    "clip_scores",
    "club",
    "cosine_ceiling_nats",
    "defensive",
    "donsker_varadhan",
    "effective_rank",
    "embedding_deviation",
    "estimate",
    "estimate_labels",
    "info_nce",
    "info_nce_of_embeddings",
    "info_nce_of_sums",
    "interpolated",
    "jensen_shannon",
    "leave_one_out_lower",
    "leave_one_out_upper",
    "log_densities",
    "multi_positive_info_nce",
    "nwj",
    "pair_sums",
    "pairwise_sigmoid",
    "place_map",
    "place_scores",
    "posterior_nce",
    "rate",
    "smile",
    "tractable_nce",
    "tuba",
    "uniformity",
]
