"""What a corpus's annotations list: clips with their split, classes and seconds, and the names of their files."""

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from avmi.errors import CorpusError, UsageError
from avmi.types import Needs, Split

_SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validate": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


@dataclass(frozen=True)
class Clip:
    """One row of the annotations."""

    place: str  # file and line
    key: str  # id or file name
    split: Split
    labels: tuple[str, ...]  # () where the annotations hide it
    start_seconds: float | None = None  # in the video that it was cut from
    end_seconds: float | None = None
    group: str = ""  # clips of one group are of one recording; "": the key

    @property
    def source(self) -> str:
        """The recording: clips of one must be in one split."""
        return self.group or self.key


class Name(NamedTuple):  # millions of them are made
    """A file name, without its suffix, under which a clip is found in the wild.

    `cut` says whether the file holds the clip alone; where the name does not tell, its length does.
    """

    stem: str
    cut: Literal["yes", "no", "measure"] = "yes"


@dataclass(frozen=True)
class Listing:
    """All clips that annotations list, and how their files are called."""

    corpus: str
    clips: tuple[Clip, ...]
    names: Callable[[Clip], Iterable[Name]]  # the most exact first
    official_classes: int | None = None
    needs: Needs = "both"
    left_out: tuple[tuple[str, int], ...] = ()  # why, and how many rows


def split_named(name: str) -> Split | None:
    """Give this package's name of an official split; None for no split."""
    return _SPLITS.get(name.strip().lower())


def seconds_forms(seconds: float) -> Iterator[str]:
    """Give the ways in which file names write seconds: 000030, 30, 30.000, 30.0, 30000 (milliseconds)."""
    if seconds == int(seconds):
        yield f"{int(seconds):06d}"
        yield str(int(seconds))
    yield f"{seconds:.3f}"
    yield f"{seconds:.1f}"
    yield str(round(1000 * seconds))


def names_of_id(clip: Clip) -> Iterator[Name]:
    """Give the names of a clip of a video with an id: cut ones first, then those of the id alone."""
    assert clip.start_seconds is not None
    assert clip.end_seconds is not None
    starts = tuple(dict.fromkeys(seconds_forms(clip.start_seconds)))
    ends = tuple(dict.fromkeys(seconds_forms(clip.end_seconds)))
    spans = [
        f"{join}{start}{join}{end}" for join in ("_", "-") for start, end in zip(starts, ends, strict=False)
    ]
    for stem in (clip.key, f"Y{clip.key}"):
        for span in spans:
            yield Name(stem + span)
        for start in starts:
            yield Name(f"{stem}_{start}")
    for stem in (clip.key, f"Y{clip.key}"):
        yield Name(stem, cut="measure")


def without_repeats(clips: Sequence[Clip]) -> tuple[list[Clip], list[Clip]]:
    """Part the first rows from those that list the same seconds of the same file again."""
    first: dict[tuple[str, float | None, float | None, tuple[str, ...]], Clip] = {}
    repeats = []
    for clip in clips:
        # Kinetics has the same seconds under two classes, in two folders.
        key = clip.key, clip.start_seconds, clip.end_seconds, clip.labels
        if first.setdefault(key, clip) is not clip:
            repeats.append(clip)
    return list(first.values()), repeats


def with_valid(clips: Sequence[Clip], *, fraction: float) -> list[Clip]:
    """Move a share of the train clips into valid, by recording; which, the recording's name decides.

    Raises `UsageError` for a share that is none, `CorpusError` when the corpus has an official valid split.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"--valid-fraction is a share between 0 and 1, such as 0.1; got {fraction:g}")
    if any(clip.split == "valid" for clip in clips):
        raise CorpusError("the annotations have a valid split of their own: leave --valid-fraction out")
    return [
        replace(clip, split="valid") if clip.split == "train" and _share(clip.source) < fraction else clip
        for clip in clips
    ]


def crossing(clips: Iterable[Clip]) -> tuple[str, ...]:
    """Name the recordings that have clips in more than one split."""
    splits: dict[str, set[Split]] = {}
    for clip in clips:
        splits.setdefault(clip.source, set()).add(clip.split)
    return tuple(source for source, found in splits.items() if len(found) > 1)


def _share(source: str) -> float:
    return int(hashlib.blake2b(source.encode(), digest_size=8).hexdigest(), 16) / 2**64
