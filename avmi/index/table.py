"""Batches of embeddings with the clips they come from ↔ the embedding table, one Parquet file.

Written in row groups under a temporary name and renamed at the end: memory does not grow with the corpus,
and there is never half a table.
"""

import dataclasses
import errno
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from avmi.errors import InputError, UsageError
from avmi.types import Modality, StrPath

FORMAT_VERSION = 1
EMBEDDING_COLUMN = "embedding"
ROW_GROUP_ROWS = 4096  # 4 MB at 256 dimensions: small in memory, large enough to read fast
UNIT_TOLERANCE = 1e-3  # unit vectors rounded to bfloat16 stay inside


@dataclass(frozen=True)
class EmbeddingRow:
    """Where an embedding comes from: the interval of one video that its view covers, in seconds."""

    clip_id: str
    video: str  # path as text, as the manifest has it
    start_seconds: float
    end_seconds: float
    split: str
    label: str  # "" when unlabelled
    kind: Modality


@dataclass(frozen=True)
class Provenance:
    """What made the embeddings: only those of one model are comparable."""

    model_hash: str
    checkpoint: str
    corpus: str
    views: tuple[str, ...]  # names of the views that were embedded


@dataclass(frozen=True)
class Contents:
    """How much a table holds."""

    dim: int  # length of an embedding
    counts: dict[str, int]  # embeddings of each kind


@dataclass(frozen=True)
class EmbeddingTable:
    """Embeddings in memory, row by row with their clips."""

    provenance: Provenance
    columns: pa.Table  # the fields of EmbeddingRow
    vectors: Float[Tensor, "rows dim"]  # unit length, float32

    def __len__(self) -> int:
        return len(self.vectors)

    def row(self, number: int) -> EmbeddingRow:
        """Give the clip of one embedding."""
        return EmbeddingRow(**self.columns.slice(number, 1).to_pylist()[0])

    def rows(self) -> tuple[EmbeddingRow, ...]:
        """Give the clips of all embeddings."""
        return tuple(EmbeddingRow(**row) for row in self.columns.to_pylist())

    def of_kind(self, kind: Modality) -> "EmbeddingTable":
        """Keep the embeddings of one kind, in the order of their clip ids."""
        kinds, clip_ids = self.columns["kind"].to_pylist(), self.columns["clip_id"].to_pylist()
        kept = [number for number, found in enumerate(kinds) if found == kind]
        kept.sort(key=lambda number: clip_ids[number])
        places = torch.tensor(kept, dtype=torch.int64)
        return dataclasses.replace(
            self, columns=self.columns.take(pa.array(kept, pa.int64())), vectors=self.vectors[places]
        )

    def contents(self) -> Contents:
        """Count the embeddings of each kind."""
        kinds = Counter(self.columns["kind"].to_pylist())
        return Contents(dim=self.vectors.shape[1], counts=dict(sorted(kinds.items())))


# Batches differ in their number of rows, hence names that bind nothing.
EmbeddingBatch = tuple[Sequence[EmbeddingRow], Float[Tensor, "_rows _dim"]]

_ROW_FIELDS = [
    ("clip_id", pa.string()),
    ("video", pa.string()),
    ("start_seconds", pa.float64()),
    ("end_seconds", pa.float64()),
    ("split", pa.string()),
    ("label", pa.string()),
    ("kind", pa.string()),
]
_ROW_NAMES = [name for name, _ in _ROW_FIELDS]


def write_embeddings(
    path: StrPath,
    batches: Iterable[EmbeddingBatch],
    *,
    provenance: Provenance,
    row_group_rows: int = ROW_GROUP_ROWS,
) -> Contents:
    """Write the embedding table from a stream of batches, of which it holds a row group at a time.

    Raises `InputError` for rows that do not fit their vectors, for vectors that are not of unit length
    and for no rows at all, `UsageError` where the file cannot be written. A table of this name stays as it
    is until the new one is whole.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    writer, dim, kinds = None, 0, Counter[str]()
    try:
        with _readable_write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Find out before hours of embedding.
            if path.is_dir():
                raise IsADirectoryError(errno.EISDIR, "it is a folder")
            temporary.touch()
        for group in _row_groups(batches, row_group_rows):
            with _readable_write_errors(path):
                writer = writer or _open_writer(temporary, group.schema, provenance)
                writer.write_table(group, row_group_size=row_group_rows)
            dim = group.schema.field(EMBEDDING_COLUMN).type.list_size
            kinds.update(group["kind"].to_pylist())
        if writer is None:
            raise InputError(f"there is no embedding to write to {path}: no clip had the views asked for")
        with _readable_write_errors(path):
            writer.close()
            temporary.replace(path)
    finally:
        with suppress(OSError):  # what stopped the writing is being told already
            if writer is not None:
                writer.close()
            temporary.unlink(missing_ok=True)
    return Contents(dim=dim, counts=dict(sorted(kinds.items())))


def read_embeddings(path: StrPath) -> EmbeddingTable:
    """Read an embedding table whole; raises `InputError` for a file that is not one of this version."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist: give the table that `avmi embed --out TABLE` wrote")
    try:
        with pq.ParquetFile(path) as file:
            return _read(file, path)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} is not an embedding table ({error}): run `avmi embed` again") from error


