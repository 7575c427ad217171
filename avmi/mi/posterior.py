"""Gaussian posteriors p(z|x) = N(mean, σ²) of a stochastic encoder, and a marginal r(z) → bounds on I(x; z); pure.

The density of the code given its input is known here, so that upper bounds hold: the rate (Alemi et al. 2017,
arXiv 1612.00410, eq. 17) and leave-one-out (Poole et al. 2019, arXiv 1905.06922, section 2.2), and between them
`defensive`, which mixes their two denominators.
"""

import math
from dataclasses import replace
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from avmi.errors import InputError
from avmi.mi.bound import Bound, summed_up
from avmi.mi.bounds import info_nce
from avmi.mi.distances import squared_distances

# σ from 0.018 to 7.4: below, one float32 step of z in a code of size 1 is no longer small against σ²;
# above, a coordinate says less than 0.01 nat of a code whose spread is 1.
LOWEST_LOG_SIGMA = -4.0
HIGHEST_LOG_SIGMA = 2.0


class Posterior(NamedTuple):
    """Gaussian with independent coordinates for each row, and one draw of each."""

    mean: Float[Tensor, "batch dim"]
    log_sigma: Float[Tensor, "batch dim"]
    sample: Float[Tensor, "batch dim"]  # mean + σ·noise; carries the gradient of both


class Marginal(NamedTuple):
    """Mixture of Gaussians with independent coordinates, r(z); one component is a plain Gaussian."""

    log_weights: Float[Tensor, "components"]  # of sum one after exp
    mean: Float[Tensor, "components dim"]
    log_sigma: Float[Tensor, "components dim"]


