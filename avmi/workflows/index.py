"""`avmi index`: a checkpoint and a corpus → a search index."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from avmi.corpus.manifest import Reject, read_manifest
from avmi.embedder import load
from avmi.embedding_rows import EmbeddingRows
from avmi.index import IndexInfo, write_index
from avmi.types import Split, StrPath


@dataclass(frozen=True)
class IndexResult:
    """What the index holds."""

    index: Path
    info: IndexInfo
    rejects: tuple[Reject, ...]

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "index": str(self.index),
            "embeddings": self.info.counts,
            "dim": self.info.dim,
            "model_hash": self.info.model_hash,
            "unreadable_videos": [reject.path for reject in self.rejects],
        }

    def as_text(self) -> str:
        """Say it in one line."""
        counts = ", ".join(f"{n} {kind}" for kind, n in self.info.counts.items())
        lost = f"; {len(self.rejects)} videos could not be read" if self.rejects else ""
        return f"{self.index}: {counts} embeddings of model {self.info.model_hash[:12]}{lost}"


def index(
    checkpoint: StrPath,
    corpus: StrPath,
    *,
    out: StrPath,
    split: Split | Literal["all"] = "all",
    workers: int = 0,
) -> IndexResult:
    """Embed evenly spread clips of every video of a split and write an index of them."""
    rows = EmbeddingRows(load(checkpoint), read_manifest(corpus), split, workers)
    info = write_index(out, rows, provenance=rows.provenance)
    return IndexResult(Path(out), info, tuple(rows.rejects))
