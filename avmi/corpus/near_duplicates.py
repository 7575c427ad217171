"""Fingerprints of a corpus → pairs of videos that are the same recording, though their files differ.

Two sounds match when many of their marks agree at one distance in time, so that a trimmed copy is found and its offset
known. Which ones to compare is found through an index of triples of peaks (two marks of one peak): a mark stands in
hundreds of a million sounds, a triple in few. Pictures confirm a match, or stand alone where there is no sound to
compare. Pure.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Literal

import numpy as np
from jaxtyping import UInt16

from avmi.corpus.fingerprint import HOP_SECONDS, SoundMarks

Likeness = Literal["recording", "sound", "pictures"]

# Share of the marks, of the video that has fewer of them in the common time, that must agree at one offset.
# Measured on 629 clips of UCF101 with sound and their copies: see docs/corpora.md.
LEAST_SHARE = 0.10
_LEAST_MARKS = 8  # that agree; below it chance is too near
_LEAST_TRIPLES = 2  # that agree, for the marks of two sounds to be compared
_ASIDE = 2  # hops to either side of where the triples agree, in which the marks may agree better
_FEWEST_MARKS = 12  # a sound with fewer is taken for silent here
_COMMON = 40  # a triple in more videos than this (mains hum, a channel's jingle) tells nothing
# Of 64 bits; two frames of different scenes differ by 32 ± 4 (measured).
_SAME_SCENE_BITS = 12
_SAME_PICTURE_BITS = 6
_SAME_LENGTH_SECONDS = 0.25
_BAND_BITS = 16
_ONES = np.array([value.bit_count() for value in range(1 << _BAND_BITS)], np.uint8)
# Triples that are sorted at a time, and videos whose triples are made at a time: some 0.7 GB beside the 14 bytes of each.
_TRIPLES_AT_A_TIME = 1 << 24
_VIDEOS_AT_A_TIME = 1 << 14
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
    triples = [
        _triples(fingerprints, heard[at : at + _VIDEOS_AT_A_TIME])
        for at in range(0, len(heard), _VIDEOS_AT_A_TIME)
    ]
    votes = np.concatenate(list(_votes(triples, len(fingerprints))))
    for first, second, offset in _candidates(votes, len(fingerprints)):
        counted = _agreement(fingerprints[first].sound, fingerprints[second].sound, offset)
        if counted is not None:
            yield first, second, *counted


@dataclass(frozen=True)
class _Triples:
    """Peaks, each with two of its partners: what they are, whose, and when the peak is; 14 bytes a triple."""

    keys: np.ndarray
    videos: np.ndarray
    hops: np.ndarray

    def of_turn(self, turn: int, turns: int) -> "_Triples":
        """Take those whose key belongs to a turn; equal keys belong to the same."""
        # Fibonacci hashing (Knuth, The Art of Computer Programming 3, 6.4): neighbouring keys go apart.
        mine = (self.keys * np.uint64(0x9E3779B97F4A7C15) >> np.uint64(40)) % np.uint64(turns) == turn
        return _Triples(self.keys[mine], self.videos[mine], self.hops[mine])


def _joined(triples: Sequence[_Triples]) -> _Triples:
    return _Triples(
        np.concatenate([t.keys for t in triples]),
        np.concatenate([t.videos for t in triples]),
        np.concatenate([t.hops for t in triples]),
    )


def _triples(fingerprints: Sequence[Fingerprint], places: Sequence[int]) -> _Triples:
    sounds = [fingerprints[place].sound for place in places]
    marks = np.concatenate([sound.marks for sound in sounds]).astype(np.uint64)
    hops = np.concatenate([sound.hops for sound in sounds]).astype(np.uint16)
    videos = np.repeat(np.array(places, np.uint32), [len(sound.marks) for sound in sounds])
    order = np.lexsort((marks >> np.uint64(16), hops, videos))  # stable: partners stay in the order of time
    marks, hops, videos = marks[order], hops[order], videos[order]
    peaks = marks >> np.uint64(16)
    found = []
    for ahead in (1, 2):  # a peak has three partners
        one, other = slice(None, -ahead), slice(ahead, None)
        same = (peaks[one] == peaks[other]) & (hops[one] == hops[other]) & (videos[one] == videos[other])
        second = marks[other][same] & np.uint64(0xFFFF)  # without the peak, which both have
        keys = marks[one][same] << np.uint64(16) | second
        found.append(_Triples(keys, videos[one][same], hops[one][same]))
    return _joined(found)


def _votes(blocks: Sequence[_Triples], videos: int) -> Iterator[np.ndarray]:
    """(first video, second video, offset from 0) of triples that are the same, as one number each."""
    turns = max(1, -(-sum(len(block.keys) for block in blocks) // _TRIPLES_AT_A_TIME))
    yield np.zeros(0, np.int64)
    for turn in range(turns):
        mine = _joined([block.of_turn(turn, turns) for block in blocks])
        whose, hops = mine.videos.astype(np.int64), mine.hops.astype(np.int64)
        for one, other in _equal_pairs(mine.keys, np.lexsort((mine.videos, mine.keys))):
            apart = whose[one] != whose[other]
            one, other = one[apart], other[apart]
            offset = hops[one] - hops[other] + _OFFSETS // 2
            yield (whose[one] * videos + whose[other]) * _OFFSETS + offset


def _equal_pairs(keys: np.ndarray, order: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Places of equal keys, two by two in the order that sorts them; those that more than `_COMMON` have are left."""
    group = np.concatenate([[0], np.cumsum(np.diff(keys[order]) != 0)])[: len(order)]
    sizes = np.bincount(group)
    said = ((sizes > 1) & (sizes <= _COMMON))[group]
    kept, group = order[said], group[said]
    for ahead in range(1, min(_COMMON, len(group))):
        at = np.flatnonzero(group[ahead:] == group[:-ahead])
        if not len(at):
            break
        yield kept[at], kept[at + ahead]


