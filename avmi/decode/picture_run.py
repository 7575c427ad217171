"""An opened file, from where it stands → the pictures that can be trusted, in the order of the screen.

Nothing that the container promises is believed: what comes before the first decoded keyframe (leading pictures of
an open GOP, too) is left out, and so is what damage may have spoilt, up to the next keyframe.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from av.error import FFmpegError
from av.video.frame import VideoFrame

from avmi.corpus.picture_runs import OrderClock
from avmi.decode.opened import OpenedFile
from avmi.decode.picture_damage import PictureDamage
from avmi.errors import DecodeError

# In other codecs (VP8's hidden references, MPEG-4's uncoded pictures) a packet may show nothing.
_ONE_PICTURE_A_PACKET = {"h264", "hevc", "vp9"}


@dataclass(frozen=True)
class Picture:
    """A decoded frame with its timestamp in ticks of the stream."""

    frame: VideoFrame
    ticks: int
    after_damage: bool  # frames before it could not be decoded


class PictureRun:
    """One run of decoding, until the file is moved or ends."""

    def __init__(
        self, file: OpenedFile, *, from_start: bool, by_order: bool, skip_before_ticks: float = -math.inf
    ) -> None:
        stream = file.video
        assert stream is not None
        assert stream.time_base is not None
        self._file = file
        self._tick_seconds = float(stream.time_base)
        self._packets = file.packets(stream)
        self._turn = file.turn
        self._held: deque[VideoFrame] = deque()
        self._is_one_a_packet = stream.codec_context.name in _ONE_PICTURE_A_PACKET and not by_order
        self._unseen: set[int | None] = set()  # stamps of packets whose pictures have not come out
        self._waits_for_key = not from_start
        self._damage = PictureDamage(by_order=by_order)
        self._previous: int | None = None
        self._clock = OrderClock() if by_order else None
        self.is_damaged = False  # behind the last picture given
        self.has_ended = False
        # A packet of the first group was refused: it may be whole, and refer to what lies before the group.
        self.lacks_history = False
        self._is_first_group = not from_start
        # Frames that no other frame needs are not decoded before this.
        self.skip_before_ticks = skip_before_ticks
        self.last_skipped_ticks = -math.inf

    @property
    def goes_on(self) -> bool:
        """Tell whether the file still stands where this run has left it."""
        return self._turn == self._file.turn

    def next_picture(self, *, give_up_after_ticks: float = math.inf) -> Picture | None:
        """Decode the next picture; None at the end, or when keyframes begin too late.

        Raises `DecodeError` ("timestamps_not_ascending", "no_timestamps").
        """
        while (frame := self._next_frame()) is not None:
            ticks = self._ticks_of(frame)
            if self.is_damaged and self._damage.is_over_at(frame) and not frame.key_frame:
                self._waits_for_key = True  # the container called it a keyframe
            if self._waits_for_key and not frame.key_frame:
                if ticks > give_up_after_ticks:
                    return None
                continue
            if self._waits_for_key:
                self._waits_for_key = False
            self._check_order(ticks)
            after_damage = self.is_damaged
            self.is_damaged = after_damage and not self._damage.is_over_at(frame)
            return Picture(frame, ticks, after_damage=after_damage)
        self.has_ended = True
        return None

    def lacks_picture(self, picture: Picture, until_ticks: float) -> bool:
        """Tell whether a packet was sent whose picture would have come up since this one, and did not come out.

        Damage may do that without an error, and so do timestamps that contradict the order of the pictures.
        """
        if picture.frame.interlaced_frame:  # each field may have a packet
            return False
        return any(stamp is not None and picture.ticks < stamp <= until_ticks for stamp in self._unseen)

    def _check_order(self, ticks: int) -> None:
        if self._previous is not None and ticks < self._previous:
            came = self._previous * self._tick_seconds - self._file.origin_seconds
            raise DecodeError(
                f"{self._file.path}: timestamps go back from {came:.3f} s "
                f"by {(self._previous - ticks) * self._tick_seconds:.3f} s",
                reason="timestamps_not_ascending",
            )
        self._previous = ticks

    def _ticks_of(self, frame: VideoFrame) -> int:
        if self._clock is not None:
            return self._clock.stamp_of(frame)
        if frame.pts is None:
            raise DecodeError(f"{self._file.path}: the pictures have no timestamps", reason="no_timestamps")
        return frame.pts

    def _next_frame(self) -> VideoFrame | None:
        """Take the decoder's next sound frame; damage makes it wait for the next keyframe."""
        while True:
            while self._held:
                frame = self._held.popleft()
                self._unseen.discard(frame.pts)
                if not (frame.is_corrupt or self._damage.spoils(frame)):
                    return frame
                self.is_damaged = self._waits_for_key = True
            try:
                packet = next(self._packets, None)
            except FFmpegError:  # the file cannot be read on from here
                packet, self.is_damaged = None, True
            if packet is None:
                return None
            self._decode(packet)

    def _decode(self, packet: Any) -> None:
        if self._clock is not None:
            self._clock.sent(packet)
        if not self._skips(packet) and self._is_one_a_packet and packet.size and not packet.is_discard:
            self._unseen.add(packet.pts)
        try:
            frames = packet.decode()
        except FFmpegError:
            self.lacks_history |= self._is_first_group and not self._damage.leads(packet)
            self._damage.note(packet, is_whole=False)
            self.is_damaged = True
            return
        self._is_first_group &= not (packet.is_keyframe and self._damage.has_begun)
        self._damage.note(packet, is_whole=True)
        self._held.extend(frames)

    def _skips(self, packet: Any) -> bool:
        """Tell the decoder whether a packet's picture is wanted at all."""
        skips = packet.pts is not None and packet.pts < self.skip_before_ticks
        if skips:
            self.last_skipped_ticks = max(self.last_skipped_ticks, packet.pts)
        context = packet.stream.codec_context
        mode = "NONREF" if skips else "DEFAULT"
        if context.skip_frame != mode:
            context.skip_frame = mode
        return skips
