"""Batches of embeddings with the clips they come from → the embedding table, one Parquet file.

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
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from avmi.errors import InputError, UsageError
from avmi.index.table import (
    EMBEDDING_COLUMN,
    FORMAT_VERSION,
    ROW_NAMES,
    Contents,
    EmbeddingRow,
    Provenance,
)
from avmi.types import StrPath

ROW_GROUP_ROWS = 4096  # 4 MB at 256 dimensions: small in memory, large enough to read fast
UNIT_TOLERANCE = 1e-3  # unit vectors rounded to bfloat16 stay inside

# Batches differ in their number of rows, hence names that bind nothing.
EmbeddingBatch = tuple[Sequence[EmbeddingRow], Float[Tensor, "_rows _dim"]]

_ROW_FIELDS = [
    (field.name, pa.float64() if field.type is float else pa.string())
    for field in dataclasses.fields(EmbeddingRow)
]


def write_embeddings(
    path: StrPath,
    batches: Iterable[EmbeddingBatch],
    *,
    provenance: Provenance,
    row_group_rows: int = ROW_GROUP_ROWS,
) -> Contents:
    """Write the embedding table from a stream of batches; see `write_tables`.

    Raises `InputError`, too, for rows that do not fit their vectors and for vectors that are not of unit length.
    """
    tables = (arrow_table(rows, vectors) for rows, vectors in batches if len(rows) or len(vectors))
    return write_tables(path, tables, provenance=provenance, row_group_rows=row_group_rows)


def write_tables(
    path: StrPath,
    tables: Iterable[pa.Table],
    *,
    provenance: Provenance,
    row_group_rows: int = ROW_GROUP_ROWS,
) -> Contents:
    """Write the embedding table from a stream of Arrow tables, of which it holds a row group at a time.

    What is written does not depend on how the rows are divided among the tables. Raises `InputError` for no
    rows at all, `UsageError` where the file cannot be written. A table of this name stays as it is until the new
    one is whole.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    writer, dim, kinds = None, 0, Counter[str]()
    try:
        make_place(path)
        with readable_write_errors(path):
            temporary.touch()
        for group in _row_groups(tables, row_group_rows):
            with readable_write_errors(path):
                writer = writer or _open_writer(temporary, group.schema, provenance)
                writer.write_table(group, row_group_size=row_group_rows)
            dim = group.schema.field(EMBEDDING_COLUMN).type.list_size
            kinds.update(group["kind"].to_pylist())
            del group  # before the next one is made
        if writer is None:
            raise InputError(f"there is no embedding to write to {path}: no clip had the views asked for")
        with readable_write_errors(path):
            writer.close()
            temporary.replace(path)
    finally:
        with suppress(OSError):  # what stopped the writing is being told already
            if writer is not None:
                writer.close()
            temporary.unlink(missing_ok=True)
    return Contents(dim=dim, counts=dict(sorted(kinds.items())))


def make_place(path: Path) -> None:
    """Find out before hours of embedding whether a table can stand there; raises `UsageError`."""
    with readable_write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")


def _open_writer(path: Path, schema: pa.Schema, provenance: Provenance) -> pq.ParquetWriter:
    metadata = {"format_version": FORMAT_VERSION, **dataclasses.asdict(provenance)}
    return pq.ParquetWriter(
        path,
        schema.with_metadata({"avmi": json.dumps(metadata)}),
        # Floats of embeddings do not repeat: a dictionary of them costs time and saves nothing.
        use_dictionary=ROW_NAMES,
    )


def _row_groups(tables: Iterable[pa.Table], row_group_rows: int) -> Iterator[pa.Table]:
    """Collect tables into row groups; the last one may be shorter."""
    waiting: list[pa.Table] = []
    for table in tables:
        if not len(table):
            continue
        waiting.append(table)
        if waiting[0].schema != waiting[-1].schema:
            raise InputError(
                f"embeddings of one table have one length, got {waiting[0].schema.field(EMBEDDING_COLUMN).type} "
                f"and {waiting[-1].schema.field(EMBEDDING_COLUMN).type}"
            )
        if sum(map(len, waiting)) >= row_group_rows:
            joined = pa.concat_tables(waiting)
            whole = len(joined) // row_group_rows * row_group_rows
            waiting = [joined.slice(whole)]
            joined = joined.slice(0, whole)
            # One piece: how Parquet divides pages must not depend on how the rows came.
            yield joined.combine_chunks()
            del joined
    if sum(map(len, waiting)):
        yield pa.concat_tables(waiting).combine_chunks()


def arrow_table(rows: Sequence[EmbeddingRow], vectors: Float[Tensor, "rows dim"]) -> pa.Table:
    """Put rows and vectors side by side; raises `InputError` for those that do not belong into a table."""
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
def readable_write_errors(path: Path) -> Iterator[None]:
    """Make a `UsageError` that names the table of an error of the disk."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path} ({error.strerror or error}): choose another place or free it"
        ) from error
