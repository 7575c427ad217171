"""Rows of a manifest and their fingerprints → the same rows with what is questionable about each (`findings`).

A finding does not reject: it is a column of the manifest that training and evaluation can leave out by name
(`data.exclude`, `Manifest.without`).
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from avmi.corpus.fingerprint import from_text
from avmi.corpus.manifest import Video
from avmi.corpus.near_duplicates import Fingerprint, Match, near_duplicates
from avmi.types import Finding, Split

FINDINGS: tuple[Finding, ...] = get_args(Finding)

# Streams that begin or end further apart than this are worth a look: below it lies what encoders do
# (an AAC frame is 23 ms, a picture 40 ms).
MISMATCH_SECONDS = 0.1
# Windows of sound in the published recipes are 2 s and more.
SHORT_SECONDS = 2.0
# Of near-duplicates the one in the split that is measured on stays; its copies are named.
_KEEP_FIRST: tuple[Split, ...] = ("test", "valid", "train")


@dataclass(frozen=True)
class Likeness:
    """Two rows of a manifest that are alike, and how."""

    first: Video
    second: Video
    match: Match

    @property
    def crosses_splits(self) -> bool:
        """Whether one of them is trained on and the other measured on, or both are measured on apart."""
        return self.first.split != self.second.split


def with_findings(
    videos: Sequence[Video], facts: Mapping[str, Mapping[str, Any]]
) -> tuple[tuple[Video, ...], tuple[Likeness, ...]]:
    """Name what is questionable; `facts` are the probe's, with fingerprints, by content hash."""
    likenesses = _likenesses(videos, facts)
    copies = _copies(videos, likenesses)
    found = []
    for video in videos:
        original = copies.get(_key(video), "")
        named = [name for name in FINDINGS if _is_found(name, video, is_copy=bool(original))]
        found.append(dataclasses.replace(video, findings=tuple(named), near_duplicate_of=original))
    now = {_key(video): video for video in found}
    renewed = tuple(Likeness(now[_key(x.first)], now[_key(x.second)], x.match) for x in likenesses)
    return tuple(found), renewed


def mismatch_seconds(video: Video) -> tuple[float, float]:
    """How much later the sound begins and ends than the pictures; zeros where one of them is missing."""
    if not (video.has_pictures and video.has_sound):
        return 0.0, 0.0
    start = video.audio_start_seconds - video.video_start_seconds
    return start, video.audio_end_seconds - video.video_end_seconds


def _is_found(name: Finding, video: Video, *, is_copy: bool) -> bool:
    begins, ends = mismatch_seconds(video)
    match name:
        case "silent":
            return video.has_sound and video.is_silent
        case "still":
            return video.has_pictures and video.is_still
        case "short":
            return video.duration_seconds < SHORT_SECONDS
        case "offset":
            return abs(begins) > MISMATCH_SECONDS
        case "length_mismatch":
            return abs(ends) > MISMATCH_SECONDS
        case "near_duplicate":
            return is_copy


def _likenesses(videos: Sequence[Video], facts: Mapping[str, Mapping[str, Any]]) -> tuple[Likeness, ...]:
    """Compare whole files, each content once: intervals of one file are no copies of each other."""
    of_content: dict[str, Video] = {}
    for video in videos:
        of_content.setdefault(video.content_hash, video)
    compared = [v for v in of_content.values() if "sound_marks" in facts.get(v.content_hash, {})]
    prints = [_fingerprint(facts[video.content_hash], video) for video in compared]
    return tuple(
        Likeness(compared[match.first], compared[match.second], match) for match in near_duplicates(prints)
    )


def _fingerprint(facts: Mapping[str, Any], video: Video) -> Fingerprint:
    return Fingerprint(
        sound=from_text(facts["sound_marks"]),
        pictures=tuple(facts["picture_hashes"]),
        duration_seconds=facts["video_end_seconds"] - facts["video_start_seconds"] or video.duration_seconds,
        sound_start_seconds=facts["audio_start_seconds"],
    )


def _copies(videos: Sequence[Video], likenesses: Sequence[Likeness]) -> dict[tuple[str, str], str]:
    """For every copy, the path of the video that it repeats: the first of its group by split and path."""
    leader: dict[str, str] = {}

    def lead(content: str) -> str:
        while leader.get(content, content) != content:
            content = leader[content]
        return content

    rank = {
        v.content_hash: (_KEEP_FIRST.index(v.split), v.path, v.content_hash) for v in reversed(list(videos))
    }
    for likeness in likenesses:
        if likeness.match.likeness == "recording":
            ends = lead(likeness.first.content_hash), lead(likeness.second.content_hash)
            kept, other = sorted(ends, key=lambda content: rank[content])
            leader[other] = kept
    paths = {video.content_hash: video.path for video in videos}
    return {
        _key(video): paths[lead(video.content_hash)]
        for video in videos
        if lead(video.content_hash) != video.content_hash
    }


def _key(video: Video) -> tuple[str, str]:
    return video.path, video.video_id
