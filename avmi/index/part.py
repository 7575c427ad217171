"""Embeddings of some videos and the videos that could not be read ↔ a part file, of which tables are joined later."""

import contextlib
import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avmi.corpus.manifest import Reject
from avmi.index.write import readable_write_errors

_REJECTS = b"avmi rejects"


@dataclass(frozen=True)
class Part:
    """A part that stands, and the videos that are not in it because they could not be read."""

    path: Path
    rejects: tuple[Reject, ...]

    def table(self) -> pa.Table:
        """Read the embeddings."""
        return pq.read_table(self.path).replace_schema_metadata()


def write_part(path: Path, tables: Sequence[pa.Table], rejects: Sequence[Reject]) -> None:
    """Write a part, whole or not at all; raises `UsageError` where it cannot be written."""
    said = json.dumps([asdict(reject) for reject in rejects])
    table = pa.concat_tables(tables).replace_schema_metadata({_REJECTS: said})
    # Of its own: a unit that was begun anew must not write into the file of a process that has not ended yet.
    temporary = path.with_suffix(f".{secrets.token_hex(4)}.tmp")
    try:
        with readable_write_errors(path), temporary.open("wb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        with readable_write_errors(path):
            temporary.replace(path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def read_part(path: Path) -> Part | None:
    """Look whether a part stands there, and what it lacks; None when it is missing or torn."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        rejects = tuple(Reject(**reject) for reject in json.loads(metadata[_REJECTS]))
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
    return Part(path, rejects)
