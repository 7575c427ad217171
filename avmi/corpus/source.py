"""A folder of videos, or a CSV/Parquet that lists them → the files to probe with their label and split.

Looks at names and sizes only, opens no video. What is no ordinary file ends here as a reject, so that
nobody ever waits for a pipe or a device.
"""

import math
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from avmi.corpus.manifest import Reject
from avmi.corpus.members import TAR_SUFFIX, member_of
from avmi.corpus.table import COLUMNS, Listed, read_csv, read_parquet
from avmi.corpus.tar_source import FoundVideos, compressed_reject, is_compressed, read_tar
from avmi.errors import CorpusError, DecodeError
from avmi.types import Split, StrPath

_VIDEO = (
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m1v .m2t .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg "
    ".mts .mxf .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv"
)
_AUDIO = ".aac .ac3 .aif .aiff .amr .au .caf .flac .m4a .m4b .mka .mp3 .oga .ogg .opus .wav .wma"
AUDIO_SUFFIXES = frozenset(_AUDIO.split())
MEDIA_SUFFIXES = AUDIO_SUFFIXES.union(_VIDEO.split())
"""Suffixes (lower case) of files worth probing; sound alone is probed too, to be rejected by its reason."""

SHARDS_FILE = "shards.json"  # stands in every folder that `avmi pack` writes
_TABLE_SUFFIXES = {".csv", ".parquet", ".pq"}


@dataclass(frozen=True)
class Entry:
    """One file to probe, or an interval of it; size and time of change tell whether it is still the same.

    A file may stand in several entries, with another interval in each.
    """

    path: str  # relative to the source's root when it lies below it
    label: str
    split: Split | None  # None: to be chosen by content
    size_bytes: int
    mtime_ns: int
    start_seconds: float | None = None  # on the container's clock; None: from where the file begins
    end_seconds: float | None = None  # None: to where the file ends
    further_labels: tuple[str, ...] = ()

    @property
    def is_interval(self) -> bool:
        """Whether it is a part of its file."""
        return self.start_seconds is not None or self.end_seconds is not None


@dataclass(frozen=True)
class Source:
    """The files of a source in the order of their paths, what is no file, and how many are no media."""

    root: Path
    entries: tuple[Entry, ...]
    rejects: tuple[Reject, ...]
    ignored: int


def read_source(source: StrPath, *, out: StrPath, root: StrPath | None = None) -> Source:
    """List the files of a folder (label = its subfolder of first level) or of a CSV/Parquet table.

    A table has the columns of `avmi.corpus.table`; its paths count from `root`, or else from its own
    folder. Hidden names and the corpus folder `out` are passed over. Raises `CorpusError` when there is nothing to list.
    """
    path = Path(source)
    if (path / SHARDS_FILE).is_file():
        raise CorpusError(f"{path} is a corpus already, packed by `avmi pack`: give it to the other verbs")
    if path.is_dir():
        return _from_folder(path.resolve(), out=Path(out))
    if not path.exists():
        raise CorpusError(
            f"{path} does not exist: give a folder of videos, or a CSV or Parquet of their paths"
        )
    if path.suffix.lower() not in _TABLE_SUFFIXES:
        raise CorpusError(
            f"{path} is neither a folder nor a .csv or .parquet: give the folder that holds the videos"
        )
    base = path.resolve().parent if root is None else Path(root).resolve()
    listed = read_csv(path, root=base) if path.suffix.lower() == ".csv" else read_parquet(path, root=base)
    if not listed:
        raise CorpusError(f"{path} lists no files: it needs one row for each video under {COLUMNS}")
    return _examined(base, listed, ignored=0)


def _from_folder(root: Path, *, out: Path) -> Source:
    listed: list[Listed] = []
    rejects: list[Reject] = []
    ignored = 0
    for folder, names, denied in walk(root, skip=out):
        if denied is not None:
            if folder == root:
                raise CorpusError(f"{root} cannot be read ({denied.strerror}): check its permissions")
            rejects.append(Reject(_relative(folder, root), "unreadable", f"folder: {denied.strerror}"))
        for name in names:
            here = _videos_of(folder / name, root)
            listed += here.listed
            rejects += here.rejects
            ignored += here.ignored
    if not listed and not rejects:
        others = f"; none of its {ignored} files is named like one (.mp4, .mkv, …)" if ignored else ""
        raise CorpusError(f"{root} holds no video{others}: give a folder that holds videos")
    found = _examined(root, listed, ignored=ignored)
    return Source(root, found.entries, (*rejects, *found.rejects), ignored)