def _read(file: pq.ParquetFile, path: Path) -> EmbeddingTable:
    schema = file.schema_arrow
    metadata = json.loads((schema.metadata or {})[b"avmi"])
    version = metadata.pop("format_version")
    if version != FORMAT_VERSION:
        raise InputError(
            f"{path} has format {version}, this avmi reads {FORMAT_VERSION}: run `avmi embed` again"
        )
    dim = schema.field(EMBEDDING_COLUMN).type.list_size
    vectors = torch.empty(file.metadata.num_rows, dim)
    start = 0
    for batch in file.iter_batches(columns=[EMBEDDING_COLUMN]):  # never a second copy of all
        flat = batch.column(0).flatten().to_numpy(zero_copy_only=False)
        vectors[start : start + len(batch)] = torch.from_numpy(flat.reshape(-1, dim).copy())
        start += len(batch)
    return EmbeddingTable(
        provenance=Provenance(**{**metadata, "views": tuple(metadata["views"])}),
        columns=file.read(columns=_ROW_NAMES).select(_ROW_NAMES).replace_schema_metadata(),
        vectors=vectors,
    )


def _open_writer(path: Path, schema: pa.Schema, provenance: Provenance) -> pq.ParquetWriter:
    metadata = {"format_version": FORMAT_VERSION, **dataclasses.asdict(provenance)}
    return pq.ParquetWriter(
        path,
        schema.with_metadata({"avmi": json.dumps(metadata)}),
        # Floats of embeddings do not repeat: a dictionary of them costs time and saves nothing.
        use_dictionary=_ROW_NAMES,
    )


def _row_groups(batches: Iterable[EmbeddingBatch], row_group_rows: int) -> Iterator[pa.Table]:
    """Collect batches into row groups; the last one may be shorter."""
    waiting: list[pa.Table] = []
    for rows, vectors in batches:
        if not rows and not len(vectors):
            continue
        waiting.append(_to_arrow(rows, vectors))
        if waiting[0].schema != waiting[-1].schema:
            raise InputError(
                f"embeddings of one table have one length, got {waiting[0].schema.field(EMBEDDING_COLUMN).type} "
                f"and {waiting[-1].schema.field(EMBEDDING_COLUMN).type}"
            )
        if sum(map(len, waiting)) >= row_group_rows:
            joined = pa.concat_tables(waiting)
            whole = len(joined) // row_group_rows * row_group_rows
            yield joined.slice(0, whole)
            waiting = [joined.slice(whole)]
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting)


def _to_arrow(rows: Sequence[EmbeddingRow], vectors: Float[Tensor, "rows dim"]) -> pa.Table:
    if len(rows) != len(vectors):
        raise InputError(f"{len(rows)} rows do not fit {len(vectors)} embeddings")
    flat = vectors.detach().to("cpu", torch.float32).contiguous()
    lengths = torch.linalg.vector_norm(flat, dim=1)
    bad = ~((lengths - 1).abs() <= UNIT_TOLERANCE)  # true for nan and inf, too
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        raise InputError(
            f"the embedding of clip {rows[first].clip_id} ({rows[first].video}) has length "
            f"{float(lengths[first]):.4g}, not 1: look for a broken clip or checkpoint"
        )
    values = pa.array(np.asarray(flat).reshape(-1))
    embedding = pa.FixedSizeListArray.from_arrays(values, flat.shape[1])
    schema = pa.schema(_ROW_FIELDS)
    table = pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=schema)
    return table.append_column(EMBEDDING_COLUMN, embedding)


@contextmanager
def _readable_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path} ({error.strerror or error}): choose another place or free it"
        ) from error