def clamp_log_sigma(x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch dim"]:
    """Bring log σ into [−4, 2] by two softplus, monotone and with a gradient everywhere."""
    width = HIGHEST_LOG_SIGMA - LOWEST_LOG_SIGMA
    overshoot = math.log1p(math.exp(-width))  # by which the second softplus would pass the lower end
    above = F.softplus(x.float() - LOWEST_LOG_SIGMA)
    inside = width - F.softplus(width - above)
    return LOWEST_LOG_SIGMA + (inside + overshoot) * (width / (width + overshoot))


def draw(
    mean: Float[Tensor, "batch dim"],
    log_sigma: Float[Tensor, "batch dim"],
    *,
    generator: torch.Generator | None = None,
) -> Posterior:
    """Draw one sample of every row by reparameterization (Kingma & Welling 2014)."""
    noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
    return Posterior(mean, log_sigma, mean + log_sigma.exp() * noise)


def log_densities(
    sample: Float[Tensor, "rows dim"],
    mean: Float[Tensor, "columns dim"],
    log_sigma: Float[Tensor, "columns dim"],
) -> Float[Tensor, "rows columns"]:
    """Give [i, j] = log p(z_i | x_j), by differences in float32 or above, autocast off.

    Expanding the square into matrix products is faster and wrong: where σ is small, large numbers cancel.
    The matrix is computed in blocks, so that the memory is that of the result.
    """
    with torch.autocast(sample.device.type, enabled=False):
        sample, mean, log_sigma = _at_least_float32(sample, mean, log_sigma)
        return _log_normal(squared_distances(sample, mean, (-log_sigma).exp()), log_sigma)


def log_posterior(posterior: Posterior) -> Float[Tensor, "batch"]:
    """Give log p(z_i | x_i), each sample under its own Gaussian."""
    with torch.autocast(posterior.sample.device.type, enabled=False):
        sample, mean, log_sigma = _at_least_float32(posterior.sample, posterior.mean, posterior.log_sigma)
        return _log_normal(((sample - mean) * (-log_sigma).exp()).square().sum(dim=-1), log_sigma)


def log_marginal(sample: Float[Tensor, "batch dim"], marginal: Marginal) -> Float[Tensor, "batch"]:
    """Give log r(z_i)."""
    densities = log_densities(sample, marginal.mean, marginal.log_sigma)
    return (densities + marginal.log_weights).logsumexp(dim=1)


def rate(
    posterior: Posterior,
    marginal: Marginal,
    *,
    method: Literal["closed_form", "monte_carlo"] = "closed_form",
) -> Bound:
    """Bound I(x; z) from above by the rate, E KL(p(z|x) ‖ r(z)); tight when r is the mean of the posteriors.

    `closed_form` needs no sample: −log Σ_k π_k exp(−KL(p ‖ r_k)), which is the divergence itself for one component,
    and for a mixture at or above it (Hershey & Olsen 2007, section 8). `monte_carlo` is log p(z|x) − log r(z),
    without that slack but noisy; then `sample` must be a draw. r may be learned, by minimizing this very value.
    """
    match method:
        case "closed_form":
            exponents = marginal.log_weights - _divergences(posterior, marginal)
            terms = -exponents.logsumexp(dim=1)
        case "monte_carlo":
            terms = log_posterior(posterior) - log_marginal(posterior.sample, marginal)
    return _upper(terms, torch.zeros_like(terms), name="rate")


def defensive(
    posterior: Posterior,
    marginal: Marginal,
    *,
    epsilon: float,
    bank: Posterior | None = None,
    negatives: Bool[Tensor, "batch columns"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Bound I(x; z) from above: mean of log p(z|x) − log[(1−ε)·mean_j p(z|x_j) + ε·r(z)].

    j runs over the other rows, or over all of `bank`, posteriors of other clips (detached or stale ones too: any
    normalized density that does not depend on the sample keeps the value an upper bound). `negatives[i, j]` says
    that j may stand in the denominator of i; a row without any is set against r alone. It is at most the rate
    (monte_carlo) + log 1/ε and at most leave-one-out + log 1/(1−ε), sample by sample: where no other posterior is
    near, r takes over, and the gradient no longer grows like Δ²/2σ². `sample` must be a draw. Set
    `independent_negatives` to False when the others come from the clip's own video: the value is then neither.

    Raises `InputError` unless 0 < ε ≤ 1.
    """
    if not 0 < epsilon <= 1:
        raise InputError(f"epsilon must be above 0 and at most 1, got {epsilon}")
    others = posterior if bank is None else bank
    densities = log_densities(posterior.sample, others.mean, others.log_sigma)
    mask = torch.ones_like(densities, dtype=torch.bool) if negatives is None else negatives
    if bank is None:
        mask = mask & ~torch.eye(len(densities), dtype=torch.bool, device=densities.device)
    number = mask.sum(dim=1)
    log_share = math.log1p(-epsilon) if epsilon < 1 else -math.inf
    log_others = densities.masked_fill(~mask, -math.inf)
    # A row of −inf alone has no gradient; its denominator is r, with the whole weight.
    log_others = log_others.masked_fill((number == 0)[:, None], 0.0).logsumexp(dim=1)
    log_others = log_others - number.clamp(min=1).log() + log_share
    log_r = log_marginal(posterior.sample, marginal)
    mixed = torch.logaddexp(log_others, log_r + math.log(epsilon))
    log_m = torch.where(number > 0, mixed, log_r)
    in_others = None
    if bank is None:
        share = (densities - log_m[:, None] + log_share - number.clamp(min=1).log()[:, None]).detach().exp()
        of_columns = share.masked_fill(~mask, 0.0).sum(dim=0)
        in_others = of_columns.mean() - of_columns
    return _upper(
        log_posterior(posterior) - log_m,
        (1 + number).to(log_m.dtype).log(),
        name="defensive",
        kind="upper" if independent_negatives else "neither",
        in_others=in_others,
    )


def posterior_nce(
    posterior: Posterior,
    *,
    negatives: Bool[Tensor, "batch batch"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Bound I(x; z) from below by tractable NCE: InfoNCE whose score is the known log p(z_i | x_j); ≤ log K.

    `sample` must be a draw. The options are those of `info_nce`.
    """
    bound = info_nce(
        log_densities(posterior.sample, posterior.mean, posterior.log_sigma),
        negatives=negatives,
        direction="rows",
        independent_negatives=independent_negatives,
    )
    return replace(bound, name="posterior_nce")


def _upper(
    terms: Float[Tensor, "batch"],
    log_k: Float[Tensor, "batch"],
    *,
    name: str,
    kind: Literal["upper", "neither"] = "upper",
    in_others: Float[Tensor, "batch"] | None = None,
) -> Bound:
    return summed_up(
        terms,
        log_k,
        counted=torch.ones_like(terms, dtype=torch.bool),
        name=name,
        kind=kind,
        ceilings=torch.full_like(terms, math.inf),
        in_other_rows=in_others,
    )


def _divergences(posterior: Posterior, marginal: Marginal) -> Float[Tensor, "batch components"]:
    """Give KL(p(z|x_i) ‖ r_k), closed form."""
    with torch.autocast(posterior.mean.device.type, enabled=False):
        mean, log_sigma = _at_least_float32(posterior.mean, posterior.log_sigma)
        ratio = log_sigma[:, None] - marginal.log_sigma
        apart = (mean[:, None] - marginal.mean) * (-marginal.log_sigma).exp()
        return ((torch.expm1(2 * ratio) + apart.square()) / 2 - ratio).sum(dim=-1)


def _log_normal(
    squares: Float[Tensor, "*batch"], log_sigma: Float[Tensor, "*columns dim"]
) -> Float[Tensor, "*batch"]:
    constant = log_sigma.shape[-1] * math.log(2 * math.pi) / 2
    return -squares / 2 - log_sigma.sum(dim=-1) - constant


def _at_least_float32(*tensors: Tensor) -> list[Tensor]:
    return [tensor if tensor.dtype == torch.float64 else tensor.float() for tensor in tensors]