def _videos_of(file: Path, root: Path) -> FoundVideos:
    """List what a file of a folder is by its name: a video, a tar of them, or neither."""
    path = _relative(file, root)
    label = path.split("/", 1)[0] if "/" in path else ""
    if file.name.startswith("."):
        return FoundVideos(ignored=1)
    if is_compressed(file.name):
        return FoundVideos(rejects=(compressed_reject(path),))
    if file.suffix.lower() == TAR_SUFFIX:
        return read_tar(file, path=path, folder_label=label, is_media=_is_media)
    return FoundVideos(listed=(Listed(path, label, None),)) if _is_media(path) else FoundVideos(ignored=1)


def _is_media(name: str) -> bool:
    return Path(name).suffix.lower() in MEDIA_SUFFIXES


def walk(root: Path, *, skip: Path) -> Iterator[tuple[Path, list[str], OSError | None]]:
    """Every folder with the names of what is no folder in it; links are followed, but never in a circle."""
    seen = {_identity(skip)} - {_identity(root), None}
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        if (identity := _identity(folder)) in seen:
            continue
        seen.add(identity)
        names, below = [], []
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    if not _is_folder(entry):
                        names.append(entry.name)
                    elif not entry.name.startswith("."):
                        below.append(folder / entry.name)
        except OSError as error:
            yield folder, [], error
            continue
        waiting.extend(below)
        yield folder, names, None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads in a circle
        return False


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _examined(root: Path, listed: Iterable[Listed], *, ignored: int) -> Source:
    entries: list[Entry] = []
    rejects: list[Reject] = []
    for item in sorted(listed, key=_place):
        found = _examine(root, item)
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            entries.append(found)
    return Source(root, tuple(entries), tuple(rejects), ignored)


def _examine(root: Path, item: Listed) -> Entry | Reject:
    """Look at a file from outside: its kind and size; and at the interval's own sense."""
    try:
        item.path.encode()
    except UnicodeEncodeError:
        shown = item.path.encode("utf-8", "backslashreplace").decode()
        return Reject(shown, "name_not_utf8", "the file name is not UTF-8: rename the file")
    if wrong := _wrong_interval(item):
        return Reject(item.path, "bad_interval", wrong)
    path = root / item.path
    try:
        member = member_of(path)
        found = path.stat() if member is None else member.tar.stat()
    except DecodeError as error:
        return Reject(item.path, error.reason, str(error))
    except FileNotFoundError:
        if path.is_symlink():
            return Reject(item.path, "missing", f"a link to {path.readlink()}, which does not exist")
        return Reject(item.path, "missing", "no such file")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        return Reject(item.path, "unreadable", str(error))
    if not stat.S_ISREG(found.st_mode):
        return Reject(item.path, "not_a_file", f"a {_kind(found.st_mode)}, not an ordinary file")
    size = found.st_size if member is None else member.size
    if size == 0:
        return Reject(item.path, "empty_file", "0 bytes")
    return Entry(
        item.path,
        item.label,
        item.split,
        size,
        found.st_mtime_ns,
        item.start_seconds,
        item.end_seconds,
        item.further_labels,
    )


def _place(item: Listed) -> tuple[str, float, float]:
    """Sort by path, then by interval, whatever the interval is."""
    start = -math.inf if item.start_seconds is None else item.start_seconds
    end = math.inf if item.end_seconds is None else item.end_seconds
    return item.path, math.inf if math.isnan(start) else start, math.inf if math.isnan(end) else end


def _wrong_interval(item: Listed) -> str:
    """Say why no file has this interval; "" when one may."""
    given = [seconds for seconds in (item.start_seconds, item.end_seconds) if seconds is not None]
    shown = f"the interval from {item.start_seconds} to {item.end_seconds} s"
    if not all(math.isfinite(seconds) for seconds in given):
        return f"{shown} is no interval: both must be numbers of seconds, or be left empty"
    if len(given) < 2:
        return ""
    if given[0] == given[1]:
        return f"{shown} is empty"
    return f"{shown} ends before it begins" if given[1] < given[0] else ""


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")
