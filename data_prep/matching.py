"""Clips with the names of their files, and a folder → which file each clip is, which are missing or ambiguous.

One walk over the folder and a dictionary: no row asks the file system.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import av

from avmi.corpus.container import open_container
from avmi.corpus.source import AUDIO_SUFFIXES, MEDIA_SUFFIXES, walk
from avmi.errors import CorpusError, DecodeError
from avmi.types import Needs, StrPath
from data_prep.listing import Clip, Name, split_named

# A file that is longer than its clip by more holds the video that the clip was cut from: cuts at keyframes add
# seconds, but those of this kind of corpus are re-encoded.
_CUT_SLACK_SECONDS = 1.0
_MOST_NAMES = 4


@dataclass(frozen=True)
class Match:
    """A clip and its file, relative to the folder; `is_cut`: the file is the clip and nothing else."""

    clip: Clip
    path: str
    is_cut: bool


@dataclass(frozen=True)
class Unmatched:
    """A clip without a file: the names looked for, or the files between which nothing decides."""

    clip: Clip
    reason: str  # missing, ambiguous, duplicate
    detail: str


@dataclass(frozen=True)
class Files:
    """The media files below a folder, by their names without suffix."""

    root: Path
    by_stem: dict[str, list[str]] = field(repr=False)
    others: int  # files that are no media by their names

    def __len__(self) -> int:
        return sum(len(paths) for paths in self.by_stem.values())

    @property
    def examples(self) -> str:
        """A few names, for a message."""
        first = [paths[0] for paths in list(self.by_stem.values())[:_MOST_NAMES]]
        return f"{len(self):,} media files" + (f", such as {', '.join(sorted(first))}" if first else "")


def list_files(folder: Path, *, skip: StrPath) -> Files:
    """Walk through a folder once; raises `CorpusError` when it is none."""
    if not folder.is_dir():
        raise CorpusError(f"{folder} is no folder: give the folder that holds the files as --videos")
    root = folder.resolve()
    by_stem: dict[str, list[str]] = {}
    others = 0
    for place, names, denied in walk(root, skip=Path(skip)):
        if denied is not None:
            raise CorpusError(f"{place} cannot be read ({denied.strerror}): check its permissions")
        below = "" if place == root else f"{place.relative_to(root).as_posix()}/"
        for name in names:
            stem, dot, suffix = name.rpartition(".")
            if f".{suffix.lower()}" in MEDIA_SUFFIXES and dot and stem and _is_utf8(name):
                by_stem.setdefault(stem, []).append(below + name)
            else:
                others += 1
    return Files(root, by_stem, others)


def match(
    clips: Sequence[Clip], names: Callable[[Clip], Iterable[Name]], files: Files, *, needs: Needs
) -> tuple[list[Match], list[Unmatched]]:
    """Find the file of every clip.

    Exact names come first; then those that differ in upper and lower case only, among files that no clip has
    by its exact name. Raises `CorpusError` when not one is found.
    """
    found: list[tuple[Clip, Name, str]] = []
    lost: list[Unmatched] = []
    missing: list[Clip] = []
    for clip in clips:
        hit = _look_up(clip, names(clip), files.by_stem, needs)
        if hit is None:
            missing.append(clip)
        elif isinstance(hit, Unmatched):
            lost.append(hit)
        else:
            found.append((clip, *hit))
    loose = _lower_case(files, taken={path for _, _, path in found})
    for clip in missing:
        lowered = (Name(name.stem.lower(), name.cut) for name in names(clip))
        hit = _look_up(clip, lowered, loose, needs)
        if hit is None:
            lost.append(Unmatched(clip, "missing", _looked_for(clip, names)))
        elif isinstance(hit, Unmatched):
            lost.append(hit)
        else:
            found.append((clip, *hit))
    if not found and not any(one.reason == "ambiguous" for one in lost):
        raise _nothing(clips, names, files)
    return _one_clip_a_file(_measured(found, files.root), lost)


def _look_up(
    clip: Clip, names: Iterable[Name], by_stem: dict[str, list[str]], needs: Needs
) -> tuple[Name, str] | Unmatched | None:
    for name in names:
        paths = by_stem.get(name.stem)
        if paths is None:
            continue
        if len(paths) > 1:
            paths = _preferred(clip, paths, needs)
        if len(paths) > 1:
            return Unmatched(clip, "ambiguous", "; ".join(sorted(paths)))
        return name, paths[0]
    return None


def _preferred(clip: Clip, paths: list[str], needs: Needs) -> list[str]:
    """Narrow files of one name down: by the whole path, by a folder of the class or split, by picture or sound."""
    classes = {_plain(label) for label in clip.labels}
    tests: tuple[Callable[[str], bool], ...] = (
        lambda path: path == clip.key,
        lambda path: any(_plain(part) in classes for part in PurePosixPath(path).parent.parts),
        lambda path: any(split_named(part) == clip.split for part in PurePosixPath(path).parent.parts),
        lambda path: (os.path.splitext(path)[1].lower() in AUDIO_SUFFIXES) == (needs == "sound"),  # noqa: PTH122
    )
    for test in tests:
        paths = [path for path in paths if test(path)] or paths
    return paths


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _lower_case(files: Files, *, taken: set[str]) -> dict[str, list[str]]:
    loose: dict[str, list[str]] = {}
    for stem, paths in files.by_stem.items():
        free = [path for path in paths if path not in taken]
        if free:
            loose.setdefault(stem.lower(), []).extend(free)
    return loose


def _measured(found: Iterable[tuple[Clip, Name, str]], root: Path) -> list[Match]:
    """Tell cut clips from whole videos; only names that do not say are opened."""
    every = list(found)
    unsure = {path for clip, name, path in every if name.cut == "measure" and clip.start_seconds is not None}
    with ThreadPoolExecutor() as pool:
        lengths = dict(zip(unsure, pool.map(lambda path: _header_seconds(root / path), unsure), strict=True))
    return [
        Match(clip, path, _is_cut(clip, lengths[path]) if path in unsure else name.cut != "no")
        for clip, name, path in every
    ]


def _is_cut(clip: Clip, length_seconds: float | None) -> bool:
    start, end = clip.start_seconds, clip.end_seconds
    if length_seconds is None or start is None or end is None:
        return True
    return length_seconds <= max(end - start + _CUT_SLACK_SECONDS, start)


def _header_seconds(path: Path) -> float | None:
    """Read a file's length from its header; None when it has none."""
    try:
        with open_container(path) as container:
            return None if container.duration is None else float(container.duration / av.time_base)
    except (DecodeError, OSError):
        return None  # `prepare` will say what is wrong with it


def _one_clip_a_file(matches: list[Match], lost: list[Unmatched]) -> tuple[list[Match], list[Unmatched]]:
    """Keep the first clip of a file that holds nothing else, and of equal seconds of a video."""
    first: dict[tuple[str, float | None, float | None], Match] = {}
    for one in matches:
        seconds = (None, None) if one.is_cut else (one.clip.start_seconds, one.clip.end_seconds)
        held = first.setdefault((one.path, *seconds), one)
        if held is not one:
            lost.append(Unmatched(one.clip, "duplicate", f"{one.path} is the file of {held.clip.place} too"))
    return list(first.values()), lost


def _looked_for(clip: Clip, names: Callable[[Clip], Iterable[Name]]) -> str:
    return "; ".join(name.stem for name in names(clip))


def _nothing(clips: Sequence[Clip], names: Callable[[Clip], Iterable[Name]], files: Files) -> CorpusError:
    first = next(iter(names(clips[0]))).stem
    return CorpusError(
        f"none of the {len(clips):,} listed files is in {files.root}: looked first for {first!r} with any media "
        f"suffix; there are {files.examples}"
        + (f" and {files.others:,} files of other kinds" if files.others else "")
        + ": give the folder of the files as --videos"
    )


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
