"""Usable videos and rejects as typed rows ↔ manifest.parquet and rejects.parquet of a corpus folder."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avmi.corpus.address import local_folder
from avmi.errors import CorpusError
from avmi.types import SPLITS, Finding, Split, StrPath

MANIFEST_FILE = "manifest.parquet"
REJECTS_FILE = "rejects.parquet"
HERE = "."  # root of a manifest whose paths start from its own folder, wherever that is
FORMAT_VERSION = 2
_ID_CHARACTERS = 16  # of a content hash: 64 bits tell a billion files apart with a chance of 0.97


@dataclass(frozen=True)
class Video:
    """One usable video: what `prepare` measured of it. Seconds are on the container's clock."""

    path: str  # as found, relative to the source folder when it lies below it
    video_id: str  # content hash, short, and the interval: stable under moving and renaming
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
    further_labels: tuple[str, ...]  # of a corpus with several classes for a video; `label` is the first
    is_interval: bool  # of a longer file: its streams' starts and ends are those of the interval
    findings: tuple[Finding, ...] = ()  # what is questionable about it, see `avmi.corpus.findings`
    near_duplicate_of: str = ""  # path of the video that this one repeats; "" of none
    index_reason: str = "no packet table"  # why it is read through its container; "" when by its packet table

    @property
    def content_id(self) -> str:
        """What a recording is told apart by: intervals and copies of one file have it in common."""
        return self.content_hash[:_ID_CHARACTERS]

    @property
    def row_id(self) -> str:
        """What a row is told apart by: a file may stand in several, part by part or under several paths."""
        return f"{self.path} {self.video_id}"

    @property
    def has_pictures(self) -> bool:
        """Whether there is a picture; without one its start and end are 0, its size 0 and its codec ""."""
        return self.video_end_seconds > self.video_start_seconds

    @property
    def has_sound(self) -> bool:
        """Whether there is sound; without it its start and end are 0, its rate 0 and its codec ""."""
        return self.audio_end_seconds > self.audio_start_seconds

    @property
    def duration_seconds(self) -> float:
        """Length of the time that has both picture and sound; of the one that is there if there is only one."""
        if not self.has_sound:
            return self.video_end_seconds - self.video_start_seconds
        if not self.has_pictures:
            return self.audio_end_seconds - self.audio_start_seconds
        start = max(self.video_start_seconds, self.audio_start_seconds)
        return min(self.video_end_seconds, self.audio_end_seconds) - start


@dataclass(frozen=True)
class Reject:
    """One unusable file: the short reason that tables count by, and the detail a person needs."""

    path: str
    reason: str
    detail: str


_OF_ENTRY = {"path", "video_id", "label", "split", "further_labels", "is_interval"}
_OF_CORPUS = {"findings", "near_duplicate_of"}


def video_of(
    facts: Mapping[str, Any],
    path: str,
    *,
    label: str,
    split: Split,
    further_labels: tuple[str, ...] = (),
    part: str | None = None,
) -> Video:
    """Make a row of what was measured of a file (a probe's facts; what the manifest does not keep is left).

    `part` names an interval of the file, as the end of the row's id; None is the whole file.
    """
    measured = {f.name for f in dataclasses.fields(Video)} - _OF_ENTRY - _OF_CORPUS
    return Video(
        path=path,
        video_id=facts["content_hash"][:_ID_CHARACTERS] + (part or ""),
        label=label,
        split=split,
        further_labels=further_labels,
        is_interval=part is not None,
        **{name: value for name, value in facts.items() if name in measured},
    )


@dataclass(frozen=True)
class EarlierRow:
    """What a new manifest takes over from the one that it replaces."""

    path: str
    content_hash: str
    split: Split


_ARROW_TYPES = {
    str: pa.string(),
    float: pa.float64(),
    int: pa.int64(),
    bool: pa.bool_(),
    tuple[str, ...]: pa.list_(pa.string()),
    tuple[Finding, ...]: pa.list_(pa.string()),
}


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

    def without(self, *findings: Finding) -> "Manifest":
        """Leave out the videos that have any of these findings."""
        kept = tuple(v for v in self.videos if not set(findings) & set(v.findings))
        return dataclasses.replace(self, videos=kept)

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
    """Write `manifest.parquet` into the corpus folder; `root` is what its paths start from, or `HERE`."""
    write_table(
        Path(corpus) / MANIFEST_FILE,
        videos,
        row_type=Video,
        root=HERE if root == HERE else str(Path(root).resolve()),
    )


def read_manifest(corpus: StrPath) -> Manifest:
    """Read the manifest of a corpus folder.

    Raises `CorpusError` when the folder was not written by `avmi prepare`, or by another version.
    """
    folder = local_folder(corpus)
    path = folder / MANIFEST_FILE
    table, metadata = _read_table(path, row_type=Video)
    lists = ("further_labels", "findings")
    videos = tuple(
        Video(**{**row, **{name: tuple(row[name]) for name in lists}}) for row in table.to_pylist()
    )
    unknown = {v.split for v in videos} - set(SPLITS)
    if unknown:
        raise CorpusError(f"{path}: unknown split {sorted(unknown)}; splits are {SPLITS}")
    # Shards move about with their manifest; other corpora point at videos that stay where they are.
    root = folder if metadata["root"] == HERE else Path(metadata["root"])
    return Manifest(root=root, videos=videos, corpus=folder)


def read_earlier(corpus: StrPath) -> tuple[EarlierRow, ...]:
    """Read what is kept of a manifest that is to be replaced, whatever its format.

    Raises `CorpusError` when it is no manifest.
    """
    path = Path(corpus) / MANIFEST_FILE
    try:
        table = pq.read_table(path, columns=[f.name for f in dataclasses.fields(EarlierRow)])
        rows = tuple(EarlierRow(**row) for row in table.to_pylist())
    except (pa.ArrowException, OSError, TypeError, ValueError) as error:
        raise CorpusError(f"{path} is not a table of avmi ({error})") from error
    return tuple(row for row in rows if row.split in SPLITS)


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
