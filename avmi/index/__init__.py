"""Embeddings with the clips they come from → a searchable index: query vectors in, ranked hits out."""

from avmi.index.exact import Hit, Index, IndexInfo, write_index
from avmi.index.found import FoundClips
from avmi.index.table import (
    EmbeddingRow,
    EmbeddingTable,
    Provenance,
    read_embeddings,
)
from avmi.index.write import write_embeddings

__all__ = [
    "EmbeddingRow",
    "EmbeddingTable",
    "FoundClips",
    "Hit",
    "Index",
    "IndexInfo",
    "Provenance",
    "read_embeddings",
    "write_embeddings",
    "write_index",
]
