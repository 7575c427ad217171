"""Visits that hung or killed their worker → which of them a resumed run repeats, and which videos are drawn no more.

A visit that is lost is an event, not a fact of the file: it may not happen again. So that a resumed run
is the run it resumes, each is written down with its position and attempt, and counts as lost without a
second try when that position comes again. Two lost visits quarantine a video from the first position on
that was not yet begun; the draws that would have been its own go to the next attempt, as if it had failed
there, so that a file that hangs every time gives the same batches with and without its quarantine.

A `DecodeError` is no strike: it costs milliseconds, comes again in the same place by itself, and a file
that is damaged in one place still gives its other clips.
"""

import contextlib
import json
import logging
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from avmi.corpus.manifest import Reject

log = logging.getLogger(__name__)

STRIKES = 2  # one may be chance: the machine ran out of memory, or the disk stalled
_FILES = "quarantine.rank_*.jsonl"


@dataclass(frozen=True)
class LostVisit:
    """One line of the file: what was lost, and from which position on the video is quarantined."""

    position: int
    attempt: int
    path: str
    reason: str
    detail: str
    quarantined_from: int | None

    @property
    def reject(self) -> Reject:
        """The reject that a batch reports."""
        return Reject(self.path, self.reason, self.detail)


class Quarantine:
    """Lost visits of one process; with a file they outlive it.

    Each process keeps its own: what is drawn must be known without asking the others at every step.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._lost: dict[tuple[int, int], LostVisit] = {}
        self._from: dict[str, int] = {}
        self._strikes = Counter[str]()
        for visit in _read(file) if file is not None else ():
            self._remember(visit)

    @classmethod
    def of_run(cls, run: Path, *, rank: int) -> "Quarantine":
        """Open the quarantine of one process in a run folder, with what a run before left there."""
        return cls(run / _FILES.replace("*", str(rank)))

    def __len__(self) -> int:
        return len(self._from)

    @property
    def paths(self) -> frozenset[str]:
        """Videos that are not drawn any more."""
        return frozenset(self._from)

    def holds(self, path: str, position: int) -> bool:
        """Tell whether a video is quarantined at this position of the stream."""
        first = self._from.get(path)
        return first is not None and position >= first

    def lost(self, position: int, attempt: int) -> Reject | None:
        """Give the reject of a visit that was lost in the run before; None when it was not."""
        visit = self._lost.get((position, attempt))
        return visit.reject if visit is not None else None

    def strike(self, reject: Reject, *, position: int, attempt: int, next_position: int) -> None:
        """Write down a lost visit; with the second one the video is quarantined from `next_position` on."""
        is_last = self._strikes[reject.path] + 1 >= STRIKES and reject.path not in self._from
        first = next_position if is_last else None
        visit = LostVisit(position, attempt, reject.path, reject.reason, reject.detail, first)
        self._remember(visit)
        if is_last:
            log.warning(
                "quarantined %s: %d visits were lost, the last by %s", reject.path, STRIKES, reject.reason
            )
        if self.file is not None:
            _append(self.file, visit)

    def _remember(self, visit: LostVisit) -> None:
        self._lost[visit.position, visit.attempt] = visit
        self._strikes[visit.path] += 1
        if visit.quarantined_from is not None:
            self._from[visit.path] = visit.quarantined_from


def quarantined_in(run: Path) -> Mapping[str, str]:
    """Name the videos that the processes of a run have quarantined, with the last reason."""
    lost = [visit for file in sorted(run.glob(_FILES)) for visit in _read(file)]
    return {visit.path: visit.reason for visit in lost if visit.quarantined_from is not None}


def _append(file: Path, visit: LostVisit) -> None:
    with file.open("ab+") as lines:
        if lines.tell():
            lines.seek(-1, os.SEEK_END)
            if lines.read() != b"\n":  # a kill has torn the last line: it must not take this one along
                lines.write(b"\n")
        lines.write(json.dumps(vars(visit)).encode() + b"\n")
        lines.flush()
        with contextlib.suppress(OSError):  # some network disks have no fsync
            os.fsync(lines.fileno())


def _read(file: Path) -> list[LostVisit]:
    """Read the lines; one that a kill has torn is passed over."""
    visits: list[LostVisit] = []
    if not file.is_file():
        return visits
    for line in file.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, TypeError):
            visits.append(LostVisit(**json.loads(line)))
    return visits
