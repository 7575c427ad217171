"""An open video and its packets' timestamps → what its pictures look like: size, rotation, moving or still.

Decodes as little as answers that: keyframes near a quarter, half and three quarters, and the run from the
last keyframe to the end. Where a keyframe does not lead to the picture that the packets promise, everything
is decoded, and the decoded pictures' times take the place of the packets'.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from jaxtyping import Float, Int64, UInt8

from avmi.corpus.fingerprint import picture_hash
from avmi.corpus.measure import are_still, cells_of
from avmi.corpus.members import ffmpeg_name
from avmi.errors import DecodeError

_PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)  # shares of the length at which pictures are looked at
_NEAR = 1 / 8  # a keyframe this near (as a share of the length) stands for the place
_SLACK_PICTURES = 16  # H.264 allows that many pictures that no other refers to, which are not decoded
_LEAST_SHARE = 0.8  # of the pictures must decode; VP8 keeps up to one packet in 7 invisible on purpose
_SIDE_PX = 256
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


@dataclass(frozen=True)
class _Seen:
    stamp: int
    width_px: int
    height_px: int
    rotation_degrees: int
    cells: Float[np.ndarray, "rows columns"]


@dataclass(frozen=True)
class _Target:
    key: int  # where to begin decoding
    until: int  # the picture wanted


def look(
    path: Path,
    container: InputContainer,
    video: av.VideoStream,
    *,
    pts: Int64[np.ndarray, "pictures"],
    keyframes: Sequence[int],
) -> Look:
    """Decode a handful of pictures; `pts` are the shown packets' in ascending order, in ticks.

    Raises `DecodeError` (decode_error, bad_timestamps) when pictures at the start, in the middle or at
    the end do not come out.
    """
    seen = _from_keyframes(container, video, pts, keyframes) if keyframes else None
    if seen is not None:
        return _look(seen, shown=None)
    name, protocols = ffmpeg_name(path)
    options = {"protocol_whitelist": protocols}
    with av.open(name, metadata_errors="replace", container_options=options) as again:
        return _from_all(again, again.streams[video.index], pts)


def _look(seen: Sequence[_Seen], *, shown: tuple[np.ndarray, np.ndarray] | None) -> Look:
    first = seen[0]
    width, height = first.width_px, first.height_px
    if first.rotation_degrees % 180:
        width, height = height, width
    cells = [s.cells for s in seen]
    hashes = tuple(picture_hash(c) for c in cells)
    return Look(width, height, first.rotation_degrees, are_still(cells), hashes, shown)


def _from_keyframes(
    container: InputContainer, video: av.VideoStream, pts: np.ndarray, keyframes: Sequence[int]
) -> list[_Seen] | None:
    """Pictures at `_PLACES`; None when one of them is not where the packets say."""
    slack = _slack(pts)
    video.codec_context.skip_frame = "NONREF"
    seen: list[_Seen] = []
    run: Iterator[tuple[int, av.VideoFrame]] = iter(())
    begun_at = None
    for target in _targets(pts, keyframes):
        if begun_at != target.key:
            try:
                container.seek(target.key, stream=video)
            except av.FFmpegError:
                return None
            begun_at, run = target.key, _intact(container, video)
        last = None
        for stamp, frame in run:
            if last is not None and stamp <= last[0]:
                return None
            last = stamp, frame
            if stamp >= target.until:
                break
        if last is None and seen and seen[-1].stamp >= target.until:
            continue  # the run before went past it
        if last is None or abs(last[0] - target.until) > slack:
            return None
        seen.append(_see(*last))
    return seen


def _targets(pts: np.ndarray, keyframes: Sequence[int]) -> Iterator[_Target]:
    first, last = int(pts[0]), int(pts[-1])
    keys = np.sort(np.array(keyframes))
    shown_keys = keys[np.isin(keys, pts)]
    for place in _PLACES:
        wanted = int(pts[np.searchsorted(pts, first + place * (last - first))])
        if place < 1 and len(shown_keys):
            nearest = int(shown_keys[np.argmin(np.abs(shown_keys - wanted))])
            if abs(nearest - wanted) <= _NEAR * (last - first) and (place > 0 or nearest == first):
                yield _Target(nearest, nearest)
                continue
        before = keys[keys <= wanted]
        yield _Target(int(before[-1] if len(before) else keys[0]), wanted)


def _intact(container: InputContainer, video: av.VideoStream) -> Iterator[tuple[int, av.VideoFrame]]:
    """Decode from here on, giving each picture's time in ticks; pass over damaged packets and pictures.

    AVI stores no presentation times (see `scan`): its pictures are counted in the decoder's order.
    """
    by_order = container.format.name == "avi"
    stamp = None
    for packet in _readable(container.demux(video)):
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError):
            continue
        for frame in frames:
            if by_order:
                after = None if stamp is None else stamp + 1
                stamp = after if frame.dts is None else frame.dts
            else:
                stamp = frame.pts
            if stamp is not None and not frame.is_corrupt:
                yield stamp, frame


def _readable(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Give packets up to where the file cannot be read on."""
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError, IndexError, ValueError):
            return


def _from_all(container: InputContainer, video: av.VideoStream, pts: np.ndarray) -> Look:
    """Decode every picture, keep those at `_PLACES`, and take the decoded times for the truth."""
    video.codec_context.thread_count = 1
    first, last = int(pts[0]), int(pts[-1])
    wanted = [first + place * (last - first) for place in _PLACES]
    slack = _slack(pts)
    seen: list[_Seen] = []
    shown: list[tuple[int, int]] = []
    for stamp, frame in _intact(container, video):
        if shown and stamp <= shown[-1][0]:
            raise DecodeError("its pictures' timestamps are out of order", reason="bad_timestamps")
        shown.append((stamp, frame.duration or 0))
        if len(seen) < len(wanted) and stamp >= wanted[len(seen)]:
            seen.append(_see(stamp, frame))
    if len(shown) < _LEAST_SHARE * len(pts):
        raise DecodeError(f"only {len(shown)} of {len(pts)} pictures can be decoded")
    if len(seen) < len(wanted) - 1 or any(s.stamp - w > slack for s, w in zip(seen, wanted, strict=False)):
        raise DecodeError("pictures in the middle or at the end cannot be decoded")
    if container.format.name == "avi":
        return _look(seen, shown=None)
    times, durations = np.array(shown, dtype=np.int64).T
    return _look(seen, shown=(times, durations))


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
