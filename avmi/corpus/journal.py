"""Outcomes of probing ↔ an append-only file of the corpus folder, so that no file is probed twice.

One JSON line a file, written as soon as the file is done; a run that was stopped goes on behind the last
line, whole or torn. An outcome holds while path, size, time of change and the probing software are the same.
"""

import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from avmi.corpus.pool import Outcome
from avmi.corpus.source import Entry
from avmi.errors import CorpusError

JOURNAL_FILE = "journal.jsonl"
# What may pass by itself, without the file's changing: permissions, a disk that was not there.
_NOT_KEPT = {"unreadable"}


class Journal:
    """The journal of one corpus folder, open for one run; use it as a context manager.

    `stamp` names the probing software: what another one found is not believed.
    """

    def __init__(self, corpus: Path, *, stamp: str, time_limit_seconds: float) -> None:
        self._stamp = stamp
        self._limit = time_limit_seconds
        path = corpus / JOURNAL_FILE
        self._file = path.open("a+b")
        try:
            _lock(self._file.fileno(), corpus)
            self._known = self._read()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _read(self) -> dict[str, dict[str, Any]]:
        self._file.seek(0)
        lines = self._file.read().split(b"\n")
        if lines[-1]:  # the last run was killed in the middle of a line
            self._file.write(b"\n")
        known = {}
        for line in lines:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = json.loads(line)
                known[record["path"]] = record
        return known

    def outcome(self, entry: Entry) -> Outcome | None:
        """Recall what an earlier run found of this very file; None when it must be probed."""
        record = self._known.get(entry.path)
        if record is None or record.get("stamp") != self._stamp:
            return None
        if (record.get("size_bytes"), record.get("mtime_ns")) != (entry.size_bytes, entry.mtime_ns):
            return None
        if record.get("reason") == "time_limit" and record.get("limit_seconds", 0) < self._limit:
            return None  # more time is allowed now
        return Outcome(record.get("facts"), record.get("reason", ""), record.get("detail", ""))

    def add(self, entry: Entry, outcome: Outcome) -> None:
        """Write down one outcome."""
        if outcome.reason in _NOT_KEPT:
            return
        record = {
            "path": entry.path,
            "size_bytes": entry.size_bytes,
            "mtime_ns": entry.mtime_ns,
            "stamp": self._stamp,
            "limit_seconds": self._limit,
        }
        if outcome.facts is not None:
            record["facts"] = outcome.facts
        else:
            record |= {"reason": outcome.reason, "detail": outcome.detail}
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()


def _lock(descriptor: int, corpus: Path) -> None:
    """Keep a second run away from the same corpus; the lock ends with the process, however it ends."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CorpusError(
            f"another `avmi prepare` is writing to {corpus}: wait for it, or give another --out"
        ) from error
    except OSError:
        return  # a file system without locks
