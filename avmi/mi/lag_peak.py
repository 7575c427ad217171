"""Terms of moments at lags → where their mean is largest, and how sure it is that this is not at lag 0; pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

# Fewer stretches of time than this say nothing about how much a mean would vary over others.
LEAST_BLOCKS = 4
FALSE_SHARE = 0.05
# A bootstrap over few and overlapping moments is too sure of itself: by the p-value alone, 9 to 21 % of files whose
# sound has nothing to do with their pictures would be named; with this share 0.2 to 1.7 % are, each judged alone
# (docs/diagnostics.md).
LEAST_SHARE = 0.98
# Resamples are drawn and averaged so many at a time: their counts of 200 moments then take 8 MB.
_AT_A_TIME = 5000


@dataclass(frozen=True)
class LagPeak:
    """Where a file's curve is largest, set against lag 0."""

    lag: int  # place among the lags
    gain_nats: float  # mean over moments of the term at the peak less the term at lag 0
    standard_error_nats: float  # of the gain; nan when the moments are too few
    p_value: (
        float  # of a gain like the largest, if no lag were better than lag 0; 1 when the moments are too few
    )
    share: float  # of the resamples in which the peak is at this lag or beside it, and not at lag 0


def lag_peak(
    terms: Float[Tensor, "lags moments"],
    *,
    zero: int,
    block: int,
    resamples: int,
    generator: torch.Generator,
) -> LagPeak:
    """Find the lag of the largest mean, paired with lag 0 moment by moment.

    `zero` is the place of lag 0, `block` the number of neighbouring moments whose windows overlap: stretches of so
    many moments are resampled together (circular block bootstrap, Politis & Romano 1992). The test is that of the
    largest of all lags' gains over their standard errors, so that many lags do not make one stand out by chance
    (max-t, Westfall & Young 1993). Lags that fewer than half of lag 0's moments have are not looked at.
    """
    gains = (terms - terms[zero]).double()
    there = ~gains.isnan()
    number = int(there[zero].sum())
    looked_at = there.sum(dim=1) * 2 >= max(1, number)
    mean = (gains.nansum(dim=1) / there.sum(dim=1).clamp(min=1)).masked_fill(~looked_at, -math.inf)
    lag = int(mean.argmax())
    if number < LEAST_BLOCKS * block:
        return LagPeak(lag, float(mean[lag]), math.nan, 1.0, math.nan)
    drawn = _resampled(gains.nan_to_num(), there.double(), block, resamples, generator)
    drawn = drawn.masked_fill(~looked_at, -math.inf)
    others = looked_at.clone()
    others[zero] = False
    # The bootstrap of a mean over few blocks is narrow by (b − 1)/b, as a variance over b that divides by b is.
    blocks = number / block
    errors = drawn[:, others].std(dim=0) * math.sqrt(blocks / (blocks - 1))
    errors = errors.clamp(min=1e-9)
    largest = (mean[others] / errors).max()
    by_chance = ((drawn[:, others] - mean[others]) / errors).amax(dim=1)
    p_value = (1 + int((by_chance >= largest).sum())) / (1 + resamples)
    near = (drawn.argmax(dim=1) - lag).abs() <= 1
    at_zero = drawn.argmax(dim=1) == zero
    places = torch.nonzero(others).flatten().tolist()
    return LagPeak(
        lag=lag,
        gain_nats=float(mean[lag]),
        standard_error_nats=float(errors[places.index(lag)]) if lag in places else 0.0,
        p_value=p_value if lag != zero else 1.0,
        share=float((near & ~at_zero).double().mean()),
    )


def surely_off_zero(peaks: Sequence[LagPeak]) -> list[bool]:
    """Say which files' peaks are off zero beyond noise.

    The p-value has to pass the step-up rule of Benjamini & Hochberg 1995, so that few of those named are by chance
    however many files there are, and nearly every resample has to have its peak in the same place.
    """
    order = sorted(range(len(peaks)), key=lambda file: peaks[file].p_value)
    passed = 0
    for place, file in enumerate(order, 1):
        if peaks[file].p_value <= FALSE_SHARE * place / len(peaks):
            passed = place
    return [file in order[:passed] and peaks[file].share >= LEAST_SHARE for file in range(len(peaks))]


def _resampled(
    gains: Float[Tensor, "lags moments"],
    there: Float[Tensor, "lags moments"],
    block: int,
    resamples: int,
    generator: torch.Generator,
) -> Float[Tensor, "resamples lags"]:
    """Average the gains over resampled stretches of moments."""
    parts = []
    for first in range(0, resamples, _AT_A_TIME):
        times = _times(gains.shape[1], block, min(_AT_A_TIME, resamples - first), generator).double()
        parts.append((times @ gains.T) / (times @ there.T).clamp(min=1))
    return torch.cat(parts)


def _times(
    moments: int, block: int, resamples: int, generator: torch.Generator
) -> Int[Tensor, "resamples moments"]:
    """Count how often each moment is drawn when stretches of `block` are, round the end, until all are replaced."""
    starts = torch.randint(moments, (resamples, math.ceil(moments / block)), generator=generator)
    rows = ((starts[:, :, None] + torch.arange(block)) % moments).flatten(1)[:, :moments]
    return torch.zeros(resamples, moments, dtype=torch.int64).scatter_add(1, rows, torch.ones_like(rows))
