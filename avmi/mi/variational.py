"""Score matrix F[i, j] = f(x_i, y_j), positives on the diagonal → variational bounds on I(X; Y) other than InfoNCE; pure.

All take `negatives[i, j]`: y_j is a negative for x_i; without it all others are. A row (column, for bounds that
normalize over the x) without enough negatives is left out and counted in `excluded`; its scores may hold anything.
With `independent_negatives=False` the negatives are no draws of the marginals, and the kind is `neither`.
Donsker & Varadhan 1983; Nguyen, Wainwright & Jordan 2010 (arXiv 0809.0853); Nowozin et al. 2016 (arXiv 1606.00709);
Belghazi et al. 2018 (arXiv 1801.04062); Poole et al. 2019 (arXiv 1905.06922); Song & Ermon 2020 (arXiv 1910.06222).
"""

import math
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from avmi.errors import InputError
from avmi.mi.bound import Bound, BoundKind, summed_up
from avmi.mi.prepared import Prepared, log_mean_over, prepared_scores

Baseline = Float[Tensor, "columns"] | Float[Tensor, ""]


def donsker_varadhan(
    scores: Float[Tensor, "rows columns"],
    *,
    negatives: Bool[Tensor, "rows columns"] | None = None,
    independent_negatives: bool = True,
    running_log_mean: Float[Tensor, ""] | None = None,
) -> Bound:
    """Estimate by Donsker–Varadhan, E_p f − log E_pp' e^f (MINE, Belghazi et al. 2018, eq. 5); kind `neither`.

    It is a lower bound in the population; on a sample the logarithm of a mean is too small on average, so that the
    value stands above, by more the larger the MI. `independent_negatives` changes nothing of that.
    `running_log_mean` is the logarithm of a running mean of the denominator, as `updated_log_mean` gives it: the
    gradient is then MINE's (its section 3.2), whose denominator is that one and not the batch's; the value stays.
    """
    del independent_negatives  # taken so that all bounds are called alike
    given = prepared_scores(scores, negatives)
    log_means = given.log_mean()
    log_mean = log_mean_over(log_means, given.counted)
    bound = _logarithmic(given, log_means, log_mean, name="donsker_varadhan")
    if running_log_mean is None:
        return bound
    surrogate = given.mean(given.positives - (log_means - running_log_mean.detach()).exp())
    return _with_gradient_of(surrogate, bound)


def log_mean_of_negatives(
    scores: Float[Tensor, "rows columns"], *, negatives: Bool[Tensor, "rows columns"] | None = None
) -> Float[Tensor, ""]:
    """Give log E_pp' e^f over the negatives, the denominator of Donsker–Varadhan; −inf without any."""
    given = prepared_scores(scores, negatives)
    return log_mean_over(given.log_mean(), given.counted)


def updated_log_mean(
    running: Float[Tensor, ""] | None, log_mean: Float[Tensor, ""], *, decay: float
) -> Float[Tensor, ""]:
    """Average a denominator into its running mean, in log space and without gradient; −inf adds nothing."""
    if running is None:
        return log_mean.detach()
    mixed = torch.logaddexp(running + math.log(decay), log_mean.detach() + math.log1p(-decay))
    return torch.where(log_mean.detach().isneginf(), running, mixed)


