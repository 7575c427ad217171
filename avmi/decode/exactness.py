"""A video file → whether decord gives its pictures at the times that the container says, or why not.

To be called in a child process with a time limit: some files make decord hang or crash. Those that are
known to are refused before decord sees them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from jaxtyping import Float, UInt8

from avmi.decode.decord import open_decord, picture_intervals
from avmi.decode.opened import OpenedFile
from avmi.decode.pictures import PictureSource
from avmi.decode.rgb import upright_rgb
from avmi.errors import DecodeError

# FFmpeg's first name of the container. Others hang decord (MPEG-TS), or it cannot seek in them (PS, FLV).
_READABLE_CONTAINERS = ("mov", "matroska", "avi")
# decord's timestamps are single precision; mkv rounds to milliseconds.
_TIME_SLACK_SECONDS = 1.01e-3
# In other codecs (VP8's hidden references, MPEG-4's uncoded pictures) a packet may show nothing.
_ONE_PICTURE_A_PACKET = {"h264", "hevc", "vp9"}
_NO_TIMESTAMP_SECONDS = 1e9  # FFmpeg's "none" is -2^63 ticks
# Mean difference of grey levels between two conversions of one picture to RGB stays below 2.
_SAME_PICTURE_LEVELS = 4.0


@dataclass(frozen=True)
class VideoPackets:
    """What the packets of a video stream say; `prepare` has read them already."""

    container: str  # FFmpeg's first name of the format
    times_seconds: tuple[float, ...]  # of the pictures shown, ascending
    key_seconds: tuple[float, ...]  # of the keyframes among them, ascending
    has_discarded: bool  # pictures that are decoded and not shown: an edit list
    rotation_degrees: int


def decord_exactness(path: Path, *, packets: VideoPackets | None = None) -> str:
    """Compare decord with the container's packets and with PyAV's pictures; "" when it is exact.

    Costs a few decoded pictures: the one after the last keyframe, one after a jump back, the first.
    `packets=None` reads them from the file. Raises `DecodeError` when the file cannot be opened.
    """
    file = OpenedFile(path)
    try:
        return _exactness(path, file, packets)
    except FFmpegError as error:
        raise DecodeError(f"{path} is damaged: {error}", reason="damaged") from error
    finally:
        file.close()


def _exactness(path: Path, file: OpenedFile, packets: VideoPackets | None) -> str:
    packets = packets or read_packets(file)
    if reason := _refused_unseen(packets) or _some_never_shown(file, packets):
        return reason
    try:
        reader = open_decord(path)
    except DecodeError:
        return "decord cannot open it"
    starts = picture_intervals(reader)[:, 0]
    return _times_differ(starts, packets.times_seconds) or _pictures_differ(file, reader, packets)


def read_packets(file: OpenedFile) -> VideoPackets:
    """Read the timestamps of the video's packets, and one picture for its rotation."""
    if file.video is None or file.video.time_base is None:
        raise DecodeError(f"{file.path} has no video stream", reason="no_video")
    tick = float(file.video.time_base)
    shown, keys, has_discarded, rotation = [], [], False, None
    for packet in file.packets(file.video):
        if rotation is None:
            rotation = next((-frame.rotation % 360 for frame in packet.decode()), None)
        if packet.size == 0:
            continue
        has_discarded |= packet.is_discard
        ticks = packet.dts if file.format_name == "avi" else packet.pts
        if ticks is None:
            raise DecodeError(f"{file.path}: the pictures have no timestamps", reason="no_timestamps")
        if not packet.is_discard:
            shown.append(ticks * tick - file.origin_seconds)
            if packet.is_keyframe:
                keys.append(shown[-1])
    return VideoPackets(
        file.format_name,
        tuple(sorted(shown)),
        tuple(sorted(keys)),
        has_discarded,
        rotation or 0,
    )


def _refused_unseen(packets: VideoPackets) -> str:
    if packets.container not in _READABLE_CONTAINERS:
        return f"container {packets.container}"
    if packets.rotation_degrees:
        return "rotated"
    if packets.has_discarded:
        return "edit list"
    if len(packets.times_seconds) < 2:
        return "fewer than two pictures"
    if packets.times_seconds[0] > np.median(np.diff(packets.times_seconds)) / 2:
        return "starts late"
    return ""


def _some_never_shown(file: OpenedFile, packets: VideoPackets) -> str:
    """Tell whether packets hold pictures that never come up; decord counts them, and is late from there on."""
    assert file.video is not None
    if file.video.codec_context.name in _ONE_PICTURE_A_PACKET:
        return ""
    file.rewind()
    count = sum(len(packet.decode()) for packet in file.packets(file.video))
    return "" if count == len(packets.times_seconds) else "pictures that are never shown"


def _times_differ(starts: Float[np.ndarray, "frames"], truth: Sequence[float]) -> str:
    if len(starts) != len(truth):
        return f"{len(starts)} pictures instead of {len(truth)}"
    if np.abs(starts).max() > _NO_TIMESTAMP_SECONDS:
        return "decord finds no timestamps"
    rounding = np.spacing(starts.astype(np.float32)).astype(np.float64)
    late = np.abs(starts - np.array(truth)) - rounding
    if late.max() > _TIME_SLACK_SECONDS:
        return f"timestamps up to {late.max() * 1000:.1f} ms wrong"
    return ""


def _pictures_differ(file: OpenedFile, reader: object, packets: VideoPackets) -> str:
    """Look at pictures in an order that makes decord jump: to the end, back, to the start."""
    times = np.array(packets.times_seconds)
    keys = np.searchsorted(times, packets.key_seconds)
    last_key = int(keys[-1]) if len(keys) else len(times) // 2
    middle_key = int(keys[len(keys) // 2 - 1]) if len(keys) > 2 else 0
    probes = [min(last_key + 2, len(times) - 2), min(middle_key + 1, len(times) - 2), 0]
    truth = {}
    source = PictureSource(file)
    end = float(times[-1] + np.median(np.diff(times)))
    for place in sorted({p + shift for p in probes for shift in (-1, 0, 1)} & set(range(len(times)))):
        picture = source.at(times[place], end_seconds=end, last_seconds=None)
        truth[place] = upright_rgb(picture.frame, short_side_px=None)
    # The first comes with the one after the jump back: one seek less.
    batches = [probes[:1], sorted(set(probes[1:]))]
    given_at = {
        place: given
        for batch in batches
        for place, given in zip(batch, reader.get_batch(batch).asnumpy(), strict=True)  # type: ignore[attr-defined]
    }
    for place in probes:
        given = given_at[place]
        distances = {p: _distance(given, truth[p]) for p in truth if abs(p - place) <= 1}
        own = distances[place]
        if own > _SAME_PICTURE_LEVELS or own > min(distances.values()) + 0.5:
            return f"wrong picture at {times[place]:.3f} s"
    return ""


def _distance(a: UInt8[np.ndarray, "..."], b: UInt8[np.ndarray, "..."]) -> float:
    if a.shape != b.shape:
        return float("inf")
    # Every other row tells as much, at half the cost.
    return float(np.abs(a[::2].astype(np.int16) - b[::2]).mean())
