"""The embedding table, one Parquet file → embeddings in memory, row by row with the clips they come from."""

import dataclasses
import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Float
from torch import Tensor

from avmi.errors import InputError
from avmi.types import Modality, StrPath

FORMAT_VERSION = 1
EMBEDDING_COLUMN = "embedding"


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


ROW_NAMES = [field.name for field in dataclasses.fields(EmbeddingRow)]


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
        columns=file.read(columns=ROW_NAMES).select(ROW_NAMES).replace_schema_metadata(),
        vectors=vectors,
    )
