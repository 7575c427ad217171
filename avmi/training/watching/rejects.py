"""Batches → the videos that were replaced in them: named in the log, counted by reason."""

import logging
from collections import Counter
from collections.abc import Mapping

from avmi.data import Batch

log = logging.getLogger(__name__)


class RejectedVideos:
    """Counts, for this process and since the start, the draws that failed and were replaced."""

    def __init__(self) -> None:
        self._counts = Counter[str]()

    def add(self, batch: Batch) -> None:
        """Name and count the rejects of a batch."""
        for reject in batch.rejects:
            log.warning("replaced %s: %s (%s)", reject.path, reject.reason, reject.detail)
            self._counts[reject.reason] += 1

    def scalars(self) -> dict[str, float]:
        """Give the number of all, and of those of each reason that occurred."""
        by_reason = {f"rejected_videos/{reason}": float(n) for reason, n in sorted(self._counts.items())}
        return {"rejected_videos": float(self._counts.total()), **by_reason}

    def state(self) -> dict[str, int]:
        """Give the counts for a checkpoint."""
        return dict(self._counts)

    def load(self, state: Mapping[str, int]) -> None:
        """Go on from the counts of a checkpoint."""
        self._counts = Counter(state)
