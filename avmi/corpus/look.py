"""An open video and its packets' timestamps → what its pictures look like: size, rotation, moving or still.

Decodes as little as answers that: keyframes near a quarter, half and three quarters, the run from the last keyframe
to the end, and a few pictures on which other ways of decoding are proved. Where a keyframe does not lead to the
picture that the packets promise, or the timestamps are doubtful, everything is decoded, and the decoded pictures'
times take the place of the packets'.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from jaxtyping import Float, Int64, UInt8

from avmi.corpus.fingerprint import picture_hash
from avmi.corpus.measure import are_still, cells_of
from avmi.corpus.members import ffmpeg_name
from avmi.corpus.picture_runs import Pictures, comes_by_order, run_from
from avmi.corpus.proof_places import proof_places
from avmi.errors import DecodeError

_PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the length at which pictures are looked at
_NEAR = 1 / 8  # a keyframe this near (as a share of the length) stands for the place
_SLACK_PICTURES = 16  # H.264 allows that many pictures that no other refers to, which are not decoded
_LEAST_SHARE = 0.8  # of the pictures must decode; VP8 keeps up to one packet in 7 invisible on purpose
_SIDE_PX = 256
# Six pictures are kept for the proof: of 1080p 19 MB. Of larger ones it decodes its own.
_LARGEST_KEPT_PX = 1920 * 1088
# Pixel formats whose first plane is 8-bit brightness.
_LUMA_FIRST = {"gray", "nv12"} | {f"yuv{j}{s}p" for j in ("", "j") for s in (420, 422, 444, 411, 440)}


@dataclass(frozen=True)
class Look:
    """What the pictures show; `shown` replaces the packets' timestamps and durations where they were wrong."""

    width_px: int  # upright
    height_px: int
    rotation_degrees: int
    is_still: bool
    hashes: tuple[int | None, ...]  # of the pictures looked at, see `picture_hash`
    shown: tuple[Int64[np.ndarray, "pictures"], Int64[np.ndarray, "pictures"]] | None
    # Decoded from keyframes: those of `proof_places` by their number on the screen, all of them or none.
    kept: dict[int, av.VideoFrame] = field(default_factory=dict)


@dataclass(frozen=True)
class _Seen:
    stamp: int
    width_px: int
    height_px: int
    rotation_degrees: int
    cells: Float[np.ndarray, "rows columns"]


@dataclass(frozen=True, order=True)
class Target:
    """A picture that is wanted, by timestamps in ticks."""

    key: int  # of the keyframe at which decoding begins
    stamp: int


def look(
    path: Path,
    container: InputContainer,
    video: av.VideoStream,
    *,
    pts: Int64[np.ndarray, "pictures"],
    keyframes: Sequence[int],
    is_doubtful: bool = False,
) -> Look:
    """Decode a handful of pictures; `pts` are the shown packets' in ascending order, in ticks.

    Timestamps that are `is_doubtful` are compared with every decoded picture. Raises `DecodeError` (decode_error,
    bad_timestamps) when pictures at the start, in the middle or at the end do not come out, or go back.
    """
    if keyframes and not is_doubtful:
        found = _from_keyframes(container, video, pts, keyframes)
        if found is not None:
            return found
    name, protocols = ffmpeg_name(path)
    options = {"protocol_whitelist": protocols}
    with av.open(name, metadata_errors="replace", container_options=options) as again:
        return _from_all(again, again.streams[video.index], pts)


def _look(
    seen: Sequence[_Seen],
    *,
    shown: tuple[np.ndarray, np.ndarray] | None,
    kept: dict[int, av.VideoFrame],
) -> Look:
    first = seen[0]
    width, height = first.width_px, first.height_px
    if first.rotation_degrees % 180:
        width, height = height, width
    cells = [s.cells for s in seen]
    hashes = tuple(picture_hash(c) for c in cells)
    return Look(width, height, first.rotation_degrees, are_still(cells), hashes, shown, kept)


def _from_keyframes(
    container: InputContainer, video: av.VideoStream, pts: np.ndarray, keyframes: Sequence[int]
) -> Look | None:
    """Look at pictures at `_PLACES`, and keep those to prove; None when one is not where the packets say."""
    slack = _slack(pts)
    seen_at, kept_at = targets(pts, keyframes)
    if comes_by_order(container, video):
        kept_at = {}
    seen: dict[int, _Seen] = {}
    kept: dict[int, av.VideoFrame] = {}
    for key, same in groupby(sorted({*seen_at, *kept_at.values()}), key=lambda target: target.key):
        try:
            run = run_from(container, video, key=key, wanted=[target.stamp for target in same])
        except av.FFmpegError:
            return None
        if not run.is_ascending:
            return None
        for target in (t for t in seen_at if t.key == key):
            given = run.given.get(target.stamp)
            if given is None or abs(given[0] - target.stamp) > slack:
                return None
            seen[target.stamp] = _see(*given)
        for place in [p for p, target in kept_at.items() if target.key == key and run.is_clean]:
            given = run.given.get(int(pts[place]))
            if given and given[0] == pts[place] and given[1].width * given[1].height <= _LARGEST_KEPT_PX:
                kept[place] = given[1]
    pictures = [seen[target.stamp] for target in seen_at]
    return _look(pictures, shown=None, kept=kept if len(kept) == len(kept_at) else {})


