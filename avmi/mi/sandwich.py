"""Samples of a known conditional, and a stream of other inputs → both sides of I(x; z), in memory that M does not touch.

Below by tractable NCE, above by leave-one-out or by the defensive bound, from the same densities (Poole et al. 2019,
arXiv 1905.06922, section 2). Both close on the truth as the bank grows: the lower side says at most log(M + 1).
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from avmi.errors import InputError
from avmi.mi.bound import Bound, BoundKind
from avmi.mi.posterior import Posterior, log_densities

Block = TypeVar("Block")

# Parts of the bank that are summed apart, for the standard error: its own relative error is √(1/2·15), a fifth.
GROUPS = 16


@dataclass(frozen=True)
class Sandwich:
    """Both sides from the same draws; `width_nats` has an error smaller than either side's, most of which they share."""

    lower: Bound
    upper: Bound

    @property
    def width_nats(self) -> float:
        """Upper minus lower."""
        return float(self.upper.value_nats - self.lower.value_nats)


def sandwich(
    log_density: Callable[[Tensor, Block], Float[Tensor, "rows columns"]],
    *,
    samples: Float[Tensor, "rows dim"],
    log_conditional: Float[Tensor, "rows"],
    bank: Iterable[Block],
    defended: tuple[float, Float[Tensor, "rows"]] | None = None,
) -> Sandwich:
    """Bound I(x; z) from both sides, with the bank read once, block by block.

    `samples` are z_i, `log_conditional` log p(z_i | x_i). Each block of `bank` holds inputs x_j drawn apart from all
    x_i; `log_density(samples, block)` gives [i, j] = log p(z_i | x_j), and must be the density that the z were drawn
    from. `defended` is (ε, log r(z_i)): then the upper side is the defensive bound, otherwise leave-one-out. Standard
    errors hold to first order: what the rows and what the bank add. No gradient.

    Raises `InputError` when the bank is empty, or when ε is not in (0, 1).
    """
    if defended is not None and not 0 < defended[0] < 1:
        raise InputError(f"epsilon must be above 0 and below 1, got {defended[0]}")
    own = log_conditional.detach().double()
    log_sums, counts = _summed_by_group(log_density, samples.detach(), bank)
    number = counts.sum()
    if number == 0:
        raise InputError("the bank is empty: both sides need inputs drawn apart from those of the samples")
    log_sum = log_sums.logsumexp(dim=1)
    below = torch.logaddexp(log_sum, own) - (number + 1).log()
    above = log_sum - number.log()
    lower_shares = (log_sums - (number + 1).log() - below[:, None]).exp()
    if defended is None:
        upper_shares = (log_sums - number.log() - above[:, None]).exp()
        name = "leave_one_out_upper"
    else:
        epsilon, log_r = defended
        above = torch.logaddexp(above + math.log1p(-epsilon), log_r.detach().double() + math.log(epsilon))
        upper_shares = (log_sums - number.log() + math.log1p(-epsilon) - above[:, None]).exp()
        name = "defensive"
    log_k = (number + 1).log()
    return Sandwich(
        lower=_bound(own - below, lower_shares, counts, name="tractable_nce", kind="lower", ceiling=log_k),
        upper=_bound(own - above, upper_shares, counts, name=name, kind="upper", ceiling=log_k * math.inf),
    )


def of_posteriors(samples: Float[Tensor, "rows dim"], block: Posterior) -> Float[Tensor, "rows columns"]:
    """Give the log densities of a stochastic encoder's posteriors, for `sandwich`."""
    return log_densities(samples, block.mean, block.log_sigma)


@torch.no_grad()
def _summed_by_group(
    log_density: Callable[[Tensor, Block], Tensor], samples: Tensor, bank: Iterable[Block]
) -> tuple[Float[Tensor, "rows groups"], Float[Tensor, "groups"]]:
    """Sum the densities of each group of inputs, in log space, and count the inputs."""
    log_sums = samples.new_full((len(samples), GROUPS), -math.inf, dtype=torch.float64)
    counts = samples.new_zeros(GROUPS, dtype=torch.float64)
    for block in bank:
        densities = log_density(samples, block)
        # Inputs are taken in turn, so that a block of any size fills all groups alike.
        for group in range(min(GROUPS, densities.shape[1])):
            mine = densities[:, group::GROUPS]
            log_sums[:, group] = torch.logaddexp(log_sums[:, group], mine.logsumexp(dim=1).double())
            counts[group] += mine.shape[1]
    return log_sums, counts


def _bound(
    terms: Float[Tensor, "rows"],
    shares: Float[Tensor, "rows groups"],
    counts: Float[Tensor, "groups"],
    *,
    name: str,
    kind: BoundKind,
    ceiling: Float[Tensor, ""],
) -> Bound:
    """Average the terms; their spread is the rows' error, what the groups of the bank pull apart is the bank's."""
    rows, groups = len(terms), int((counts > 0).sum())
    of_groups = shares.mean(dim=0)
    apart = of_groups - of_groups.sum() * counts / counts.sum()
    bank_variance = apart.square().sum() * (groups / (groups - 1) if groups > 1 else math.nan)
    counted = torch.tensor(rows, device=terms.device)
    return Bound(
        name=name,
        kind=kind,
        value_nats=terms.mean(),
        ceiling_nats=ceiling,
        k_effective=counts.sum() + 1,
        standard_error_nats=(terms.var() / rows + bank_variance).sqrt(),
        counted=counted,
        excluded=torch.zeros_like(counted),
    )
