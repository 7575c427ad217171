"""An opened file and ascending ticks → the decoded frames that are on the screen at them, exactly.

Seek to a keyframe, decode on, and take the last frame whose timestamp is not after the tick. Nothing
that the container promises is believed: what comes before the first decoded keyframe, or is timed
before it (leading pictures of an open GOP), is not used; a seek that lands too late is tried earlier,
and at last the file is decoded from its start.
"""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from av.error import FFmpegError
from av.video.frame import VideoFrame

from avmi.decode.opened import OpenedFile
from avmi.errors import DecodeError

# mkv and flv round timestamps to milliseconds: a picture may claim to come up half of one later than it
# does. Coarser ticks (AVI's: one a picture) are not rounded.
LARGEST_ROUNDING_SECONDS = 0.5e-3
_EXACT_SECONDS = 1e-6
# How far before the target a seek goes, in the order of trying; after these: the start of the file.
_SEEK_BACK_SECONDS = (0.0, 1.0, 5.0, 25.0)
# Without a packet index: decoding on for this long is cheaper than a seek and half a GOP.
_NEAR_SECONDS = 1.0
# Frames that no other frame needs are not decoded until the target is this near; more than any
# encoder reorders (16 frames), less than a GOP.
_SKIP_UNTIL_SECONDS = 0.7
# Containers in which a packet after a seek has the timestamp that it has in a read from the start. MPEG-PS
# has one timestamp for several pictures and counts on from the wrong one; others are not proved.
_CAN_SEEK = {"mov", "matroska", "mpegts", "flv", "avi", "asf"}
_CHUNK_HEADER_BYTES = 8  # of AVI's chunks: the index points at it, a packet begins behind it
# Decoders that obey a change of this setting between packets (dav1d does not).
CAN_SKIP = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}


def tolerance_ticks(tick_seconds: float) -> float:
    """How many ticks before its timestamp a picture counts as on the screen."""
    coarse = tick_seconds > 2.1 * LARGEST_ROUNDING_SECONDS
    return _EXACT_SECONDS / tick_seconds if coarse else 0.5


def chunks_are_indexed(file: OpenedFile) -> bool:
    """Tell whether an AVI's index says what its chunks are.

    The clock of AVI is the count of chunks: where one is lost, a seek by the index and a read from the start
    disagree about every later time.
    """
    file.rewind()
    stream = file.video
    assert stream is not None
    index = [(entry.timestamp, entry.pos) for entry in stream.index_entries]
    try:
        chunks = [(packet.dts, packet.pos) for packet in file.packets(stream) if packet.size]
    except FFmpegError:
        return False
    return index == [(ticks, (place or 0) - _CHUNK_HEADER_BYTES) for ticks, place in chunks]


@dataclass(frozen=True)
class Picture:
    """A decoded frame with its timestamp in ticks of the stream."""

    frame: VideoFrame
    ticks: int
    after_damage: bool  # frames before it could not be decoded


