"""A video file → whether decord gives its pictures at the times that the container says, or why not.

To be called in a child process with a time limit: some files make decord hang or crash. Those that are
known to are refused before decord sees them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from jaxtyping import Float, UInt8

from avmi.corpus.proof_places import jump_places
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
    codec: str = ""  # FFmpeg's name; "" is looked up in the file
    # Decoded through the container, by their number on the screen: those of `proof_places`, or none.
    pictures: Mapping[int, VideoFrame] = field(default_factory=dict)


class _Container:
    """A file that is opened when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: OpenedFile | None = None

    def opened(self) -> OpenedFile:
        if self._file is None:
            self._file = OpenedFile(self._path)
        return self._file

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def decord_exactness(path: Path, *, packets: VideoPackets | None = None) -> str:
    """Compare decord with the container's packets and with PyAV's pictures; "" when it is exact.

    Costs a few decoded pictures: the one after the last keyframe, one after a jump back, the first.
    `packets=None` reads them from the file. Raises `DecodeError` when the file cannot be opened.
    """
    container = _Container(path)
    try:
        return _exactness(path, container, packets)
    except FFmpegError as error:
        raise DecodeError(f"{path} is damaged: {error}", reason="damaged") from error
    finally:
        container.close()


def _exactness(path: Path, container: _Container, packets: VideoPackets | None) -> str:
    packets = packets or read_packets(container.opened())
    if reason := _refused_unseen(packets) or _some_never_shown(container, packets):
        return reason
    jumps = _jumps(packets)
    try:
        reader = open_decord(path)
    except DecodeError:
        return "decord cannot open it"
    if reason := _times_differ(picture_intervals(reader)[:, 0], packets.times_seconds):
        return reason
    # The first picture comes with the one after the jump back: one seek less.
    batches = [jumps[:1], sorted(set(jumps[1:]))]
    given = {p: x for batch in batches for p, x in zip(batch, reader.get_batch(batch).asnumpy(), strict=True)}
    del reader  # or it decodes ahead while the pictures are compared
    if all(_is_known(picture, packets.pictures.get(place)) for place, picture in given.items()):
        return ""
    return _pictures_differ(given, _around_jumps(container.opened(), packets), packets.times_seconds)


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
        file.video.codec_context.codec.canonical_name,
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


def _some_never_shown(container: _Container, packets: VideoPackets) -> str:
    """Tell whether packets hold pictures that never come up; decord counts them, and is late from there on."""
    if packets.codec in _ONE_PICTURE_A_PACKET:
        return ""
    file = container.opened()
    file.rewind()
    assert file.video is not None
    if file.video.codec_context.codec.canonical_name in _ONE_PICTURE_A_PACKET:
        return ""
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


def _is_known(picture: UInt8[np.ndarray, "..."], frame: VideoFrame | None) -> bool:
    """Whether decord gave this very picture, bit for bit: the usual case, in which no other need be looked at."""
    return frame is not None and np.array_equal(picture, upright_rgb(frame, short_side_px=None))


def _around_jumps(file: OpenedFile, packets: VideoPackets) -> dict[int, UInt8[np.ndarray, "..."]]:
    """Decode the pictures that are compared, and their neighbours, through the container."""
    times = np.array(packets.times_seconds)
    source = PictureSource(file)
    end = float(times[-1] + np.median(np.diff(times)))
    near = {place + shift for place in _jumps(packets) for shift in (-1, 0, 1)} & set(range(len(times)))
    pictures = (
        (place, source.at(times[place], end_seconds=end, last_seconds=None)) for place in sorted(near)
    )
    return {place: upright_rgb(picture.frame, short_side_px=None) for place, picture in pictures}


def _pictures_differ(
    given: Mapping[int, UInt8[np.ndarray, "..."]],
    truth: Mapping[int, UInt8[np.ndarray, "..."]],
    times_seconds: Sequence[float],
) -> str:
    """Tell whether a picture is another than the true one, or is like a neighbour of it."""
    for place, picture in given.items():
        distances = {p: _distance(picture, truth[p]) for p in truth if abs(p - place) <= 1}
        own = distances[place]
        if own > _SAME_PICTURE_LEVELS or own > min(distances.values()) + 0.5:
            return f"wrong picture at {times_seconds[place]:.3f} s"
    return ""


def _jumps(packets: VideoPackets) -> tuple[int, int, int]:
    """Choose pictures in an order that makes decord jump: to the end, back, to the start."""
    keys = np.searchsorted(np.array(packets.times_seconds), packets.key_seconds)
    return jump_places(len(packets.times_seconds), keys)


def _distance(a: UInt8[np.ndarray, "..."], b: UInt8[np.ndarray, "..."]) -> float:
    if a.shape != b.shape:
        return float("inf")
    # Every fourth row tells as much, at a quarter of the cost.
    return float(np.abs(a[::4].astype(np.int16) - b[::4]).mean())
