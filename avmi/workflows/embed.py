"""`avmi embed`: a checkpoint and a corpus → the embedding table, as Parquet."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avmi.corpus.manifest import Reject, read_manifest
from avmi.embedder import load
from avmi.embedding_rows import EmbeddingRows
from avmi.index.table import Contents, write_embeddings
from avmi.types import Split, StrPath


@dataclass(frozen=True)
class EmbedResult:
    """What the table holds."""

    table: Path
    contents: Contents
    rejects: tuple[Reject, ...]

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "table": str(self.table),
            "embeddings": self.contents.counts,
            "dim": self.contents.dim,
            "unreadable_videos": [reject.path for reject in self.rejects],
        }

    def as_text(self) -> str:
        """Say it in one line."""
        counts = ", ".join(f"{n} {kind}" for kind, n in self.contents.counts.items())
        lost = f"; {len(self.rejects)} videos could not be read" if self.rejects else ""
        return f"{self.table}: {counts} embeddings of length {self.contents.dim}{lost}"


def embed(
    checkpoint: StrPath,
    corpus: StrPath,
    *,
    out: StrPath,
    split: Split | Literal["all"] = "all",
    workers: int = 0,
) -> EmbedResult:
    """Embed evenly spread clips of every video of a split and write the embedding table."""
    rows = EmbeddingRows(load(checkpoint), read_manifest(corpus), split, workers)
    contents = write_embeddings(out, rows, provenance=rows.provenance)
    return EmbedResult(Path(out), contents, tuple(rows.rejects))