def targets(pts: np.ndarray, keyframes: Sequence[int]) -> tuple[list[Target], dict[int, Target]]:
    """Choose the pictures to look at, and those to keep by their number on the screen; see `look`."""
    keys = np.sort(np.array(keyframes))
    shown_keys = np.searchsorted(pts, keys[np.isin(keys, pts)])
    kept = {place: _target_of(int(pts[place]), keys) for place in proof_places(len(pts), shown_keys)}
    return list(_targets_to_look_at(pts, keys)), kept


def _targets_to_look_at(pts: np.ndarray, keys: np.ndarray) -> Iterator[Target]:
    """Choose the pictures to look at: keyframes, where there are some near."""
    first, last = int(pts[0]), int(pts[-1])
    shown_keys = keys[np.isin(keys, pts)]
    for place in _PLACES:
        # Large numbers are rounded: the end may lie past the last.
        wanted = int(pts[min(int(np.searchsorted(pts, first + place * (last - first))), len(pts) - 1)])
        if place < 1 and len(shown_keys):
            nearest = int(shown_keys[np.argmin(np.abs(shown_keys - wanted))])
            if abs(nearest - wanted) <= _NEAR * (last - first) and (place > 0 or nearest == first):
                yield Target(nearest, nearest)
                continue
        yield _target_of(wanted, keys)


def _target_of(stamp: int, keys: np.ndarray) -> Target:
    before = keys[keys <= stamp]
    return Target(int(before[-1] if len(before) else keys[0]), stamp)


def _from_all(container: InputContainer, video: av.VideoStream, pts: np.ndarray) -> Look:
    """Decode every picture, keep those at `_PLACES`, and take the decoded times for the truth."""
    video.codec_context.thread_count = 1
    first, last = int(pts[0]), int(pts[-1])
    wanted = [first + place * (last - first) for place in _PLACES]
    slack = _slack(pts)
    seen: list[_Seen] = []
    shown: list[tuple[int, int]] = []
    for stamp, frame in Pictures(container, video):
        if shown and stamp < shown[-1][0]:
            raise DecodeError("its pictures' timestamps are out of order", reason="bad_timestamps")
        shown.append((stamp, frame.duration or 0))
        if len(seen) < len(wanted) and stamp >= wanted[len(seen)]:
            seen.append(_see(stamp, frame))
    if len(shown) < _LEAST_SHARE * len(pts):
        raise DecodeError(f"only {len(shown)} of {len(pts)} pictures can be decoded")
    if len(seen) < len(wanted) - 1 or any(s.stamp - w > slack for s, w in zip(seen, wanted, strict=False)):
        raise DecodeError("pictures in the middle or at the end cannot be decoded")
    times, durations = np.array(shown, dtype=np.int64).T
    return _look(seen, shown=(times, durations), kept={})


def _slack(pts: np.ndarray) -> int:
    """Give the ticks by which a picture may miss its place: that of `_SLACK_PICTURES`."""
    return _SLACK_PICTURES * max(1, (int(pts[-1]) - int(pts[0])) // max(1, len(pts) - 1))


def _see(stamp: int, frame: av.VideoFrame) -> _Seen:
    return _Seen(
        stamp=stamp,
        width_px=frame.width,
        height_px=frame.height,
        # FFmpeg gives the counter-clockwise turn of the display matrix.
        rotation_degrees=-round(frame.rotation / 90) * 90 % 360,
        cells=cells_of(_grey(frame)),
    )


def _grey(frame: av.VideoFrame) -> UInt8[np.ndarray, "rows columns"]:
    """Brightness of the picture, thinned out to about `_SIDE_PX` a side."""
    if frame.format.name not in _LUMA_FIRST:
        frame = frame.reformat(format="gray")
    luma = frame.planes[0]  # read in place: converting would cost more than decoding
    rows = np.frombuffer(luma, np.uint8).reshape(-1, luma.line_size)[: frame.height, : frame.width]
    steps = [max(1, -(-side // _SIDE_PX)) for side in rows.shape]
    return np.array(rows[:: steps[0], :: steps[1]])
