"""Scalars of a record → a warning, once per view, when its embeddings have become alike."""

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

# Between what was measured on the quickstart's games (docs/diagnostics.md): runs that were made to collapse, by a
# learning rate of 0.1 or 1 or by constant inputs, stood at ranks of 1.00 to 1.07 and at 0 to 0.012 of the uniform
# deviation; healthy presets never below 1.8 and 0.056 in any record of their first steps.
LEAST_EFFECTIVE_RANK = 1.5
LEAST_DEVIATION_SHARE = 0.03
# Deep untrained encoders may begin with embeddings that are all alike, and learn to tell them apart in a few steps.
RECORDS = 3

_RANK, _DEVIATION = "effective_rank/", "embedding_deviation/"


class CollapseWatch:
    """Warns of every view the first time that its embeddings have been alike for three records in a row."""

    def __init__(self) -> None:
        self._named: set[str] = set()
        self._records: dict[tuple[str, str], int] = {}

    def check(self, step: int, scalars: Mapping[str, float], *, kind: str) -> None:
        """Look at a record: alike are embeddings of low rank and of low deviation both.

        Records of each `kind`, train and valid, count by themselves: held-out clips show means of codes whose draws
        the noise keeps apart in training.
        """
        for key, rank in scalars.items():
            if not key.startswith(_RANK):
                continue
            name = key.removeprefix(_RANK)
            deviation = scalars[f"{_DEVIATION}{name}"]
            share = deviation / scalars["uniform_deviation"]
            alike = rank < LEAST_EFFECTIVE_RANK and share < LEAST_DEVIATION_SHARE
            number = self._records[kind, name] = self._records.get((kind, name), 0) + 1 if alike else 0
            if number >= RECORDS and name not in self._named:
                self._named.add(name)
                log.warning(
                    "view %s has collapsed at step %d: effective rank %.2f of its embeddings, below %g, and deviation "
                    "%.2g, %.1f %% of a uniform code's, below %g %%: lower optimizer.learning_rate, raise "
                    "optimizer.warmup_fraction or data.batch_clips, and look with `avmi views` whether its clips differ at all",
                    name,
                    step,
                    rank,
                    LEAST_EFFECTIVE_RANK,
                    deviation,
                    100 * share,
                    100 * LEAST_DEVIATION_SHARE,
                )

    def state(self) -> dict[str, Any]:
        """Give what was warned of, and the records in a row, for a checkpoint."""
        records = [[kind, name, number] for (kind, name), number in self._records.items()]
        return {"named": sorted(self._named), "records": records}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._named = set(state.get("named", ()))
        self._records = {(kind, name): number for kind, name, number in state.get("records", ())}
