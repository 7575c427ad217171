"""Query embeddings → hits by cosine over all clips of an index folder: exact search, in memory, by torch."""

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avmi.errors import InputError, SearchIndexError
from avmi.index.table import (
    Contents,
    EmbeddingRow,
    EmbeddingTable,
    Provenance,
    read_embeddings,
)
from avmi.index.write import UNIT_TOLERANCE, EmbeddingBatch, write_embeddings
from avmi.types import Modality, StrPath

FORMAT_VERSION = 1
EMBEDDINGS_FILE = "embeddings.parquet"
INFO_FILE = "info.json"
KINDS: tuple[Modality, ...] = ("image", "audio")
CHUNK_SCORES = 2**25  # scores held at once: 128 MB of float32
# Scores of a float32 matrix product are off by less than half of this; what comes that near to the last
# place is scored again in float64.
SCORE_MARGIN = 1e-5
EXACT_ROWS = 8192  # vectors held in float64 at once: 16 MB at 256 dimensions
SCORE_DECIMALS = 9  # float64 scores of equal vectors agree to more than this


@dataclass(frozen=True)
class Hit:
    """One found clip."""

    rank: int  # from 1
    score: float  # cosine
    video: str
    start_seconds: float
    end_seconds: float
    label: str
    clip_id: str
    split: str

    def as_json(self) -> dict[str, str | int | float]:
        """Give what `avmi retrieve --json` prints of a hit."""
        keys = ("rank", "score", "video", "start_seconds", "end_seconds", "label")
        return {key: getattr(self, key) for key in keys}


@dataclass(frozen=True)
class IndexInfo:
    """What an index holds and which model made it."""

    format_version: int
    model_hash: str
    checkpoint: str
    corpus: str
    views: tuple[str, ...]
    dim: int
    counts: dict[str, int]  # embeddings of each kind