def _candidates(votes: np.ndarray, videos: int) -> Iterable[tuple[int, int, int]]:
    """For every pair of videos in the votes, the offset that has most of them, if they are enough."""
    found, counts = np.unique(votes, return_counts=True)
    # A trim that is no multiple of the hop spreads its votes over two neighbouring offsets.
    following = np.append(np.diff(found) == 1, False)
    summed = counts + np.where(following, np.append(counts[1:], 0), 0)
    enough = summed >= _LEAST_TRIPLES
    found, summed = found[enough], summed[enough]
    best: dict[tuple[int, int], tuple[int, int]] = {}
    columns = (
        found // _OFFSETS // videos,
        found // _OFFSETS % videos,
        found % _OFFSETS - _OFFSETS // 2,
        summed,
    )
    for first, second, offset, count in zip(*(c.tolist() for c in columns), strict=True):
        if count > best.get((first, second), (0, 0))[1]:
            best[first, second] = (offset, count)
    return ((first, second, offset) for (first, second), (offset, _) in best.items())


def _agreement(sound: SoundMarks, other: SoundMarks, offset: int) -> tuple[float, int] | None:
    """Count the marks that agree near an offset, at the best one and the next; None when they are too few."""
    order = np.argsort(other.marks, kind="stable")
    begin = np.searchsorted(other.marks, sound.marks, "left", sorter=order)
    number = np.searchsorted(other.marks, sound.marks, "right", sorter=order) - begin
    mine = np.repeat(np.arange(len(sound.marks)), number)
    within = np.arange(len(mine)) - np.repeat(np.cumsum(number) - number, number)
    apart = sound.hops[mine] - other.hops[order[begin[mine] + within]] - (offset - _ASIDE)
    counts = np.bincount(apart[(apart >= 0) & (apart <= 2 * _ASIDE)], minlength=2 * _ASIDE + 1)
    summed = counts[:-1] + counts[1:]
    best = int(summed.argmax())
    if summed[best] < _LEAST_MARKS:
        return None
    return offset - _ASIDE + best + float(counts[best + 1] / summed[best]), int(summed[best])


def _in_common(sound: SoundMarks, other: SoundMarks, hops: float) -> int:
    """How many marks of a sound lie in the time that it shares with the other, `hops` later."""
    moved = sound.hops - hops
    return int(((moved >= other.hops.min() - 1) & (moved <= other.hops.max() + 1)).sum())


def _like_pictures(fingerprints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Pairs of equal length whose pictures at the same places are the same."""
    by_number: dict[int, list[int]] = {}
    for place, fingerprint in enumerate(fingerprints):
        if _moves(fingerprint.pictures):  # in one scene all along other moments look the same
            by_number.setdefault(len(fingerprint.pictures), []).append(place)
    for places in by_number.values():
        hashes = np.array([fingerprints[place].pictures for place in places], np.uint64)
        lengths = np.array([fingerprints[place].duration_seconds for place in places])
        # A pair is found when a band agrees in each of two pictures: always, when two pictures differ by three
        # bits or fewer. Of five pictures chance does that to one pair of videos in 27 million.
        bands = (hashes[:, :, None] >> np.arange(0, 64, _BAND_BITS, dtype=np.uint64)).astype(np.uint16)
        found: set[tuple[int, int]] = set()
        for first, second in _equal_bands(bands):
            ones = _ONES[bands[first] ^ bands[second]].sum(axis=2)
            same = (ones <= _SAME_PICTURE_BITS).all(axis=1)
            same &= np.abs(lengths[first] - lengths[second]) <= _SAME_LENGTH_SECONDS
            found.update(zip(first[same].tolist(), second[same].tolist(), strict=True))
        yield from ((places[first], places[second]) for first, second in sorted(found))


def _equal_bands(
    bands: UInt16[np.ndarray, "videos pictures bands"],
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of videos that have two bands in common, of two pictures."""
    _, pictures, number = bands.shape
    wide = bands.astype(np.uint32)
    for one, other in combinations(range(pictures), 2):
        for band, other_band in product(range(number), repeat=2):
            keys = wide[:, one, band] << np.uint32(_BAND_BITS) | wide[:, other, other_band]
            yield from _equal_pairs(keys, np.argsort(keys, kind="stable"))


def _moves(pictures: Sequence[int | None]) -> bool:
    return None not in pictures and any(
        _bits(p, q) > _SAME_SCENE_BITS for p, q in combinations([p for p in pictures if p is not None], 2)
    )


def _bits(first: int, second: int) -> int:
    return (first ^ second).bit_count()