def nwj(
    scores: Float[Tensor, "rows columns"],
    *,
    negatives: Bool[Tensor, "rows columns"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Bound by Nguyen–Wainwright–Jordan, E_p f − e⁻¹ E_pp' e^f; also f-GAN's KL and MINE-f.

    Unbiased and without a ceiling; the variance grows like e^I. Its best critic is 1 + log p(x, y) / p(x) p(y).
    """
    given = prepared_scores(scores, negatives)
    return _linear(given, name="nwj", kind=_lower(independent_negatives), log_scale=1.0)


def tuba(
    scores: Float[Tensor, "rows columns"],
    *,
    log_baseline: Baseline,
    negatives: Bool[Tensor, "rows columns"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Bound by 1 + E_p [f − log a(y)] − E_pp' [e^f / a(y)] (Poole et al. 2019, eq. 6), a(y) > 0 of any origin.

    `log_baseline` is log a(y), a number or one for each y; it must not come from this batch. At log a = 1 it is NWJ.
    """
    log_baseline = log_baseline.to(scores.dtype)
    given = prepared_scores(scores - log_baseline, negatives)
    return _linear(given, name="tuba", kind=_lower(independent_negatives))


def jensen_shannon(
    scores: Float[Tensor, "rows columns"],
    *,
    negatives: Bool[Tensor, "rows columns"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Train by the Jensen–Shannon divergence and report NWJ of 1 + f, which is a lower bound.

    The gradient is that of −E_p sp(−f) − E_pp' sp(f), sp the softplus (Nowozin et al. 2016; Deep InfoMax, Hjelm et
    al. 2019, eq. 4). That objective is best at f = log p(x, y) / p(x) p(y), and NWJ at one more than this.
    """
    given = prepared_scores(scores, negatives)
    bound = _linear(given, name="jensen_shannon", kind=_lower(independent_negatives))
    return _with_gradient_of(_jensen_shannon_objective(given), bound)


def smile(
    scores: Float[Tensor, "rows columns"],
    *,
    clip: float,
    negatives: Bool[Tensor, "rows columns"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Train by Jensen–Shannon and report Donsker–Varadhan with f clipped to ±`clip` in the denominator; `neither`.

    Song & Ermon 2020, eq. 11. Clipping trades the variance for a bias that can have either sign.
    """
    del independent_negatives  # it is no bound in any case
    if not clip > 0:
        raise InputError(f"clip must be above 0 nats, got {clip}")
    given = prepared_scores(scores, negatives)
    log_means = given.log_mean(clip=clip)
    log_mean = log_mean_over(log_means, given.counted)
    bound = _logarithmic(given, log_means, log_mean, name="smile", clip=clip)
    return _with_gradient_of(_jensen_shannon_objective(given), bound)


def interpolated(
    scores: Float[Tensor, "rows columns"],
    *,
    alpha: float,
    log_baseline: Baseline,
    negatives: Bool[Tensor, "rows columns"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Bound by I_α between TUBA (α = 0) and InfoNCE (α = 1) (Poole et al. 2019, section 2.4).

    Every y stands against K of the x, and a(y) = α · (mean of e^f over these K) + (1 − α) · q(y), q = exp of
    `log_baseline`. Under the joint its own x is one of the K, under the product none is: then y is held out. With n
    negatives K = n, and the joint's term is averaged over which negative it does without. A y needs two negatives.
    The most it can say is 1 + log(K/α): the 1 is reached where positives score far above q and negatives far below.
    """
    if not 0 < alpha <= 1:
        raise InputError(f"alpha must be above 0 and at most 1, got {alpha}; at 0 it is tuba")
    given = prepared_scores(scores.T, None if negatives is None else negatives.T, least=2)
    log_number = given.number.log()
    of_others = (log_baseline.to(given.scores.dtype) + _log(1 - alpha)).expand(len(scores))
    of_joint = torch.logaddexp(given.positives[:, None], given.log_sum_without_one()) - log_number[:, None]
    joint = torch.logaddexp(of_joint + math.log(alpha), of_others[:, None])
    product = given.log_mean() - torch.logaddexp(given.log_mean() + math.log(alpha), of_others)
    terms = 1 + given.positives - given.mean_over_negatives(joint) - product.exp()
    ceilings = 1 + log_number - math.log(alpha)
    log_k = log_number
    return summed_up(
        terms,
        log_k,
        counted=given.counted,
        name="interpolated",
        kind=_lower(independent_negatives),
        ceilings=ceilings,
    )


def leave_one_out_lower(
    scores: Float[Tensor, "rows columns"],
    *,
    negatives: Bool[Tensor, "rows columns"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Bound from below by TUBA whose baseline a(y) is the mean of e^f over other x than the one that is scored.

    A critic that depends on further independent draws bounds like any other (Poole et al. 2019, section 2.3), so this
    holds for every f and has no ceiling; its variance is that of NWJ. For the use of the same mean as an upper bound,
    with a known conditional, see `leave_one_out_upper`. A y needs two negatives.
    """
    given = prepared_scores(scores.T, None if negatives is None else negatives.T, least=2)
    log_means = given.log_sum_without_one() - (given.number - 1).log()[:, None]
    ratios = (given.scores - log_means).masked_fill(~given.mask, -math.inf).exp()
    terms = 1 + given.positives - given.mean_over_negatives(log_means + ratios)
    return _without_ceiling(given, terms, name="leave_one_out_lower", kind=_lower(independent_negatives))


def _linear(given: Prepared, *, name: str, kind: BoundKind, log_scale: float = 0.0) -> Bound:
    """Bound by 1 + E_p [f − s] − E_pp' e^(f − s), s the `log_scale`."""
    terms = 1 - log_scale + given.positives - (given.log_mean() - log_scale).exp()
    weights = given.weights(given.scores.detach() - log_scale).sum(dim=0)
    return _without_ceiling(given, terms, name=name, kind=kind, in_other_rows=weights.mean() - weights)


def _logarithmic(
    given: Prepared,
    log_means: Float[Tensor, "rows"],
    log_mean: Float[Tensor, ""],
    *,
    name: str,
    clip: float = math.inf,
) -> Bound:
    """Estimate by E_p f − log E_pp' e^f; to first order every draw moves the denominator by its row and its column."""
    weights = given.weights((given.scores.clamp(-clip, clip) - log_mean).detach())
    moved = 2 - (log_means - log_mean).detach().exp() - weights.sum(dim=0)
    terms = given.positives - log_mean
    return _without_ceiling(given, terms, name=name, kind="neither", in_other_rows=moved)


def _without_ceiling(
    given: Prepared,
    terms: Float[Tensor, "rows"],
    *,
    name: str,
    kind: BoundKind,
    in_other_rows: Float[Tensor, "rows"] | None = None,
) -> Bound:
    """Sum terms without a ceiling up; K counts the positive and the negatives."""
    return summed_up(
        terms,
        (1 + given.number).log(),
        counted=given.counted,
        name=name,
        kind=kind,
        ceilings=torch.full_like(terms, math.inf),
        in_other_rows=in_other_rows,
    )


def _jensen_shannon_objective(given: Prepared) -> Float[Tensor, ""]:
    return given.mean(-softplus(-given.positives) - given.mean_over_negatives(softplus(given.scores)))


def _with_gradient_of(surrogate: Float[Tensor, ""], bound: Bound) -> Bound:
    value = bound.value_nats.detach()
    return replace(bound, value_nats=value + (surrogate - surrogate.detach()))


def _lower(independent_negatives: bool) -> BoundKind:
    return "lower" if independent_negatives else "neither"


def _log(number: float) -> float:
    return math.log(number) if number > 0 else -math.inf
