"""A folder of videos, or a CSV/Parquet that lists them → the files to probe with their label and split.

Looks at names and sizes only, opens no video. What is no ordinary file ends here as a reject, so that
nobody ever waits for a pipe or a device.
"""

import csv
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avmi.corpus.manifest import Reject
from avmi.errors import CorpusError
from avmi.types import SPLITS, Split, StrPath

_VIDEO = (
    ".3g2 .3gp .asf .avi .divx .dv .f4v .flv .m1v .m2t .m2ts .m2v .m4v .mkv .mov .mp4 .mpe .mpeg .mpg "
    ".mts .mxf .ogm .ogv .qt .rm .rmvb .ts .vob .webm .wmv"
)
_AUDIO = ".aac .ac3 .aif .aiff .amr .au .caf .flac .m4a .m4b .mka .mp3 .oga .ogg .opus .wav .wma"
MEDIA_SUFFIXES = frozenset(f"{_VIDEO} {_AUDIO}".split())
"""Suffixes (lower case) of files worth probing; sound alone is probed too, to be rejected by its reason."""

_TABLE_SUFFIXES = {".csv", ".parquet", ".pq"}


@dataclass(frozen=True)
class Entry:
    """One file to probe; size and time of change tell whether it is still the one probed before."""

    path: str  # relative to the source's root when it lies below it
    label: str
    split: Split | None  # None: to be chosen by content
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Source:
    """The files of a source in the order of their paths, what is no file, and how many are no media."""

    root: Path
    entries: tuple[Entry, ...]
    rejects: tuple[Reject, ...]
    ignored: int


@dataclass(frozen=True)
class _Listed:
    path: str
    label: str
    split: Split | None


def read_source(source: StrPath, *, out: StrPath) -> Source:
    """List the files of a folder (label = its subfolder of first level) or of a CSV/Parquet table.

    A table has the columns path[,label,split]; its paths count from its own folder. Hidden names and the
    corpus folder `out` are passed over. Raises `CorpusError` when there is nothing to list.
    """
    path = Path(source)
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
    rows = _csv_rows(path) if path.suffix.lower() == ".csv" else _parquet_rows(path)
    root = path.resolve().parent
    listed = _without_repeats(_checked(rows, table=path, root=root), table=path)
    if not listed:
        raise CorpusError(f"{path} lists no files: it needs one row for each video under path[,label,split]")
    return _examined(root, listed, ignored=0)


def _from_folder(root: Path, *, out: Path) -> Source:
    listed, rejects, ignored = [], [], 0
    for folder, names, denied in _walk(root, skip=out):
        if denied is not None:
            if folder == root:
                raise CorpusError(f"{root} cannot be read ({denied.strerror}): check its permissions")
            rejects.append(Reject(_relative(folder, root), "unreadable", f"folder: {denied.strerror}"))
        for name in names:
            if name.startswith(".") or Path(name).suffix.lower() not in MEDIA_SUFFIXES:
                ignored += 1
                continue
            path = _relative(folder / name, root)
            label = path.split("/", 1)[0] if "/" in path else ""
            listed.append(_Listed(path, label, None))
    if not listed and not rejects:
        others = f"; none of its {ignored} files is named like one (.mp4, .mkv, …)" if ignored else ""
        raise CorpusError(f"{root} holds no video{others}: give a folder that holds videos")
    found = _examined(root, listed, ignored=ignored)
    return Source(root, found.entries, (*rejects, *found.rejects), ignored)


def _walk(root: Path, *, skip: Path) -> Iterator[tuple[Path, list[str], OSError | None]]:
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


def _examined(root: Path, listed: Iterable[_Listed], *, ignored: int) -> Source:
    entries: list[Entry] = []
    rejects: list[Reject] = []
    for item in sorted(listed, key=lambda i: i.path):
        found = _examine(root, item)
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            entries.append(found)
    return Source(root, tuple(entries), tuple(rejects), ignored)


def _examine(root: Path, item: _Listed) -> Entry | Reject:
    """Look at a file from outside: its kind and size."""
    try:
        item.path.encode()
    except UnicodeEncodeError:
        shown = item.path.encode("utf-8", "backslashreplace").decode()
        return Reject(shown, "name_not_utf8", "the file name is not UTF-8: rename the file")
    path = root / item.path
    try:
        found = path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            return Reject(item.path, "missing", f"a link to {path.readlink()}, which does not exist")
        return Reject(item.path, "missing", "no such file")
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        return Reject(item.path, "unreadable", str(error))
    if not stat.S_ISREG(found.st_mode):
        return Reject(item.path, "not_a_file", f"a {_kind(found.st_mode)}, not an ordinary file")
    if found.st_size == 0:
        return Reject(item.path, "empty_file", "0 bytes")
    return Entry(item.path, item.label, item.split, found.st_size, found.st_mtime_ns)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "folder", stat.S_IFIFO: "named pipe", stat.S_IFSOCK: "socket"}
    return kinds.get(stat.S_IFMT(mode), "device")


def _csv_rows(table: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Rows of a CSV, each with the place that an error message names."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="")
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            _check_columns(reader.fieldnames, table=table)
            for row in reader:
                if row.get(""):
                    raise CorpusError(
                        f"{table}, line {reader.line_num}: more cells than the header has columns; "
                        "quote a label that holds a comma"
                    )
                yield f"line {reader.line_num}", row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table} cannot be read as CSV in UTF-8: {error}") from error


def _parquet_rows(table: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    try:
        _check_columns(pq.read_schema(table).names, table=table)
        names = [n for n in pq.read_schema(table).names if n in ("path", "label", "split")]
        rows = pq.read_table(table, columns=names).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{table} cannot be read as Parquet: {error}") from error
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _check_columns(names: Iterable[str], *, table: Path) -> None:
    if "path" not in names:
        raise CorpusError(
            f"{table} has no column named path (it has: {', '.join(map(repr, names)) or 'none'}): "
            "the first line must be path[,label,split]"
        )


def _checked(
    rows: Iterable[tuple[str, Mapping[str, object]]], *, table: Path, root: Path
) -> Iterator[tuple[str, _Listed]]:
    for place, row in rows:
        path, label, split = (
            "" if row.get(name) is None else str(row[name]) for name in ("path", "label", "split")
        )
        label, split = label.strip(), split.strip()
        if not path.strip():
            raise CorpusError(f"{table}, {place}: the path is empty; give the file's path or drop the row")
        if split and split not in SPLITS:
            raise CorpusError(
                f"{table}, {place}: unknown split {split!r}; splits are {', '.join(SPLITS)}, or empty"
            )
        # The whole path is kept for a file elsewhere: `root / path` finds both.
        full = Path(os.path.normpath(root / path))
        known = _relative(full, root) if full.is_relative_to(root) else full.as_posix()
        yield place, _Listed(known, label, split or None)


def _without_repeats(rows: Iterable[tuple[str, _Listed]], *, table: Path) -> list[_Listed]:
    """Keep one of equal rows; a path with two labels or splits is a mistake of the table."""
    known: dict[str, tuple[str, _Listed]] = {}
    for place, item in rows:
        first_place, first = known.setdefault(item.path, (place, item))
        if first != item:
            raise CorpusError(
                f"{table}, {place}: {item.path} stands in {first_place} too, with another label or split"
            )
    return [item for _, item in known.values()]