class PictureSource:
    """The pictures of an opened file's video stream."""

    def __init__(self, file: OpenedFile) -> None:
        if file.video is None or file.video.codec_context is None:
            raise DecodeError(f"{file.path} has no video stream that can be decoded", reason="no_video")
        if file.video.time_base is None:
            raise DecodeError(f"{file.path}: the video has no clock", reason="no_timestamps")
        self._file = file
        self._tick_seconds = float(file.video.time_base)
        self._tolerance = tolerance_ticks(self._tick_seconds)
        self._can_skip = file.video.codec_context.name in CAN_SKIP
        # AVI has no presentation timestamps, and what FFmpeg makes of the order of B-frames is wrong for
        # packed ones (Xvid, much of UCF101): there pictures come up in the decoder's order, one for each
        # chunk, counted from the start.
        self._by_order = file.format_name == "avi" and file.video.codec_context.has_b_frames
        if self._by_order:
            self._can_skip = False
        self._never_seek = self._by_order or file.format_name not in _CAN_SEEK
        self._trusts_index = file.format_name != "avi"
        self._forget()

    def _forget(self) -> None:
        """Drop what was decoded: the file stands elsewhere now."""
        self._turn = self._file.turn
        self._packets: Iterator[Any] | None = None
        self._decoded: deque[VideoFrame] = deque()
        self._current: Picture | None = None
        self._ahead: Picture | None = None
        self._step_ticks = 0
        self._first_packet_ticks: int | None = None
        self._delay_ticks: int | None = None
        self._ended = False
        self._first_key_ticks: int | None = None
        self._waits_for_key = False
        self._damaged = False
        self._skip_before = -math.inf
        self._last_skipped = -math.inf

    def at(self, seconds: float, *, end_seconds: float | None, last_seconds: float | None) -> Picture:
        """Find the picture on the screen at this time.

        `end_seconds` and `last_seconds` are when the last picture goes and comes, if known: without
        them its duration decides. Raises `DecodeError` before the first and after the last picture,
        and where pictures cannot be decoded.
        """
        ticks = float((seconds + self._file.origin_seconds) / self._tick_seconds)
        if not self._is_reached_by_decoding_on(ticks):
            self._start_at_or_before(ticks, skip=True)
        self._decode_up_to(ticks)
        if self._current is None or self._last_skipped > self._current.ticks:
            # What was skipped may be the very picture: rare, a long gap follows a frame nobody needs.
            self._start_at_or_before(ticks, skip=False)
            self._decode_up_to(ticks)
        assert self._current is not None
        self._check_that_it_stands(self._current, seconds, end_seconds, last_seconds)
        return self._current

    def every(self) -> Iterator[Picture]:
        """Give all pictures from the first on; raises `DecodeError` when one of them is damaged or missing."""
        self._file.rewind()
        self._forget()
        self._packets = self._file.packets(self._file.video)  # type: ignore[arg-type]
        while (picture := self._next_picture(give_up_after=math.inf)) is not None:
            if picture.after_damage or (self._current is None and not picture.frame.key_frame):
                raise self._damage_at(self.seconds_of(picture))
            self._current = picture
            yield picture
        if self._damaged or self._current is None:
            raise DecodeError(
                f"{self._file.path}: the last pictures are damaged or missing", reason="damaged"
            )
        self._forget()

    @property
    def tolerance_seconds(self) -> float:
        """How long before its timestamp a picture counts as on the screen: the rounding of the clock."""
        return self._tolerance * self._tick_seconds

    def seconds_of(self, picture: Picture) -> float:
        """Time at which a picture comes up."""
        return picture.ticks * self._tick_seconds - self._file.origin_seconds

    def _is_reached_by_decoding_on(self, ticks: float) -> bool:
        if self._turn != self._file.turn or self._current is None:
            return False
        if self._current.ticks > ticks + self._tolerance:
            return False
        if self._never_seek or self._ended or (self._ahead and self._ahead.ticks > ticks):
            return True
        key = self._indexed_key_ticks(ticks)
        if key is None:
            return (ticks - self._current.ticks) * self._tick_seconds <= _NEAR_SECONDS
        return key <= self._current.ticks

    def _indexed_key_ticks(self, ticks: float) -> int | None:
        """Timestamp of the keyframe before these ticks by the container's index, if it has one."""
        entries = getattr(self._file.video, "index_entries", None)
        if not entries:
            return None
        if entries[len(entries) - 1].timestamp < ticks - _NEAR_SECONDS / self._tick_seconds:
            return None  # mkv without cues: the index grows with what was read
        place = entries.search_timestamp(math.floor(ticks + self._tolerance))
        return entries[place].timestamp if place >= 0 else None

    def _start_at_or_before(self, ticks: float, *, skip: bool) -> None:
        """Stand on a picture that is not after these ticks; everything from there on is decodable."""
        if not (self._trusts_index or self._never_seek):
            self._trusts_index = chunks_are_indexed(self._file)
            self._never_seek = not self._trusts_index
        stream = self._file.video  # only now: looking at the index opened the file again
        assert stream is not None
        start = stream.start_time or 0
        for back_seconds in () if self._never_seek else _SEEK_BACK_SECONDS:
            goal = math.floor(ticks + self._tolerance - back_seconds / self._tick_seconds)
            if self._file.seek(stream, max(goal, start)) and self._stands_before(
                ticks, skip=skip, from_start=False
            ):
                return
            if goal <= start:
                break
        self._file.rewind()
        if self._stands_before(ticks, skip=skip, from_start=True):
            self._never_seek = True
            return
        if self._current is None:
            raise DecodeError(f"{self._file.path}: no picture can be decoded", reason="damaged")
        raise DecodeError(
            f"{self._file.path}: no picture at {ticks * self._tick_seconds - self._file.origin_seconds:.3f} s, "
            f"the first comes at {self.seconds_of(self._current):.3f} s",
            reason="before_start",
        )

    def _stands_before(self, ticks: float, *, skip: bool, from_start: bool) -> bool:
        self._forget()
        self._waits_for_key = not from_start
        if skip and self._can_skip:
            self._skip_before = ticks - _SKIP_UNTIL_SECONDS / self._tick_seconds
        self._packets = self._file.packets(self._file.video)  # type: ignore[arg-type]
        self._turn = self._file.turn
        self._current = self._next_picture(give_up_after=ticks if not from_start else math.inf)
        return self._current is not None and self._current.ticks <= ticks + self._tolerance

    def _decode_up_to(self, ticks: float) -> None:
        if self._skip_before > -math.inf:
            self._skip_before = ticks - _SKIP_UNTIL_SECONDS / self._tick_seconds
        while True:
            if self._ahead is None:
                self._ahead = self._next_picture(give_up_after=math.inf)
            if self._ahead is None:
                self._ended = True
                return
            if self._ahead.ticks > ticks + self._tolerance:
                return
            if self._current is not None and not self._ahead.after_damage:
                self._step_ticks = self._ahead.ticks - self._current.ticks
            self._current, self._ahead = self._ahead, None

    def _next_picture(self, *, give_up_after: float) -> Picture | None:
        """Decode the next usable frame; None at the end, or when keyframes begin too late."""
        while True:
            frame = self._next_frame()
            if frame is None:
                return None
            ticks = self._ticks_of(frame)
            if self._waits_for_key and not frame.key_frame:
                if ticks > give_up_after:
                    return None
                continue
            if self._waits_for_key:
                self._waits_for_key, self._first_key_ticks = False, ticks
            if self._first_key_ticks is not None and ticks < self._first_key_ticks:
                continue
            previous = self._ahead or self._current
            if previous is not None and ticks < previous.ticks:
                raise DecodeError(
                    f"{self._file.path}: timestamps go back from {self.seconds_of(previous):.3f} s "
                    f"by {(previous.ticks - ticks) * self._tick_seconds:.3f} s",
                    reason="timestamps_not_ascending",
                )
            damaged, self._damaged = self._damaged, False
            return Picture(frame, ticks, after_damage=damaged)

    def _ticks_of(self, frame: VideoFrame) -> int:
        if self._by_order:
            if frame.dts is None:  # the decoder gives its last pictures without reading any more
                last = self._ahead or self._current
                return last.ticks + 1 if last else self._first_packet_ticks or 0
            if self._delay_ticks is None:
                self._delay_ticks = frame.dts - (self._first_packet_ticks or 0)
            return frame.dts - self._delay_ticks
        if frame.pts is None:
            raise DecodeError(f"{self._file.path}: the pictures have no timestamps", reason="no_timestamps")
        return frame.pts

    def _next_frame(self) -> VideoFrame | None:
        """Take the decoder's next sound frame; damage makes it wait for the next keyframe."""
        assert self._packets is not None
        while True:
            while self._decoded:
                frame = self._decoded.popleft()
                if not frame.is_corrupt:
                    return frame
                self._break_off()
            try:
                packet = next(self._packets, None)
            except FFmpegError:  # the file cannot be read on from here
                self._break_off()
                return None
            if packet is None:
                return None
            if self._first_packet_ticks is None:
                self._first_packet_ticks = packet.dts
            self._choose_skipping(packet)
            try:
                self._decoded.extend(packet.decode())
            except FFmpegError:
                self._break_off()

    def _break_off(self) -> None:
        self._damaged, self._waits_for_key = True, True

    def _choose_skipping(self, packet: Any) -> None:
        skips = packet.pts is not None and packet.pts < self._skip_before
        if skips:
            self._last_skipped = max(self._last_skipped, packet.pts)
        context = packet.stream.codec_context
        mode = "NONREF" if skips else "DEFAULT"
        if context.skip_frame != mode:
            context.skip_frame = mode

    def _check_that_it_stands(
        self, picture: Picture, seconds: float, end_seconds: float | None, last_seconds: float | None
    ) -> None:
        """Raise when the picture may have gone off the screen before this time."""
        slack = self._tolerance * self._tick_seconds + 1e-9
        came = self.seconds_of(picture)
        goes = came + self._duration_seconds(picture)
        # Beside damage only what is measured counts: a header's rate may be damaged, too.
        surely_goes = came + self._least_duration_seconds(picture)
        if self._ahead is not None:
            if self._ahead.after_damage and seconds >= surely_goes:
                raise self._damage_at(seconds)
            return
        lacks_pictures = self._damaged or (last_seconds is not None and came < last_seconds - slack)
        if lacks_pictures and seconds >= surely_goes:
            raise self._damage_at(seconds)
        end = goes if end_seconds is None else end_seconds
        if seconds >= end:
            raise DecodeError(
                f"{self._file.path}: no picture at {seconds:.3f} s, the last goes at {end:.3f} s",
                reason="past_end",
            )

    def _damage_at(self, seconds: float) -> DecodeError:
        return DecodeError(
            f"{self._file.path}: the pictures at {seconds:.3f} s are damaged or missing", reason="damaged"
        )

    def _least_duration_seconds(self, picture: Picture) -> float:
        """How long it stands for certain: its packet's duration or the last distance, whichever is shorter."""
        measured = [ticks for ticks in (picture.frame.duration or 0, self._step_ticks) if ticks > 0]
        return min(measured, default=1) * self._tick_seconds

    def _duration_seconds(self, picture: Picture) -> float:
        """How long it stands if nothing follows: as its packet says, unless that is a rounding tick."""
        rate = getattr(self._file.video, "average_rate", None)
        # A lone still with neither stands for one tick: its own time can be asked for.
        usual = self._step_ticks or (float(1 / rate) / self._tick_seconds if rate else 1.0)
        says = picture.frame.duration or 0
        return (says if says > usual / 2 else usual) * self._tick_seconds
