"""Usable videos and rejects → the numbers that a person checks before training on them (`Audit`)."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from avmi.corpus.findings import FINDINGS, Likeness, mismatch_seconds
from avmi.corpus.manifest import Reject, Video
from avmi.types import SPLITS, Finding, Split

_EXAMPLES = 5
# Upper edges of the histogram's bins, in seconds; the last bin is open.
_DURATION_EDGES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_LOUDNESS_EDGES = (-60.0, -50.0, -40.0, -35.0, -30.0, -25.0, -20.0, -15.0, -10.0)


@dataclass(frozen=True)
class Share:
    """How many videos of one kind, and how many seconds of picture and sound together they hold."""

    videos: int
    seconds: float


@dataclass(frozen=True)
class LabelRow:
    """The videos of one label by split."""

    label: str
    by_split: dict[Split, int]
    seconds: float


@dataclass(frozen=True)
class Examples:
    """How many there are of something, and the first few, each as (path, what is special about it)."""

    count: int
    examples: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Audit:
    """All numbers of the audit; tuples are in the order in which they are to be read."""

    total: Share
    by_split: dict[Split, Share]
    by_label: tuple[LabelRow, ...]
    ignored: int
    rejected: dict[str, Examples]  # by reason, most frequent first
    findings: dict[Finding, Examples]  # in the order of `FINDINGS`; those that no video has count 0
    likenesses: tuple[Likeness, ...]  # those across splits first
    variable_frame_rate: Examples
    rotated: Examples
    decord_inexact: dict[str, Examples]  # by reason
    durations: tuple[tuple[str, int], ...]
    loudness: tuple[tuple[str, int], ...]
    formats: tuple[tuple[str, int], ...]  # container / picture codec / sound codec
    picture_sizes: tuple[tuple[str, int], ...]
    frame_rates: tuple[tuple[str, int], ...]
    sample_rates: tuple[tuple[str, int], ...]
    channels: tuple[tuple[str, int], ...]
    notes: tuple[str, ...]

    @property
    def rejects(self) -> int:
        """How many files were rejected."""
        return sum(group.count for group in self.rejected.values())


def audit(
    videos: Sequence[Video],
    rejects: Sequence[Reject],
    *,
    ignored: int,
    notes: Iterable[str] = (),
    likenesses: Sequence[Likeness] = (),
) -> Audit:
    """Count what is in a corpus; `ignored` files are no media by name, `notes` are said as they are."""
    return Audit(
        total=_share(videos),
        by_split={split: _share([v for v in videos if v.split == split]) for split in SPLITS},
        by_label=_labels(videos),
        ignored=ignored,
        rejected=_groups((r.reason, (r.path, r.detail)) for r in rejects),
        findings={name: _found(videos, name) for name in FINDINGS},
        likenesses=tuple(sorted(likenesses, key=lambda like: (not like.crosses_splits, -like.match.share))),
        variable_frame_rate=_examples(
            videos,
            lambda v: f"{v.frame_rate:.2f} per second on average" if v.is_variable_frame_rate else None,
        ),
        rotated=_examples(videos, lambda v: f"{v.rotation_degrees}°" if v.rotation_degrees else None),
        decord_inexact=_groups(
            (v.decord_reason or "unknown", (v.path, "")) for v in videos if not v.decord_exact
        ),
        durations=_histogram((v.duration_seconds for v in videos), edges=_DURATION_EDGES, unit="s"),
        loudness=_histogram(
            (v.loudness_dbfs for v in videos if v.has_sound), edges=_LOUDNESS_EDGES, unit="dBFS"
        ),
        formats=_counted(
            f"{v.container} / {v.video_codec or 'none'} / {v.audio_codec or 'none'}" for v in videos
        ),
        picture_sizes=_counted(f"{v.width_px} × {v.height_px}" for v in videos if v.has_pictures),
        frame_rates=_counted(f"{v.frame_rate:.3g} per second" for v in videos if v.has_pictures),
        sample_rates=_counted(f"{v.sample_rate_hz:,} Hz" for v in videos if v.has_sound),
        channels=_counted(f"{v.channels}" for v in videos if v.has_sound),
        notes=tuple(notes),
    )


def _share(videos: Sequence[Video]) -> Share:
    return Share(len(videos), float(sum(v.duration_seconds for v in videos)))


def _labels(videos: Sequence[Video]) -> tuple[LabelRow, ...]:
    by_label: dict[str, list[Video]] = {}
    for video in videos:
        by_label.setdefault(video.label, []).append(video)
    return tuple(
        LabelRow(
            label,
            {split: sum(v.split == split for v in group) for split in SPLITS},
            sum(v.duration_seconds for v in group),
        )
        for label, group in sorted(by_label.items())
    )


def _groups(items: Iterable[tuple[str, tuple[str, str]]]) -> dict[str, Examples]:
    found: dict[str, list[tuple[str, str]]] = {}
    for key, example in items:
        found.setdefault(key, []).append(example)
    ordered = sorted(found.items(), key=lambda item: (-len(item[1]), item[0]))
    return {key: Examples(len(group), tuple(group[:_EXAMPLES])) for key, group in ordered}


def _examples(videos: Iterable[Video], special: Callable[[Video], str | None]) -> Examples:
    found = [(v.path, text) for v in videos if (text := special(v)) is not None]
    return Examples(len(found), tuple(found[:_EXAMPLES]))


def _found(videos: Iterable[Video], name: Finding) -> Examples:
    return _examples(videos, lambda video: _special(video, name) if name in video.findings else None)


def _special(video: Video, name: Finding) -> str:
    """Say in a few words what makes it so."""
    begins, ends = mismatch_seconds(video)
    match name:
        case "silent":
            return f"{video.loudness_dbfs:.0f} dBFS"
        case "still" | "short":
            return f"{video.duration_seconds:.1f} s"
        case "offset":
            return f"sound begins {abs(begins):.2f} s {'after' if begins > 0 else 'before'} the pictures"
        case "length_mismatch":
            return f"sound ends {abs(ends):.2f} s {'after' if ends > 0 else 'before'} the pictures"
        case "near_duplicate":
            return f"like {video.near_duplicate_of}"


def _counted(values: Iterable[str]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))


def _histogram(values: Iterable[float], *, edges: Sequence[float], unit: str) -> tuple[tuple[str, int], ...]:
    """Count values between edges, from the first bin that holds any to the last."""
    counts = [0] * (len(edges) + 1)
    for value in values:
        counts[sum(value >= edge for edge in edges)] += 1
    names = [f"below {edges[0]:g} {unit}"]
    names += [f"{low:g} to {high:g} {unit}" for low, high in pairwise(edges)]
    names += [f"{edges[-1]:g} {unit} and more"]
    filled = [i for i, count in enumerate(counts) if count]
    if not filled:
        return ()
    return tuple((names[i], counts[i]) for i in range(filled[0], filled[-1] + 1))
