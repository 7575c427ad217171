"""Where the time of training goes: clips per second and the share spent waiting for data."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


class StepClock:
    """Counts since the last record."""

    def __init__(self) -> None:
        self.rejected_videos = 0  # of this process, since the start
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
            "rejected_videos": float(self.rejected_videos),
        }
        self._restart()
        return scalars

    def _restart(self) -> None:
        self.clips = 0
        self._waited_seconds = 0.0
        self._start = time.perf_counter()
