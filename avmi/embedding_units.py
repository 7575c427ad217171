"""A model and a corpus → units of some videos; one unit → the part file that holds its embeddings.

A part is written whole or not at all, and its name is a hash of everything that its vectors depend on: any number of
processes may write parts into one folder, and what another model, split or corpus left there is never taken. A unit is
embedded alike wherever it is: no batch reaches over its end.
"""

import importlib.metadata
import json
import pickle
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from avmi.corpus.manifest import Manifest, Reject, Video
from avmi.corpus.members import tar_of
from avmi.embedder import Embedder, load
from avmi.embedding_rows import embedded_units
from avmi.errors import AvmiError, CheckpointError, CorpusError
from avmi.index.part import Part, read_part, write_part
from avmi.index.write import arrow_table

# What is lost at most, for each process, when a run is killed: some seconds of work. A million videos are 16,000
# parts of a megabyte or so.
VIDEOS_PER_UNIT = 64
_FORMAT_VERSION = 1
# So many videos of which none is there are a lost disk, not lost videos.
_MOST_LOST = 20
# What may pass though the file stays as it is: permissions, memory, a network.
_MAY_PASS = {"unreadable", "missing", "open_failed", "memory", "worker_died", "shard_unreachable"}


@dataclass(frozen=True)
class Unit:
    """Some consecutive videos of a manifest, and the hash of all that their embeddings depend on."""

    videos: tuple[Video, ...]
    key: str

    def part_in(self, folder: Path) -> Path:
        """Say where the embeddings are written."""
        return folder / f"{self.key}.parquet"


def units_of(model: Embedder, manifest: Manifest) -> tuple[Unit, ...]:
    """Divide the videos of a manifest, in their order."""
    common = _key_of_model(model)
    units = []
    for at in range(0, len(manifest), VIDEOS_PER_UNIT):
        videos = manifest.videos[at : at + VIDEOS_PER_UNIT]
        rows = "\n".join(map(repr, videos))
        units.append(Unit(videos, blake2b(f"{common}\n{rows}".encode(), digest_size=16).hexdigest()))
    return tuple(units)


def _key_of_model(model: Embedder) -> str:
    """Hash weights, preprocessing, moments, views and what computes: other versions may round otherwise."""
    about = {
        "format": _FORMAT_VERSION,
        "weights": model.model_hash,
        "config": model.config.model_dump(mode="json"),
        "views": model.retrieval_views,
        "precision": "float32",
        "versions": {name: importlib.metadata.version(name) for name in ("avmi", "av", "torch")},
    }
    return blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


class UnitEmbedder:
    """A model that embeds units into a folder of parts: the same on this machine and on every other."""

    def __init__(self, model: Embedder, manifest: Manifest, parts: Path, *, workers: int) -> None:
        self._model, self._parts, self._workers = model, parts, workers
        self._manifest = replace(manifest, videos=())

    def embed(self, units: Sequence[Unit]) -> Iterator[int]:
        """Embed units and write the part of each; give the number of videos that are done, as they are.

        Raises `CorpusError` when the videos' disk is gone.
        """
        found = embedded_units(
            self._model, self._manifest, [unit.videos for unit in units], workers=self._workers
        )
        dim = self._model.config.encoders.head.embedding_dim
        for unit, embedded in zip(units, found, strict=True):
            tables, rejects = [arrow_table([], torch.empty(0, dim))], list[Reject]()
            for videos in embedded:
                tables += [arrow_table(rows, vectors) for rows, vectors in videos.batches]
                rejects += videos.rejects
                yield videos.videos
            _stop_without_source(replace(self._manifest, videos=unit.videos), rejects)
            write_part(unit.part_in(self._parts), tables, rejects)


def standing_part(unit: Unit, folder: Path, root: Path) -> Part | None:
    """Give the part of a unit; None when it is to be made, or made again because a video has come back."""
    part = read_part(unit.part_in(folder))
    if part is None or any(
        reject.reason in _MAY_PASS and _is_there(root / reject.path) for reject in part.rejects
    ):
        return None
    return part


def _stop_without_source(manifest: Manifest, rejects: Sequence[Reject]) -> None:
    """Stop when no video of a unit is there: that is a lost disk, not so many lost videos."""
    lost = [reject for reject in rejects if not _is_there(manifest.root / reject.path)]
    if not lost or len(lost) < len(manifest):
        return
    gone = not manifest.root.is_dir() or next(manifest.root.iterdir(), None) is None
    if gone or len(lost) >= _MOST_LOST:
        raise CorpusError(
            f"no video can be read in {manifest.root}, the last being {lost[-1].path} ({lost[-1].detail}): "
            "is the disk still there? The same command goes on once it is"
        )


def _is_there(path: Path) -> bool:
    return path.is_file() or tar_of(path) is not None


@dataclass(frozen=True)
class Place:
    """Where a worker of a cluster finds what it embeds, and writes to: the same on every machine."""

    checkpoint: Path
    model_hash: str
    root: Path
    corpus: Path | None
    parts: Path


class UnitWorker:
    """A `UnitEmbedder` in a process of a cluster: its model is loaded once."""

    def __init__(self, place: Place, workers: int) -> None:
        self._place, self._model = place, load(place.checkpoint)
        manifest = Manifest(place.root, (), place.corpus)
        self._embedder = UnitEmbedder(self._model, manifest, place.parts, workers=workers)

    def __call__(self, item: dict[str, Any]) -> dict[str, Any]:
        """Embed the units of an item; what must stop the run is handed back as text."""
        units: list[Unit] = pickle.loads(zlib.decompress(item["units"]))
        parts, root = self._place.parts, self._place.root
        try:
            if self._model.model_hash != self._place.model_hash:
                raise CheckpointError(
                    f"{self._place.checkpoint} has changed since the run began: start it again"
                )
            # Some are there when this is the second try, after a machine was lost.
            for _ in self._embedder.embed([u for u in units if standing_part(u, parts, root) is None]):
                pass
        except AvmiError as error:
            return {"videos": 0, "stopped": str(error)}
        return {"videos": sum(len(unit.videos) for unit in units), "stopped": ""}


def item_of(units: Sequence[Unit]) -> dict[str, Any]:
    """Make the item that `UnitWorker` takes: small, for the store of a cluster."""
    return {"units": zlib.compress(pickle.dumps(list(units)))}
