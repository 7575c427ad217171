"""One value per query and the video it comes from → a bootstrap confidence interval; pure."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """Two ends of a confidence interval."""

    low: float
    high: float


def bootstrap_interval(
    values: Float[Tensor, "queries"],
    groups: Int[Tensor, "queries"],
    *,
    generator: torch.Generator,
    statistic: Literal["mean", "median"] = "mean",
    resamples: int = 1000,
    level: float = 0.95,
) -> Interval | None:
    """Give the percentile bootstrap interval of a mean or median over queries, resampling whole groups.

    `groups` names each query's video: clips of one video are no independent evidence. None when there are
    fewer than two groups. `generator` lives on the CPU.
    """
    values = values.detach().cpu().double()
    places = {group: place for place, group in enumerate(sorted(set(groups.tolist())))}
    codes = torch.tensor([places[group] for group in groups.tolist()], dtype=torch.int64)
    number = len(places)
    if number < 2:
        return None
    drawn = torch.empty(resamples, dtype=torch.float64)
    for i in range(resamples):
        draws = torch.randint(number, (number,), generator=generator)
        times = torch.bincount(draws, minlength=number)[codes]
        match statistic:
            case "mean":
                drawn[i] = (times * values).sum() / times.sum()
            case "median":
                drawn[i] = values.repeat_interleave(times).quantile(0.5)
    tail = (1 - level) / 2
    return Interval(low=float(drawn.quantile(tail)), high=float(drawn.quantile(1 - tail)))
