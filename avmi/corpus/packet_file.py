"""Packet tables ↔ packets.arrow of a corpus folder: one Arrow file, mapped into memory, looked up by content.

Rows are sorted by the content's hash, so a lookup touches a few pages, however many videos there are. Each row
keeps size and time of change of the file that it was made of: another file is never read by an old table.
"""

import bisect
import itertools
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from avmi.corpus.packets import PacketTable, unpacked

log = logging.getLogger(__name__)

PACKETS_FILE = "packets.arrow"
_ROWS_A_BATCH = 4096
_SCHEMA = pa.schema(
    [
        ("content_hash", pa.string()),
        ("size_bytes", pa.int64()),
        ("mtime_ns", pa.int64()),
        ("table", pa.large_binary()),
    ]
)


@dataclass(frozen=True)
class PacketRow:
    """One file's table, as `avmi.corpus.packets.packed` writes it."""

    content_hash: str
    size_bytes: int
    mtime_ns: int
    table: bytes


def write_packets(corpus: Path, rows: Iterable[PacketRow]) -> None:
    """Write tables that come in the order of their hashes, under a temporary name that is renamed then."""
    path = corpus / PACKETS_FILE
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
            waiting = iter(rows)
            while some := list(itertools.islice(waiting, _ROWS_A_BATCH)):
                columns = [[getattr(row, name) for row in some] for name in _SCHEMA.names]
                writer.write_batch(
                    pa.record_batch(
                        [pa.array(c, f.type) for c, f in zip(columns, _SCHEMA, strict=True)], schema=_SCHEMA
                    )
                )
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class PacketFile:
    """The tables of a corpus folder, opened at the first lookup in each process."""

    def __init__(self, corpus: Path) -> None:
        self.path = corpus / PACKETS_FILE
        self._batches: list[Any] | None = None
        self._firsts: list[str] = []
        self._told = False

    def __getstate__(self) -> dict[str, Any]:  # for worker processes: they map the file themselves
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["path"].parent)  # type: ignore[misc]

    def find(self, content_hash: str, file: os.stat_result) -> PacketTable | None:
        """Give the table of a content if the file is still the one that it was made of, else None."""
        row = self._row(content_hash)
        if row is None:
            return None
        size_bytes, mtime_ns, blob = row
        if (size_bytes, mtime_ns) != (file.st_size, file.st_mtime_ns):
            self._tell(f"files have changed since `avmi prepare` wrote {self.path}")
            return None
        try:
            return unpacked(blob)
        except ValueError as error:
            self._tell(f"{self.path}: {error}")
            return None

    def _row(self, content_hash: str) -> tuple[int, int, memoryview] | None:
        if self._batches is None:
            self._open()
        assert self._batches is not None
        place = bisect.bisect_right(self._firsts, content_hash) - 1
        if place < 0:
            return None
        batch = self._batches[place]
        hashes = batch.column(0)
        low, high = 0, len(hashes)
        while low < high:
            middle = (low + high) // 2
            if hashes[middle].as_py() < content_hash:
                low = middle + 1
            else:
                high = middle
        if low == len(hashes) or hashes[low].as_py() != content_hash:
            return None
        blob = memoryview(batch.column(3)[low].as_buffer())
        return batch.column(1)[low].as_py(), batch.column(2)[low].as_py(), blob

    def _open(self) -> None:
        self._batches = []
        try:
            reader = pa.ipc.open_file(pa.memory_map(str(self.path)))
            if reader.schema.names != _SCHEMA.names:
                raise pa.ArrowInvalid("its columns are others")
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            self._firsts = [batch.column(0)[0].as_py() for batch in batches]
            self._batches = batches
        except FileNotFoundError:
            self._tell(f"{self.path} does not exist")
        except (pa.ArrowException, OSError, IndexError) as error:
            self._tell(f"{self.path} cannot be read ({error})")

    def _tell(self, what: str) -> None:
        """Say once that files are read without their tables: nothing is wrong then, but slower."""
        if not self._told:
            self._told = True
            log.warning("%s: they are read through their containers, slower", what)
