"""Scalars of a record → which bounds their ceilings hold down, and what to do: a warning the first time."""

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from avmi.mi.saturation import Remedy, saturation

log = logging.getLogger(__name__)

_BOUND = "bound_nats/"
_NEEDED = ("ceiling_nats", "cosine_ceiling_nats", "standard_error_nats", "k_effective")


def remedy_of(scalars: Mapping[str, Any], name: str) -> Remedy | None:
    """Say what would raise the bound of a term that its ceiling holds down; None where it does not.

    A record that lacks one of the numbers, as those of older runs do, says nothing.
    """
    numbers = {key: scalars.get(f"{key}/{name}") for key in _NEEDED}
    if numbers["cosine_ceiling_nats"] is None:  # that of bounds other than InfoNCE is not known
        numbers["cosine_ceiling_nats"] = numbers["ceiling_nats"]
    if f"{_BOUND}{name}" not in scalars or any(number is None for number in numbers.values()):
        return None
    return saturation(
        float(scalars[f"{_BOUND}{name}"]),
        ceiling_nats=_number(numbers["ceiling_nats"]),
        cosine_ceiling_nats=_number(numbers["cosine_ceiling_nats"]),
        standard_error_nats=_number(numbers["standard_error_nats"]),
        k=_number(numbers["k_effective"]),
    )


def remedies(scalars: Mapping[str, Any]) -> dict[str, Remedy]:
    """List the terms of a record that are saturated, with what would raise their bounds."""
    names = [key.removeprefix(_BOUND) for key in scalars if key.startswith(_BOUND)]
    return {name: remedy for name in names if (remedy := remedy_of(scalars, name)) is not None}


def terms_as_text(scalars: Mapping[str, Any]) -> list[str]:
    """Write a line for each term of a record: its bound, the lower of its ceilings, and whether that holds it down."""
    lines = []
    for key, bound in scalars.items():
        if not key.startswith(_BOUND):
            continue
        name = key.removeprefix(_BOUND)
        ceilings = [scalars.get(f"{kind}/{name}") for kind in ("ceiling_nats", "cosine_ceiling_nats")]
        lower = min((ceiling for ceiling in ceilings if ceiling is not None), default=None)
        line = f"{name}: {bound:.3f} nats" + ("" if lower is None else f" of at most {lower:.3f}")
        remedy = remedy_of(scalars, name)
        lines.append(line if remedy is None else f"{line}; saturated: {remedy}")
    return lines


class SaturatedTerms:
    """Warns of every term the first time that it is saturated."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def check(self, step: int, scalars: Mapping[str, float]) -> None:
        """Look at a record of training."""
        for name, remedy in remedies(scalars).items():
            if name in self._named:
                continue
            self._named.add(name)
            log.warning(
                "%s is saturated: %s (step %d: %.2f ± %.2f nats, log K %.2f, most at temperature %.3g: %.2f); %s",
                name,
                remedy,
                step,
                scalars[f"{_BOUND}{name}"],
                scalars[f"standard_error_nats/{name}"],
                scalars[f"ceiling_nats/{name}"],
                scalars.get(f"temperature/{name}", math.nan),
                scalars[f"cosine_ceiling_nats/{name}"],
                _advice(name, remedy),
            )

    def state(self) -> list[str]:
        """Name the terms that were warned of, for a checkpoint."""
        return sorted(self._named)

    def load(self, state: Iterable[str]) -> None:
        """Warn no second time of what was warned of before a checkpoint."""
        self._named = set(state)


def _advice(name: str, remedy: Remedy) -> str:
    match remedy:
        case "raise K" if name.endswith("@same_video"):
            return "the views may share more than it can say: raise data.clips_per_video"
        case "raise K":
            return "the views may share more than it can say: raise data.batch_clips, or take more processes"
        case "lower the temperature":
            return "set a lower temperature.initial, or temperature.learned=true"


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
