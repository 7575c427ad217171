"""Where the time of training goes: clips per second and the share spent waiting for data."""

import logging
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from avmi.config.data import Data

log = logging.getLogger(__name__)

# A loop that waits for a quarter of its time would be a third faster with data that is always there.
_MUCH = 0.25
_RECORDS = 5  # in a row: the first ones include the start of the workers, and a slow file is chance


class StepClock:
    """Counts since the last record."""

    def __init__(self) -> None:
        self._restart()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time what is inside as waiting for data."""
        start = time.perf_counter()
        yield
        self._waited_seconds += time.perf_counter() - start

    def scalars(self) -> dict[str, float]:
        """Give the rates since the last call, and start again."""
        seconds = max(1e-9, time.perf_counter() - self._start)
        scalars = {
            "clips_per_second": self.clips / seconds,
            "data_wait_share": self._waited_seconds / seconds,
        }
        self._restart()
        return scalars

    def _restart(self) -> None:
        self.clips = 0
        self._waited_seconds = 0.0
        self._start = time.perf_counter()


class WaitWatch:
    """Says once what to do when training waits for data for long."""

    def __init__(self, data: Data) -> None:
        self._data = data
        self._in_a_row = 0
        self._has_warned = False

    def check(self, scalars: Mapping[str, float]) -> None:
        """Look at a record of `StepClock`."""
        share = scalars["data_wait_share"]
        self._in_a_row = self._in_a_row + 1 if share > _MUCH else 0
        if self._in_a_row < _RECORDS or self._has_warned:
            return
        self._has_warned = True
        remedies = [
            f"more decoding workers if there are cores for them (data.workers is {self._data.workers})"
        ]
        remedies += ["a packed corpus (avmi pack)"]
        if not self._data.memory_gigabytes:
            remedies += ["a memory for short videos (data.memory_gigabytes)"]
        log.warning(
            "training waits for data for %.0f %% of its time; what helps: %s",
            100 * share,
            "; ".join(remedies),
        )