class Index:
    """Exact search over an index folder, read into memory. It knows no model, only vectors."""

    def __init__(self, info: IndexInfo, table: EmbeddingTable) -> None:
        self._info = info
        self._by_kind = {kind: table.of_kind(kind) for kind in KINDS if kind in info.counts}
        self._videos = {
            kind: _numbered(of.columns["video"].to_pylist()) for kind, of in self._by_kind.items()
        }

    @classmethod
    def open(cls, path: StrPath, *, model_hash: str | None = None) -> "Index":
        """Read an index folder, which must be of the model with this hash when one is given.

        Raises `SearchIndexError` for a folder that is missing, no index, broken, empty, of another version
        or of another model.
        """
        path = Path(path)
        info = _read_info(path)
        if model_hash is not None and model_hash != info.model_hash:
            raise SearchIndexError(
                f"{path} was made by model {info.model_hash} ({info.checkpoint}), not by {model_hash}: "
                "use that checkpoint, or make the index again with `avmi index`"
            )
        try:
            table = read_embeddings(path / EMBEDDINGS_FILE)
        except InputError as error:
            raise SearchIndexError(f"{path} is broken: {error}; make it again with `avmi index`") from error
        if not len(table):
            raise SearchIndexError(
                f"{path} is empty: make it again with `avmi index` from a corpus with clips"
            )
        if table.contents() != Contents(info.dim, info.counts):
            raise SearchIndexError(
                f"{path} is broken: {INFO_FILE} says {info.counts} of length {info.dim}, "
                f"{EMBEDDINGS_FILE} holds {table.contents()}; make it again with `avmi index`"
            )
        return cls(info, table)

    def info(self) -> IndexInfo:
        """Tell what the index holds and which model made it."""
        return self._info

    def count(self) -> int:
        """Count all embeddings."""
        return sum(self._info.counts.values())

    def search(
        self,
        vectors: Float[Tensor, "queries length"],
        *,
        k: int,
        kind: Modality = "audio",
        one_per_video: bool = False,
    ) -> list[list[Hit]]:
        """Find the k clips of this kind with the highest cosine, best first, for each query vector.

        Equal scores stand in the order of their clip ids. `one_per_video` keeps the best clip of each video.
        There are fewer than k hits when the index holds no more. Raises `InputError` for k < 1 and for
        vectors not of unit length, `SearchIndexError` for vectors of another length than the index's and
        for a kind that it does not hold.
        """
        table = self._checked(vectors, k=k, kind=kind)
        groups = self._videos[kind] if one_per_video else None
        vectors = vectors.detach().to("cpu", torch.float32)
        found = []
        for chunk in torch.split(vectors, max(1, CHUNK_SCORES // len(table))):
            scores = chunk @ table.vectors.T
            lowest = _kth_highest(scores, groups, k=k) - SCORE_MARGIN
            for query, row, limit in zip(chunk, scores, lowest, strict=True):
                near = torch.nonzero(row >= limit).flatten()
                found.append(_hits(table, query, near=near, groups=groups, k=k))
        return found

    def _checked(self, vectors: Float[Tensor, "queries length"], *, k: int, kind: Modality) -> EmbeddingTable:
        if k < 1:
            raise InputError(f"k is the number of hits and at least 1, got {k}")
        if kind not in self._by_kind:
            raise SearchIndexError(f"the index holds no {kind}, only {self._info.counts}")
        if vectors.shape[1] != self._info.dim:
            raise SearchIndexError(
                f"the query has length {vectors.shape[1]}, the index {self._info.dim}: "
                f"embed the query with the index's model, {self._info.checkpoint}"
            )
        lengths = torch.linalg.vector_norm(vectors.float(), dim=1)
        if not bool(((lengths - 1).abs() <= UNIT_TOLERANCE).all()):
            raise InputError(f"query vectors must have length 1, got {lengths.tolist()}: normalize them")
        return self._by_kind[kind]


def write_index(path: StrPath, batches: Iterable[EmbeddingBatch], *, provenance: Provenance) -> IndexInfo:
    """Write an index folder from a stream of embeddings; an index of this name is replaced at the end.

    Raises `SearchIndexError` when something else is in the way or the place cannot be written,
    `InputError` for embeddings as `write_embeddings` does.
    """
    path = Path(path)
    if path.exists() and not _is_replaceable(path):
        raise SearchIndexError(f"{path} exists and is no index: choose another place or remove it")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _readable_write_errors(path):
            temporary.mkdir(parents=True)
        contents = write_embeddings(temporary / EMBEDDINGS_FILE, batches, provenance=provenance)
        info = IndexInfo(
            format_version=FORMAT_VERSION,
            **dataclasses.asdict(provenance),
            **dataclasses.asdict(contents),
        )
        with _readable_write_errors(path):
            (temporary / INFO_FILE).write_text(json.dumps(dataclasses.asdict(info), indent=2) + "\n")
            _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return info


def _is_replaceable(path: Path) -> bool:
    return path.is_dir() and ((path / INFO_FILE).is_file() or not any(path.iterdir()))


def _put_in_place(new: Path, path: Path) -> None:
    """Rename the finished folder; the old one goes only when the new one stands."""
    if not path.exists():
        new.rename(path)
        return
    old = new.with_suffix(".old")
    path.rename(old)
    try:
        new.rename(path)
    except OSError:
        old.rename(path)
        raise
    shutil.rmtree(old)


@contextmanager
def _readable_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SearchIndexError(
            f"cannot write {path} ({error.strerror or error}): choose another place or free it"
        ) from error


def _read_info(path: Path) -> IndexInfo:
    if not path.is_dir():
        raise SearchIndexError(
            f"{path} is no folder: give the one that `avmi index CHECKPOINT CORPUS --out INDEX` wrote"
        )
    try:
        fields = json.loads((path / INFO_FILE).read_text())
        version = fields["format_version"]
        if version != FORMAT_VERSION:
            raise SearchIndexError(
                f"{path} has format {version}, this avmi reads {FORMAT_VERSION}: make it again with `avmi index`"
            )
        return IndexInfo(**{**fields, "views": tuple(fields["views"])})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SearchIndexError(
            f"{path} is not an index ({INFO_FILE}: {error}): give the folder that `avmi index` wrote"
        ) from error


def _numbered(videos: list[str]) -> Int[Tensor, "rows"]:
    numbers = {video: number for number, video in enumerate(dict.fromkeys(videos))}
    return torch.tensor([numbers[video] for video in videos], dtype=torch.int64)


def _kth_highest(
    scores: Float[Tensor, "queries rows"], groups: Int[Tensor, "rows"] | None, *, k: int
) -> Float[Tensor, "queries"]:
    """Give each query's k-th highest score, where of a group of rows only the highest counts."""
    if groups is not None:
        lowest = torch.full((len(scores), int(groups.max()) + 1), -math.inf)
        scores = lowest.scatter_reduce(1, groups.expand_as(scores), scores, "amax")
    highest = torch.topk(scores, min(k, scores.shape[1]), dim=1, sorted=False).values
    return highest.amin(dim=1)


def _hits(
    table: EmbeddingTable,
    query: Float[Tensor, "dim"],
    *,
    near: Int[Tensor, "near"],
    groups: Int[Tensor, "rows"] | None,
    k: int,
) -> list[Hit]:
    """Order the rows near the top by exact score, then clip id, as the table is; keep k, one per group."""
    parts = torch.split(near, EXACT_ROWS)
    exact = torch.cat([table.vectors[part].double() @ query.double() for part in parts])
    exact = exact.round(decimals=SCORE_DECIMALS)
    order = torch.sort(exact, descending=True, stable=True).indices
    hits: list[Hit] = []
    seen = set()
    for place in order.tolist():
        number = int(near[place])
        group = number if groups is None else int(groups[number])
        if group in seen:
            continue
        seen.add(group)
        hits.append(_hit(table.row(number), rank=len(hits) + 1, score=float(exact[place])))
        if len(hits) == k:
            break
    return hits


def _hit(row: EmbeddingRow, *, rank: int, score: float) -> Hit:
    return Hit(
        rank=rank,
        score=score,
        video=row.video,
        start_seconds=row.start_seconds,
        end_seconds=row.end_seconds,
        label=row.label,
        clip_id=row.clip_id,
        split=row.split,
    )
