"""Outcomes of probing ↔ an append-only file of the corpus folder, so that no file is probed twice.

One JSON line a file, written as soon as the file is done; a run that was stopped goes on behind the last
line, whole or torn. An outcome holds while path, size, time of change, the probing software and what a file
must hold (`needs`) are the same.

Jobs of a job array write journals of their own beside it, `journal-0-of-8.jsonl`; the next run that is alone takes
these into the one journal.
"""

import base64
import contextlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any, BinaryIO

from avmi.corpus.lock import hold
from avmi.corpus.pool import Outcome
from avmi.corpus.source import Entry
from avmi.types import Needs

JOURNAL_FILE = "journal.jsonl"
PACKETS = "packets"  # the fact that holds a packet table, as base64
# What may pass by itself, without the file's changing: permissions, a disk that was not there.
_NOT_KEPT = {"unreadable"}
_LONGEST_SHARED = 48  # letters; codecs, reasons and versions repeat, paths and hashes do not


class Journal:
    """The journal of one corpus folder, open for one run; use it as a context manager.

    `stamp` names the probing software: what another one found is not believed. `share_suffix` ends the name
    of the file that a job of a job array writes: it reads the journal and its own, and others may do so beside it.
    """

    def __init__(
        self,
        corpus: Path,
        *,
        stamp: str,
        time_limit_seconds: float,
        needs: Needs = "both",
        share_suffix: str = "",
    ) -> None:
        self._stamp = stamp
        self._needs = needs
        self._limit = time_limit_seconds
        self._places: dict[str, int] = {}
        self._open: list[BinaryIO] = [(corpus / JOURNAL_FILE).open("a+b")]
        try:
            hold(
                self._open[0].fileno(), corpus, verb="prepare", how="with_others" if share_suffix else "alone"
            )
            if share_suffix:
                self._open.append(_beside(corpus, share_suffix).open("a+b"))
                hold(self._open[1].fileno(), corpus, verb="prepare", how="alone")
            else:
                _take_in(self._open[0], corpus)
            self._file = self._open[-1]
            self._known: dict[str, dict[str, Any]] = {}
            for file in self._open:
                self._known |= self._read(file)
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "Journal":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open:
            file.close()

    def _read(self, file: BinaryIO) -> dict[str, dict[str, Any]]:
        file.seek(0)
        known = {}
        place, line = 0, b"\n"
        for line in file:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                record = _slim(json.loads(line))
                known[record["path"]] = record
                self._places[record["path"]] = place
            place += len(line)
        if file is self._file and not line.endswith(b"\n"):  # the last run was killed in the middle of a line
            file.write(b"\n")
        return known

    def packet_table(self, path: str) -> bytes | None:
        """Read the packet table of a file that was probed by this run or an earlier one, out of the one journal."""
        if path not in self._places:
            return None
        self._file.seek(self._places[path])
        found = json.loads(self._file.readline()).get("facts", {}).get(PACKETS)
        return None if found is None else base64.b64decode(found)

    def outcome(self, entry: Entry) -> Outcome | None:
        """Recall what an earlier run found of this very file; None when it must be probed."""
        record = self._known.get(entry.path)
        if record is None or record.get("stamp") != self._stamp:
            return None
        if (record.get("size_bytes"), record.get("mtime_ns")) != (entry.size_bytes, entry.mtime_ns):
            return None
        if record.get("needs", "both") != self._needs and not self._holds_for_others(record):
            return None
        if record.get("reason") == "time_limit" and record.get("limit_seconds", 0) < self._limit:
            return None  # more time is allowed now
        return Outcome(record.get("facts"), record.get("reason", ""), record.get("detail", ""))

    def is_outdated(self, entry: Entry) -> bool:
        """Whether the file was probed by other software, whose finding does not count any more."""
        record = self._known.get(entry.path)
        return record is not None and record.get("stamp") != self._stamp

    @staticmethod
    def _holds_for_others(record: dict[str, Any]) -> bool:
        """Whether what was found with both pictures and sound in view serves for less, too."""
        return bool(record.get("needs", "both") == "both" and record.get("facts"))

    def add(self, entry: Entry, outcome: Outcome) -> None:
        """Write down one outcome; its packet table goes out of memory, see `packet_table`."""
        if outcome.reason in _NOT_KEPT:
            return
        record = {
            "path": entry.path,
            "size_bytes": entry.size_bytes,
            "mtime_ns": entry.mtime_ns,
            "stamp": self._stamp,
            "limit_seconds": self._limit,
            "needs": self._needs,
        }
        if outcome.facts is not None:
            record["facts"] = outcome.facts
        else:
            record |= {"reason": outcome.reason, "detail": outcome.detail}
        self._places[entry.path] = self._file.seek(0, os.SEEK_END)
        self._file.write(json.dumps(record).encode() + b"\n")
        self._file.flush()
        if outcome.facts is not None:
            outcome.facts.pop(PACKETS, None)


def _slim(record: dict[str, Any]) -> dict[str, Any]:
    """Make a record small: a million of them are held, and every one comes with names and short words of its own."""
    slim = {}
    for name, value in record.items():
        if isinstance(value, dict):
            value = _slim(value)
        elif isinstance(value, str) and len(value) <= _LONGEST_SHARED:
            value = sys.intern(value)
        if name != PACKETS:  # kilobytes each: read again when they are needed
            slim[sys.intern(name)] = value
    return slim


def _beside(corpus: Path, suffix: str) -> Path:
    return (corpus / JOURNAL_FILE).with_stem(Path(JOURNAL_FILE).stem + suffix)


def _take_in(journal: BinaryIO, corpus: Path) -> None:
    """Move what jobs have written beside the journal into it; torn lines come along and are passed over."""
    for path in sorted(corpus.glob(_beside(corpus, "-*-of-*").name)):
        with path.open("rb") as file:
            journal.write(b"\n")
            shutil.copyfileobj(file, journal)
            journal.write(b"\n")
        journal.flush()
        os.fsync(journal.fileno())
        path.unlink()
