"""An open video and the timestamps of pictures → these pictures, decoded from keyframes with as little as that takes.

Damage is passed over here: what comes out, and what does not, is for the caller to judge.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import av
from av.container import InputContainer

# Decoders that obey a change of `skip_frame` between packets (dav1d does not).
CAN_SKIP = {"h264", "hevc", "mpeg1video", "mpeg2video", "mpeg4"}
# Containers, by FFmpeg's names, that keep both fields of a picture in one packet (ISO/IEC 14496-15; Matroska's blocks).
_WHOLE_PICTURES = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}


def comes_by_order(container: InputContainer, video: av.VideoStream) -> bool:
    """Tell whether pictures have no timestamps of their own.

    AVI stores times of decoding alone, and what FFmpeg guesses out of them is a picture late, and with B-frames out
    of order: then pictures come up in the decoder's order, each at the time of the packet that brings it out, less
    the delay of the first.
    """
    return bool(container.format.name == "avi" and video.codec_context.has_b_frames)


class OrderClock:
    """Times of pictures that have none of their own, see `comes_by_order`, in ticks."""

    def __init__(self) -> None:
        self._first_packet: int | None = None
        self._delay: int | None = None
        self._previous: int | None = None

    def sent(self, packet: av.Packet) -> None:
        """Note a packet before it is decoded."""
        if self._first_packet is None:
            self._first_packet = packet.dts

    def stamp_of(self, frame: av.VideoFrame) -> int:
        """Tell when the next picture of the decoder comes up."""
        first = self._first_packet or 0
        if frame.dts is None:  # the decoder gives its last pictures without reading any more
            stamp = first if self._previous is None else self._previous + 1
        else:
            if self._delay is None:
                self._delay = frame.dts - first
            stamp = frame.dts - self._delay
        self._previous = stamp
        return stamp


@dataclass
class Run:
    """What came of decoding from one keyframe on."""

    # By the stamp that was wanted: the first picture that is not before it, else the last one, and its own stamp.
    given: dict[int, tuple[int, av.VideoFrame]] = field(default_factory=dict)
    is_clean: bool = False  # begins with the keyframe, nothing was damaged
    is_ascending: bool = True


def run_from(container: InputContainer, video: av.VideoStream, *, key: int, wanted: Sequence[int]) -> Run:
    """Decode from a keyframe up to the last of the ascending stamps wanted; raises `av.FFmpegError` of the seek."""
    container.seek(key, stream=video)
    run = Run()
    waiting = list(wanted)[::-1]
    pictures = Pictures(container, video, wanted=frozenset(wanted))
    last: tuple[int, av.VideoFrame] | None = None
    begins_with_key = False
    for stamp, frame in pictures:
        if last is not None and stamp < last[0]:
            run.is_ascending = False
        if stamp >= key and (last is None or last[0] < key):
            begins_with_key = stamp == key and bool(frame.key_frame)
        last = stamp, frame
        while waiting and stamp >= waiting[-1]:
            run.given[waiting.pop()] = last
        if not waiting:
            break
    if last is not None:
        run.given |= dict.fromkeys(waiting, last)
    run.is_clean = begins_with_key and not pictures.is_damaged
    return run


class Pictures:
    """The pictures from where a container stands, each with its time in ticks, in the order of the screen.

    With `wanted` stamps, decoding ends behind them and passes over what no other picture needs.
    """

    def __init__(
        self, container: InputContainer, video: av.VideoStream, *, wanted: frozenset[int] | None = None
    ) -> None:
        self._container, self._video, self._context = container, video, video.codec_context
        self._wanted = wanted
        self._skips = wanted is not None and self._context.name in CAN_SKIP
        self._clock = OrderClock() if comes_by_order(container, video) else None
        self.is_damaged = False

    def __iter__(self) -> Iterator[tuple[int, av.VideoFrame]]:
        """Decode on; damaged packets and pictures are passed over and noted."""
        for packet in self._packets():
            try:
                frames = self._context.decode(packet)
            except (av.FFmpegError, ValueError):
                self.is_damaged = True
                continue
            for frame in frames:
                stamp = frame.pts if self._clock is None else self._clock.stamp_of(frame)
                if frame.is_corrupt or stamp is None:
                    self.is_damaged = True
                else:
                    yield stamp, frame

    def _packets(self) -> Iterator[av.Packet | None]:
        """Give packets up to the last one wanted, and None, on which a decoder gives what it holds back.

        Where a picture may come as two fields in two packets, one packet more.
        """
        waiting = set(self._wanted or ())
        is_avi = self._container.format.name == "avi"
        ends = skipping = False
        for packet in _readable(self._container.demux(self._video)):
            if not packet.size:
                break
            if self._clock is not None:
                self._clock.sent(packet)
            if is_avi:  # its other timestamps are guessed, see `comes_by_order`
                packet.pts = packet.dts
            stamp = packet.pts
            if self._skips and skipping == (ends or stamp in waiting):
                skipping = not skipping
                self._context.skip_frame = "NONREF" if skipping else "DEFAULT"
            yield packet
            if ends:
                break
            waiting.discard(stamp)
            ends = self._wanted is not None and not waiting
            if ends and self._container.format.name in _WHOLE_PICTURES:
                break
        yield None


def _readable(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Give packets up to where the file cannot be read on."""
    while True:
        try:
            yield next(packets)
        except (StopIteration, av.FFmpegError, IndexError, ValueError):
            return
