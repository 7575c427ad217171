"""Fingerprints of a corpus → pairs of videos that are the same recording, though their files differ.

Sounds are compared through an index of their marks: two videos match when many of their marks agree at one
distance in time, so that a trimmed copy is found and its offset known. Pictures confirm it, or stand alone where
there is no sound to compare. Pure; memory grows with the marks, some 50 bytes each.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from avmi.corpus.fingerprint import HOP_SECONDS, SoundMarks

Likeness = Literal["recording", "sound", "pictures"]

# Share of the marks, of the video that has fewer of them in the common time, that must agree at one offset.
# Measured on 629 clips of UCF101 with sound and their copies: see docs/corpora.md.
LEAST_SHARE = 0.10
_LEAST_MARKS = 8  # that agree; below it chance is too near
_FEWEST_MARKS = 12  # a sound with fewer is taken for silent here
_COMMON = 40  # a mark in more videos than this (mains hum, a channel's jingle) tells nothing
# Of 64 bits; two frames of different scenes differ by 32 ± 4 (measured).
_SAME_SCENE_BITS = 12
_SAME_PICTURE_BITS = 6
_SAME_LENGTH_SECONDS = 0.25
_BAND_BITS = 16
# Pairs of equal marks that are held at a time: the memory that they take stays near 3 GB, however many there are.
_PAIRS_AT_A_TIME = 1 << 26
# More than twice the hops of the longest sound that is fingerprinted. A vote is one number of 63 bits: up to eight
# million videos.
_OFFSETS = 1 << 17


@dataclass(frozen=True)
class Fingerprint:
    """What is compared of one video."""

    sound: SoundMarks
    pictures: tuple[int | None, ...]  # hashes at fixed shares of the length
    duration_seconds: float
    sound_start_seconds: float = 0.0


@dataclass(frozen=True)
class Match:
    """Two videos, by their places in the list, that are alike; the first comes first in the list."""

    first: int
    second: int
    likeness: Likeness
    offset_seconds: float  # a moment at t of the first is at t - offset of the second; 0 when unknown
    share: float  # of the marks that agree; 0 without sound


def near_duplicates(fingerprints: Sequence[Fingerprint]) -> tuple[Match, ...]:
    """Find all pairs that are alike, in the order of their places."""
    matches = {(m.first, m.second): m for m in _by_sound(fingerprints)}
    for first, second in _like_pictures(fingerprints):
        if (first, second) not in matches:
            heard = all(len(fingerprints[p].sound.marks) >= _FEWEST_MARKS for p in (first, second))
            likeness: Likeness = "pictures" if heard else "recording"
            matches[first, second] = Match(first, second, likeness, 0.0, 0.0)
    return tuple(matches[key] for key in sorted(matches))


def _by_sound(fingerprints: Sequence[Fingerprint]) -> Iterator[Match]:
    for first, second, hops, count in _agreeing(fingerprints):
        a, b = fingerprints[first], fingerprints[second]
        share = count / max(1, min(_in_common(a.sound, b.sound, hops), _in_common(b.sound, a.sound, -hops)))
        if share < LEAST_SHARE:
            continue
        seen = [p for p in a.pictures if p is not None], [p for p in b.pictures if p is not None]
        nearest = min((_bits(p, q) for p in seen[0] for q in seen[1]), default=None)
        alike = nearest is None or nearest <= _SAME_SCENE_BITS
        offset = hops * HOP_SECONDS + a.sound_start_seconds - b.sound_start_seconds
        yield Match(first, second, "recording" if alike else "sound", float(offset), float(share))


def _agreeing(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int, float, int]]:
    """Pairs of videos with the offset, in hops, at which most of their marks agree, and how many do."""
    heard = [p for p, f in enumerate(fingerprints) if len(f.sound.marks) >= _FEWEST_MARKS]
    if len(heard) < 2:
        return
    marks = np.concatenate([fingerprints[p].sound.marks for p in heard])
    videos = np.repeat(np.array(heard), [len(fingerprints[p].sound.marks) for p in heard])
    hops = np.concatenate([fingerprints[p].sound.hops for p in heard])
    order = np.lexsort((videos, marks))
    marks, videos, hops = marks[order], videos[order], hops[order]
    group = np.concatenate([[0], np.cumsum(marks[1:] != marks[:-1])])
    sizes = np.bincount(group)
    kept = (sizes > 1) & (sizes <= _COMMON)
    pairs = int((sizes[kept] * (sizes[kept] - 1) // 2).sum())
    said = kept[group]
    group, videos, hops = group[said], videos[said], hops[said]
    turns = max(1, -(-pairs // _PAIRS_AT_A_TIME))
    for turn in range(turns):
        votes = [
            (first * len(fingerprints) + second) * _OFFSETS + offset
            for first, second, offset in _votes(group, videos, hops, turn, turns)
        ]
        if votes:
            yield from _counted(np.concatenate(votes), len(fingerprints))


def _counted(votes: np.ndarray, videos: int) -> Iterator[tuple[int, int, float, int]]:
    """For every pair of videos in the votes, the offset that has most of them, if they are enough."""
    found, counts = np.unique(votes, return_counts=True)
    # A trim that is no multiple of the hop spreads its votes over two neighbouring offsets.
    following = np.append(np.diff(found) == 1, False)
    more = np.where(following, np.append(counts[1:], 0), 0)
    summed = counts + more
    enough = summed >= _LEAST_MARKS
    found, more, summed = found[enough], more[enough], summed[enough]
    offsets = found % _OFFSETS - _OFFSETS // 2 + more / summed
    best: dict[tuple[int, int], tuple[float, int]] = {}
    columns = (
        (found // _OFFSETS // videos).tolist(),
        (found // _OFFSETS % videos).tolist(),
        offsets.tolist(),
        summed.tolist(),
    )
    for first, second, offset, count in zip(*columns, strict=True):
        if count > best.get((first, second), (0.0, 0))[1]:
            best[first, second] = (offset, count)
    for (first, second), (offset, count) in best.items():
        yield first, second, offset, count


def _votes(
    group: np.ndarray, videos: np.ndarray, hops: np.ndarray, turn: int, turns: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(first, second, offset from 0) of entries with the same mark; of every `turns`-th video as the first."""
    mine = videos % turns == turn
    for ahead in range(1, min(_COMMON, len(group))):
        same = group[ahead:] == group[:-ahead]
        if not same.any():
            return
        places = np.flatnonzero(same & mine[:-ahead] & (videos[ahead:] != videos[:-ahead]))
        offset = hops[places] - hops[places + ahead]
        yield videos[places], videos[places + ahead], offset + _OFFSETS // 2


