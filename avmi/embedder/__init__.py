"""A checkpoint → vectors of pictures, sounds and videos."""

from avmi.embedder.encoding import BATCH
from avmi.embedder.model import Embedder, load
from avmi.embedder.vectors import BatchVectors, ClipVectors, Output, ViewVectors

__all__ = ["BATCH", "BatchVectors", "ClipVectors", "Embedder", "Output", "ViewVectors", "load"]
