"""Files, what probing found of them, and the manifest of last time → the new manifest's rows and rejects.

Decides what concerns several files at once: which of several with the same content is kept, and which
split each video belongs to. A split is chosen by content and kept over runs, so that adding files moves none;
intervals of one content share it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avmi.corpus.interval import part_of, reaches_beyond
from avmi.corpus.manifest import EarlierRow, Reject, Video, split_of, video_of
from avmi.corpus.pool import Outcome
from avmi.corpus.source import Entry
from avmi.errors import DecodeError
from avmi.types import SPLITS, Needs, Split

# With fewer there is none to spare for an empty split.
_LEAST_TO_PROMOTE = 3
# Of rows of one content that ask for different splits these go first: a test stays as it was published.
_FIRST_SPLITS: tuple[Split, ...] = ("test", "valid", "train")


@dataclass(frozen=True)
class Assembled:
    """Rows in the order of their paths, and what the audit should say of how they came about."""

    videos: tuple[Video, ...]
    rejects: tuple[Reject, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """One content, or a part of it: the file that is kept for it, and the split that the table asks for."""

    entry: Entry
    facts: dict[str, Any]
    given: Split | None

    @property
    def part(self) -> str:
        """Name the interval in milliseconds, as the end of an id; "" for the whole file."""
        if not self.entry.is_interval:
            return ""
        start, end = self.entry.start_seconds, self.entry.end_seconds
        return f"_{round(1000 * (start or 0))}_{'end' if end is None else round(1000 * end)}"


def assemble(
    found: Sequence[tuple[Entry, Outcome]],
    *,
    earlier: Sequence[Video | EarlierRow],
    fractions: Sequence[float],
    needs: Needs = "both",
) -> Assembled:
    """Make rows of the outcomes; `earlier` are the rows of the manifest that is to be replaced."""
    candidates, rejects, beyond = _candidates(found, needs)
    by_part: dict[tuple[str, str], list[_Candidate]] = {}
    for candidate in candidates:
        by_part.setdefault((candidate.facts["content_hash"], candidate.part), []).append(candidate)
    paths = {video.content_hash: video.path for video in earlier}
    kept: dict[str, list[_Candidate]] = {}
    for (content, _), same in by_part.items():
        # The path of last time stays, so that a copy that sorts before it takes nothing over.
        same.sort(key=lambda c: (c.entry.path != paths.get(content), c.entry.path))
        kept.setdefault(content, []).append(_one_of(same))
        rejects.extend(_duplicate(copy.entry, same[0].entry) for copy in same[1:])
    given = {content: _split_asked_for(parts) for content, parts in kept.items()}
    splits, notes = choose_splits(
        given,
        earlier={video.content_hash: video.split for video in earlier},
        fractions=fractions,
    )
    videos = []
    for content, parts in kept.items():
        for candidate in parts:
            if candidate.given in (None, splits[content]):
                videos.append(_video(candidate, splits[content]))
            else:
                rejects.append(_conflict(candidate, splits[content]))
    if beyond:
        notes = (*notes, f"{beyond:,} intervals reach beyond their file: the part inside is kept.")
    return Assembled(tuple(sorted(videos, key=_order)), tuple(sorted(rejects, key=lambda r: r.path)), notes)


def _candidates(
    found: Sequence[tuple[Entry, Outcome]], needs: Needs
) -> tuple[list[_Candidate], list[Reject], int]:
    """Take the usable files and parts of files; the number is that of parts that reach beyond their file."""
    candidates, rejects, beyond = [], [], 0
    for entry, outcome in found:
        if outcome.facts is None:
            rejects.append(Reject(entry.path, outcome.reason, outcome.detail))
            continue
        facts = outcome.facts
        if entry.is_interval:
            try:
                facts = part_of(facts, entry.start_seconds, entry.end_seconds, needs=needs)
            except DecodeError as error:
                rejects.append(Reject(entry.path, error.reason, str(error)))
                continue
            beyond += reaches_beyond(outcome.facts, entry.start_seconds, entry.end_seconds)
        candidates.append(_Candidate(entry, facts, entry.split))
    return candidates, rejects, beyond


def _one_of(same: Sequence[_Candidate]) -> _Candidate:
    """Keep the first; when it asks for no split, the first split that a copy asks for holds."""
    asked = [candidate.given for candidate in same if candidate.given is not None]
    return dataclasses.replace(same[0], given=asked[0] if asked else None)


def _split_asked_for(parts: Sequence[_Candidate]) -> Split | None:
    asked = {candidate.given for candidate in parts}
    return next((split for split in _FIRST_SPLITS if split in asked), None)


def _conflict(candidate: _Candidate, kept: Split) -> Reject:
    detail = f"listed for {candidate.given}, but another interval of the same file is listed for {kept}"
    return Reject(candidate.entry.path, "split_conflict", detail)


def _duplicate(copy: Entry, kept: Entry) -> Reject:
    detail = f"same content as {kept.path}"
    if copy.label != kept.label:
        detail += f", which has the label {kept.label!r} (this one {copy.label!r})"
    if copy.split and copy.split != kept.split:
        detail += f", which is listed for {kept.split or 'no split'} (this one for {copy.split})"
    return Reject(copy.path, "duplicate", detail)


def _video(candidate: _Candidate, split: Split) -> Video:
    entry = candidate.entry
    return video_of(
        candidate.facts,
        entry.path,
        label=entry.label,
        split=split,
        further_labels=entry.further_labels,
        part=candidate.part if entry.is_interval else None,
    )


def _order(video: Video) -> tuple[str, float, float, str]:
    start = video.video_start_seconds if video.has_pictures else video.audio_start_seconds
    return video.path, start, video.duration_seconds, video.video_id


def choose_splits(
    given: Mapping[str, Split | None], *, earlier: Mapping[str, Split], fractions: Sequence[float]
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Choose the split of every content: as given, else as earlier, else by the content's hash.

    Of three videos or more, each split with a share above 0 gets at least one: from the largest split, a
    video that was neither given nor there earlier moves into the empty one; which, its hash decides.
    """
    splits: dict[str, Split] = {}
    movable = []
    for content, asked in given.items():
        known = asked or earlier.get(content)
        splits[content] = known or split_of(content, fractions=fractions)
        if known is None:
            movable.append(content)
    notes = []
    for split, share in zip(SPLITS, fractions, strict=True):
        if share > 0 and split not in splits.values() and len(splits) >= _LEAST_TO_PROMOTE:
            notes.append(_fill(split, splits, sorted(movable)))
    if 0 < len(splits) < _LEAST_TO_PROMOTE:
        empty = [s for s, share in zip(SPLITS, fractions, strict=True) if share and s not in splits.values()]
        if empty:
            notes.append(f"too few videos for every split: {' and '.join(empty)} {_are(empty)} empty.")
    return splits, tuple(notes)


def _fill(empty: Split, splits: dict[str, Split], movable: Sequence[str]) -> str:
    """Move one video into an empty split, in place; say what was done."""
    sizes = {split: sum(s == split for s in splits.values()) for split in SPLITS}
    donors = [content for content in movable if sizes[splits[content]] > 1]
    if not donors:
        return f"no video is in the split {empty}: all splits were given by the table or an earlier run."
    chosen = max(donors, key=lambda content: (sizes[splits[content]], content))
    source = splits[chosen]
    splits[chosen] = empty
    return (
        f"by its content no video fell into the split {empty}, so one ({chosen[:16]}) was moved there "
        f"from {source}; it stays there."
    )


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
