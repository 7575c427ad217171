"""An open container → what one pass over all its packets leaves: the pictures' timestamps and the decoded sound."""

import heapq
from dataclasses import dataclass, field

import av
import numpy as np
from av.container import InputContainer
from jaxtyping import Int64

from avmi.corpus.container import TS_DISCONT, interleaved, samples_of
from avmi.corpus.measure import SoundMeter
from avmi.corpus.packet_tape import PacketTape
from avmi.errors import DecodeError

# A header may round, or count a last picture that an edit list drops; a file that was cut off misses more.
_HEADER_SLACK_SECONDS = 0.5
_HEADER_SLACK_SHARE = 0.01
# x264's pyramids hold back 2 pictures, deeper ones 4. Where it is more, every picture is decoded to know.
_USUALLY_HELD_BACK = 4


@dataclass
class Tape:
    """What was read. The lists are of the pictures' packets that have a timestamp, in the order of decoding."""

    stamps: list[int] = field(default_factory=list)  # in ticks
    durations: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    is_shown: list[bool] = field(default_factory=list)
    without_stamp: int = 0  # pictures shown
    last_decoding: int | None = None
    decoding_goes_back: bool = False  # by its timestamps: data was moved, or another file's came in
    before_decoding: int = 0  # pictures that are shown before they are decoded, by their timestamps
    sound: SoundMeter = field(default_factory=SoundMeter)
    ends_seconds: dict[int, float] = field(default_factory=dict)  # by stream
    error: str = ""

    @property
    def shown(self) -> tuple[Int64[np.ndarray, "pictures"], Int64[np.ndarray, "pictures"]]:
        """Give timestamps and durations of the pictures that are shown."""
        shown = np.array(self.is_shown, bool)
        return np.array(self.stamps, np.int64)[shown], np.array(self.durations, np.int64)[shown]

    @property
    def key_stamps(self) -> Int64[np.ndarray, "keyframes"]:
        """Give the timestamps of the keyframes, shown or not."""
        return np.asarray(np.array(self.stamps, np.int64)[np.array(self.is_key, bool)])

    @property
    def has_discarded(self) -> bool:
        """Whether there are pictures to be decoded but not shown: an edit list."""
        return not all(self.is_shown)

    def check_pictures(self) -> None:
        """Raise `DecodeError` for a stream without pictures, or whose pictures have no place in time."""
        timed = sum(self.is_shown)
        if not timed and not self.without_stamp:
            raise DecodeError("its picture stream holds no picture", reason="no_video")
        if self.decoding_goes_back:
            raise DecodeError("its pictures' timestamps go back", reason="bad_timestamps")
        if self.without_stamp > 0.05 * (timed + self.without_stamp):
            raise DecodeError(
                f"{self.without_stamp} of {timed + self.without_stamp} pictures carry no timestamp",
                reason="bad_timestamps",
            )

    def may_go_back(self, *, has_b_frames: bool) -> bool:
        """Whether pictures, in the decoder's order, may go back in time; certain is only that others do not.

        No picture is shown before it is decoded, none decoded before a keyframe is shown after it, and the decoder
        brings them into their order by holding back a few.
        """
        if self.before_decoding:
            return True
        held: list[int] = []
        most_held = _USUALLY_HELD_BACK if has_b_frames else 0
        latest = latest_given = min(self.stamps, default=0)
        for stamp, is_key in zip(self.stamps, self.is_key, strict=True):
            if is_key and stamp < latest:
                return True
            latest = max(latest, stamp)
            if len(held) < most_held:
                heapq.heappush(held, stamp)
                continue
            given = heapq.heappushpop(held, stamp)
            if given < latest_given:
                return True
            latest_given = given
        return False


