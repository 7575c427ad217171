"""Files, what probing found of them, and the manifest of last time → the new manifest's rows and rejects.

Decides what concerns several files at once: which of several with the same content is kept, and which
split each video belongs to. A split is chosen by content and kept over runs, so that adding files moves none.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avmi.corpus.manifest import Reject, Video, split_of
from avmi.corpus.pool import Outcome
from avmi.corpus.source import Entry
from avmi.types import SPLITS, Split

# With fewer there is none to spare for an empty split.
_LEAST_TO_PROMOTE = 3
_FACTS = {f.name for f in dataclasses.fields(Video)} - {"path", "video_id", "label", "split"}


@dataclass(frozen=True)
class Assembled:
    """Rows in the order of their paths, and what the audit should say of how they came about."""

    videos: tuple[Video, ...]
    rejects: tuple[Reject, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Candidate:
    """One content: the file that is kept for it, and the split that the table of files asks for."""

    entry: Entry
    facts: dict[str, Any]
    given: Split | None


def assemble(
    found: Sequence[tuple[Entry, Outcome]],
    *,
    earlier: Sequence[Video],
    fractions: Sequence[float],
) -> Assembled:
    """Make rows of the outcomes; `earlier` are the rows of the manifest that is to be replaced."""
    rejects = [
        Reject(entry.path, outcome.reason, outcome.detail)
        for entry, outcome in found
        if outcome.facts is None
    ]
    by_content: dict[str, list[_Candidate]] = {}
    for entry, outcome in found:
        if outcome.facts is not None:
            same = by_content.setdefault(outcome.facts["content_hash"], [])
            same.append(_Candidate(entry, outcome.facts, entry.split))
    paths = {video.content_hash: video.path for video in earlier}
    kept = {}
    for content, same in by_content.items():
        # The path of last time stays, so that a copy that sorts before it takes nothing over.
        same.sort(key=lambda c: (c.entry.path != paths.get(content), c.entry.path))
        kept[content] = _one_of(same)
        rejects.extend(_duplicate(copy.entry, kept[content].entry) for copy in same[1:])
    splits, notes = choose_splits(
        {content: candidate.given for content, candidate in kept.items()},
        earlier={video.content_hash: video.split for video in earlier},
        fractions=fractions,
    )
    videos = [_video(candidate, splits[content]) for content, candidate in kept.items()]
    return Assembled(
        tuple(sorted(videos, key=lambda v: v.path)), tuple(sorted(rejects, key=lambda r: r.path)), notes
    )


def _one_of(same: Sequence[_Candidate]) -> _Candidate:
    """Keep the first; when it asks for no split, the first split that a copy asks for holds."""
    asked = [candidate.given for candidate in same if candidate.given is not None]
    return dataclasses.replace(same[0], given=asked[0] if asked else None)


def _duplicate(copy: Entry, kept: Entry) -> Reject:
    detail = f"same content as {kept.path}"
    if copy.label != kept.label:
        detail += f", which has the label {kept.label!r} (this one {copy.label!r})"
    if copy.split and copy.split != kept.split:
        detail += f", which is listed for {kept.split or 'no split'} (this one for {copy.split})"
    return Reject(copy.path, "duplicate", detail)


def _video(candidate: _Candidate, split: Split) -> Video:
    return Video(
        path=candidate.entry.path,
        video_id=candidate.facts["content_hash"][:16],
        label=candidate.entry.label,
        split=split,
        **{name: candidate.facts[name] for name in _FACTS},
    )


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