def _in_common(sound: SoundMarks, other: SoundMarks, hops: float) -> int:
    """How many marks of a sound lie in the time that it shares with the other, `hops` later."""
    moved = sound.hops - hops
    return int(((moved >= other.hops.min() - 1) & (moved <= other.hops.max() + 1)).sum())


def _like_pictures(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Pairs of equal length whose pictures at the same places are the same."""
    bands: dict[tuple[int, int, int], list[int]] = {}
    for place, fingerprint in enumerate(fingerprints):
        if not _moves(fingerprint.pictures):
            continue  # one scene all along: other moments of it look the same
        for row, hashed in enumerate(fingerprint.pictures):
            assert hashed is not None
            for band in range(64 // _BAND_BITS):
                key = (row, band, hashed >> (band * _BAND_BITS) & (1 << _BAND_BITS) - 1)
                bands.setdefault(key, []).append(place)
    candidates = {
        pair for places in bands.values() if len(places) <= _COMMON for pair in combinations(places, 2)
    }
    for first, second in sorted(candidates):
        a, b = fingerprints[first], fingerprints[second]
        if abs(a.duration_seconds - b.duration_seconds) > _SAME_LENGTH_SECONDS:
            continue
        if len(a.pictures) == len(b.pictures) and all(
            p is not None and q is not None and _bits(p, q) <= _SAME_PICTURE_BITS
            for p, q in zip(a.pictures, b.pictures, strict=True)
        ):
            yield first, second


def _moves(pictures: Sequence[int | None]) -> bool:
    return None not in pictures and any(
        _bits(p, q) > _SAME_SCENE_BITS for p, q in combinations([p for p in pictures if p is not None], 2)
    )


def _bits(first: int, second: int) -> int:
    return (first ^ second).bit_count()