def read_tape(
    container: InputContainer,
    video: av.VideoStream | None,
    audio: av.AudioStream | None,
    packets: PacketTape,
    *,
    zero_seconds: float,
) -> Tape:
    """Go through all packets once, decoding the sound on the way."""
    tape = Tape()
    # AVI stores no presentation times; what FFmpeg guesses for B-frames is a picture late and out of order.
    has_pts = container.format.name != "avi"
    # Asking a stream or frame for its own clock each time would make fractions half of the work.
    ticks = {s.index: float(s.time_base) for s in container.streams if s.time_base is not None}
    ends: dict[int, int] = {}
    pictures = -1 if video is None else video.index
    sound = -1 if audio is None else audio.index
    try:
        for packet in container.demux():
            index = packet.stream_index
            if packet.size and index in ticks:
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None and not packet.is_discard:
                    end = stamp + (packet.duration or 0)
                    if end > ends.setdefault(index, end):
                        ends[index] = end
                if index == pictures:
                    stamp = packet.pts if has_pts else packet.dts
                    _note_picture(tape, packet, stamp=stamp)
                    packets.picture(packet, stamp=stamp)
            if index == sound:
                packets.sound(packet)
                _hear(tape.sound, packet, packets, tick_seconds=ticks[index], zero_seconds=zero_seconds)
    except (av.FFmpegError, ValueError) as error:
        tape.error = getattr(error, "strerror", None) or str(error)
    except IndexError as error:  # how PyAV meets a packet of a stream that was not there at the start
        raise DecodeError("a stream that its beginning does not announce appears in the middle") from error
    tape.ends_seconds = {index: end * ticks[index] - zero_seconds for index, end in ends.items()}
    return tape


def _note_picture(tape: Tape, packet: av.Packet, *, stamp: int | None) -> None:
    is_shown = not packet.is_discard
    if stamp is None:
        tape.without_stamp += is_shown
        return
    decoded = packet.dts
    tape.before_decoding += decoded is not None and stamp < decoded
    if decoded is not None:
        tape.decoding_goes_back |= tape.last_decoding is not None and decoded < tape.last_decoding
        tape.last_decoding = decoded
    tape.stamps.append(stamp)
    tape.durations.append(packet.duration or 0)
    tape.is_key.append(packet.is_keyframe)
    tape.is_shown.append(is_shown)


def _hear(
    sound: SoundMeter, packet: av.Packet, packets: PacketTape, *, tick_seconds: float, zero_seconds: float
) -> None:
    try:
        frames = [interleaved(frame) for frame in packet.decode()]
    except (av.FFmpegError, ValueError):
        sound.errors += 1
        packets.damaged()
        return
    for frame in frames:
        samples = samples_of(frame)
        packets.heard(frame, samples, is_last=packet.size == 0)
        sound.add(
            samples,
            at_seconds=None if frame.pts is None else frame.pts * tick_seconds - zero_seconds,
            sample_rate_hz=frame.sample_rate,
            channels=frame.layout.nb_channels,
        )


def check_complete(
    container: InputContainer,
    tape: Tape,
    streams: tuple[av.VideoStream | None, av.AudioStream | None],
    *,
    zero_seconds: float,
) -> None:
    """Raise `DecodeError` ("truncated") for a file whose data ends before its header says."""
    held = max(tape.ends_seconds.values(), default=0.0)
    if tape.error:
        raise DecodeError(f"the file breaks off after {held:.2f} s: {tape.error}", reason="truncated")
    for stream in streams:
        if stream is not None and stream.duration is not None and stream.time_base is not None:
            declared = float((stream.start_time or 0) + stream.duration) * float(stream.time_base)
            _check_end(declared - zero_seconds, tape.ends_seconds.get(stream.index, 0.0), stream.type)
    # Without an index (MPEG-TS, MPEG-PS) the container's length is no claim of a header but a guess.
    if container.duration is not None and not container.format.flags & TS_DISCONT:
        declared = ((container.start_time or 0) + container.duration) / av.time_base
        _check_end(declared - zero_seconds, held, "file")


def _check_end(declared_seconds: float, held_seconds: float, what: str) -> None:
    missing = declared_seconds - held_seconds
    if missing > max(_HEADER_SLACK_SECONDS, _HEADER_SLACK_SHARE * declared_seconds):
        raise DecodeError(
            f"the header promises {declared_seconds:.2f} s ({what}), the data ends at {held_seconds:.2f} s",
            reason="truncated",
        )
