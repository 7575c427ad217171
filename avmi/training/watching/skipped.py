"""Losses of batches → how often a view pair found no clips to train on, counted without waiting for a GPU."""

import logging
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from avmi.objective import Loss

log = logging.getLogger(__name__)


class SkippedTerms:
    """Counts, since the last record, the batches in which a term was left out because no clip had both views."""

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._counts: Tensor | None = None
        self._named: set[str] = set()
        self._before: dict[str, int] = {}  # counts that a checkpoint gave back

    def add(self, loss: Loss) -> None:
        """Count one batch; the counts stay on the device."""
        skipped = torch.stack([term.clips for term in loss.terms.values()]) == 0
        self._names = tuple(loss.terms)
        self._counts = skipped.long() if self._counts is None else self._counts + skipped

    def scalars(self) -> dict[str, float]:
        """Give the counts since the last call, and start again; a pair that is skipped is named once."""
        counts = self._counted()
        self._counts, self._before = None, {}
        for name, count in counts.items():
            if count and name not in self._named:
                self._named.add(name)
                log.warning(
                    "%s was left out of %d batches: no two clips in them had both views and were negatives of "
                    "each other; it is counted as skipped_batches from here on",
                    name,
                    count,
                )
        return {f"skipped_batches/{name}": float(number) for name, number in counts.items()}

    def state(self) -> dict[str, Any]:
        """Give the counts since the last record and the pairs that were named, for a checkpoint."""
        return {"counts": self._counted(), "named": sorted(self._named)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._before, self._named = dict(state.get("counts", {})), set(state.get("named", ()))

    def _counted(self) -> dict[str, int]:
        if self._counts is None:
            return dict(self._before)
        counts = zip(self._names, self._counts.tolist(), strict=True)
        return {name: int(count) + self._before.get(name, 0) for name, count in counts}
