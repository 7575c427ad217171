"""Usable videos and rejects as typed rows ↔ manifest.parquet and rejects.parquet of a corpus folder."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avmi.errors import CorpusError
from avmi.types import SPLITS, Split, StrPath

MANIFEST_FILE = "manifest.parquet"
REJECTS_FILE = "rejects.parquet"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Video:
    """One usable video: what `prepare` measured of it. Seconds are on the container's clock."""

    path: str  # as found, relative to the source folder when it lies below it
    video_id: str  # content hash, short: stable under moving and renaming
    label: str  # class name; "" when unlabelled
    split: Split
    video_start_seconds: float  # time of the first picture
    video_end_seconds: float  # time of the last picture, when it goes off the screen
    last_frame_seconds: float  # time of the last picture, when it comes up
    audio_start_seconds: float
    audio_end_seconds: float
    frame_rate: float  # pictures per second, averaged over the packets
    is_variable_frame_rate: bool
    width_px: int  # after rotation
    height_px: int
    rotation_degrees: int  # clockwise turn that makes the picture upright
    container: str
    video_codec: str
    audio_codec: str
    sample_rate_hz: int
    channels: int
    loudness_dbfs: float  # RMS of the mono mix; -inf never appears, the floor is -120
    is_silent: bool
    is_still: bool
    decord_exact: bool  # decord gives the pictures at the times that the packets say
    decord_reason: str  # why not; "" when exact
    content_hash: str  # blake2b of the whole file
    size_bytes: int

    @property
    def duration_seconds(self) -> float:
        """Length of the time that has both picture and sound."""
        start = max(self.video_start_seconds, self.audio_start_seconds)
        return min(self.video_end_seconds, self.audio_end_seconds) - start


@dataclass(frozen=True)
class Reject:
    """One unusable file: the short reason that tables count by, and the detail a person needs."""

    path: str
    reason: str
    detail: str


_ARROW_TYPES = {str: pa.string(), float: pa.float64(), int: pa.int64(), bool: pa.bool_()}


def arrow_schema(row_type: type) -> pa.Schema:
    """Parquet schema of a row dataclass."""
    return pa.schema(
        [(f.name, _ARROW_TYPES.get(f.type, pa.string())) for f in dataclasses.fields(row_type)]  # type: ignore[arg-type]
    )


@dataclass(frozen=True)
class Manifest:
    """The usable videos of a corpus and the folder that their paths start from."""

    root: Path
    videos: tuple[Video, ...]
    corpus: Path | None = None  # the folder this was read from

    def __len__(self) -> int:
        return len(self.videos)

    def __iter__(self) -> Iterator[Video]:
        return iter(self.videos)

    def path_of(self, video: Video) -> Path:
        """Absolute path of a video's file."""
        return self.root / video.path

    def split(self, *splits: Split) -> "Manifest":
        """Keep the videos of these splits."""
        return dataclasses.replace(self, videos=tuple(v for v in self.videos if v.split in splits))

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in alphabetical order, without the empty one."""
        return tuple(sorted({v.label for v in self.videos} - {""}))

    @property
    def fingerprint(self) -> str:
        """Hash of the videos and their splits, so that a run can tell that its corpus changed."""
        lines = sorted(f"{v.video_id} {v.split}" for v in self.videos)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def split_of(content_hash: str, *, fractions: Sequence[float]) -> Split:
    """Choose the split of a video from its content alone, so that adding files moves no other.

    `fractions` are those of train, valid and test; they sum to 1.
    """
    place = int(hashlib.blake2b(content_hash.encode(), digest_size=8).hexdigest(), 16) / 2**64
    if place < fractions[0]:
        return "train"
    return "valid" if place < fractions[0] + fractions[1] else "test"


def write_table(path: Path, rows: Iterable[Video | Reject], *, row_type: type, **metadata: str) -> None:
    """Write rows as Parquet under a temporary name, then rename: never half a table."""
    schema = arrow_schema(row_type).with_metadata(
        {"avmi": json.dumps({"format_version": FORMAT_VERSION, **metadata})}
    )
    table = pa.Table.from_pylist([dataclasses.asdict(row) for row in rows], schema=schema)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        pq.write_table(table, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_manifest(corpus: StrPath, videos: Iterable[Video], *, root: StrPath) -> None:
    """Write `manifest.parquet` into the corpus folder; `root` is what its paths start from."""
    write_table(Path(corpus) / MANIFEST_FILE, videos, row_type=Video, root=str(Path(root).resolve()))


def read_manifest(corpus: StrPath) -> Manifest:
    """Read the manifest of a corpus folder.

    Raises `CorpusError` when the folder was not written by `avmi prepare`, or by another version.
    """
    path = Path(corpus) / MANIFEST_FILE
    table, metadata = _read_table(path, row_type=Video)
    videos = tuple(Video(**row) for row in table.to_pylist())
    unknown = {v.split for v in videos} - set(SPLITS)
    if unknown:
        raise CorpusError(f"{path}: unknown split {sorted(unknown)}; splits are {SPLITS}")
    return Manifest(root=Path(metadata["root"]), videos=videos, corpus=Path(corpus))


def read_rejects(corpus: StrPath) -> tuple[Reject, ...]:
    """Read the rejects of a corpus folder; raises `CorpusError` as `read_manifest` does."""
    table, _ = _read_table(Path(corpus) / REJECTS_FILE, row_type=Reject)
    return tuple(Reject(**row) for row in table.to_pylist())


def _read_table(path: Path, *, row_type: type) -> tuple[pa.Table, dict[str, Any]]:
    if not path.is_file():
        raise CorpusError(
            f"{path} does not exist: give the folder that `avmi prepare SOURCE --out CORPUS` wrote"
        )
    try:
        table = pq.read_table(path)
        metadata = json.loads((table.schema.metadata or {})[b"avmi"])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise CorpusError(f"{path} is not a table of avmi ({error}): run `avmi prepare` again") from error
    if metadata.get("format_version") != FORMAT_VERSION:
        raise CorpusError(
            f"{path} has format {metadata.get('format_version')}, this avmi reads {FORMAT_VERSION}: "
            "run `avmi prepare` again"
        )
    missing = [f.name for f in dataclasses.fields(row_type) if f.name not in table.schema.names]
    if missing:
        raise CorpusError(f"{path} lacks the columns {missing}: run `avmi prepare` again")
    return table.select([f.name for f in dataclasses.fields(row_type)]), metadata
