"""A bound, its standard error and its ceilings → whether the ceiling is what holds it down; pure arithmetic."""

import math
from typing import Literal

Remedy = Literal["raise K", "lower the temperature"]

# A bound is called saturated only when it is so beyond this many standard errors: one-sided, 2.3 % by chance.
SURE_ERRORS = 2.0


def saturation(
    bound_nats: float,
    *,
    ceiling_nats: float,
    cosine_ceiling_nats: float,
    standard_error_nats: float,
    k: int | float,
) -> Remedy | None:
    """Say what would raise a bound that its ceiling holds down; None when more K or less temperature would not.

    `raise K`: log K is so near that twice the negatives would raise the bound by half of log 2 or more, with the
    same critic (`saturated_shortfall_nats`). `lower the temperature`: more than half of what is missing to log K is
    what cosines over this temperature cannot reach, and the bound has come more than half of the way that they can.
    Both hold only when they do so beyond two standard errors; a bound without a finite ceiling or error is never
    saturated.
    """
    surely = bound_nats - SURE_ERRORS * standard_error_nats
    if not math.isfinite(ceiling_nats) or not math.isfinite(surely):
        return None
    if ceiling_nats - surely <= saturated_shortfall_nats(k):
        return "raise K"
    out_of_reach = ceiling_nats - cosine_ceiling_nats
    if 2 * out_of_reach > ceiling_nats - surely and 2 * surely > cosine_ceiling_nats > 0:
        return "lower the temperature"
    return None


def saturated_shortfall_nats(k: int | float) -> float:
    """Give the distance to log K below which doubling K raises InfoNCE by half of log 2 or more.

    A row whose loss is L = log(1 + S), with S the sum of exp(F_ij − F_ii) over K − 1 negatives, has the loss
    log(1 + rS) among 2K − 1 like them, r = (2K − 1)/(K − 1). Its bound grows by log 2 + log(1 + S) − log(1 + rS),
    which is (log 2)/2 at S = (√2 − 1)/(r − √2). For large K that is a distance of log(1 + 1/√2) = 0.53 nats. The
    growth is convex in L, so that a mean loss of this much grows by at least as much (Jensen).
    """
    if k <= 1:
        return 0.0
    growth = (2 * k - 1) / (k - 1)
    return math.log1p((math.sqrt(2) - 1) / (growth - math.sqrt(2)))
