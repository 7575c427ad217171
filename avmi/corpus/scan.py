"""One video file → what its packets and its decoded content say (`Facts`), or a `DecodeError` with its reason.

Nothing is taken from a header that the data can answer: starts, ends and rates come from the packets,
loudness and silence from all the sound, stillness from pictures spread over the whole length. The clock
is the container's, as `avmi.decode.clip` describes it. A header's claims serve one end only: to tell a
file that was cut off from one that is short.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from avmi.corpus.container import (
    TS_DISCONT,
    best_streams,
    clock_zero_seconds,
    interleaved,
    open_container,
)
from avmi.corpus.file_kind import cut_off
from avmi.corpus.look import Look, look
from avmi.corpus.measure import SoundMeter, Timeline, timeline
from avmi.errors import DecodeError

SHORTEST_SECONDS = 0.5  # of picture and sound together; below it no view of this package fits
# A header may round, or count a last picture that an edit list drops; a file that was cut off misses more.
_HEADER_SLACK_SECONDS = 0.5
_HEADER_SLACK_SHARE = 0.01


@dataclass(frozen=True)
class Facts:
    """What is measured of one usable file; the fields are those of `avmi.corpus.manifest.Video`."""

    video_start_seconds: float
    video_end_seconds: float
    last_frame_seconds: float
    audio_start_seconds: float
    audio_end_seconds: float
    frame_rate: float
    is_variable_frame_rate: bool
    width_px: int
    height_px: int
    rotation_degrees: int
    container: str
    video_codec: str
    audio_codec: str
    sample_rate_hz: int
    channels: int
    loudness_dbfs: float
    is_silent: bool
    is_still: bool
    content_hash: str
    size_bytes: int


@dataclass(frozen=True)
class Scan:
    """The facts, and the pictures' timestamps on which they rest: for checks of other decoders."""

    facts: Facts
    times_seconds: tuple[float, ...]  # of the pictures shown, ascending
    key_seconds: tuple[float, ...]  # of the keyframes among them
    has_discarded: bool  # there are pictures to be decoded but not shown: an edit list


@dataclass
class _Tape:
    """What one pass over all packets leaves: the pictures' timestamps, the sound, where streams end."""

    pts: list[int] = field(default_factory=list)  # of the pictures that are shown, in ticks
    durations: list[int] = field(default_factory=list)
    keyframes: list[int] = field(default_factory=list)  # shown or not
    without_pts: int = 0
    discarded: int = 0
    sound: SoundMeter = field(default_factory=SoundMeter)
    ends_seconds: dict[int, float] = field(default_factory=dict)  # by stream
    error: str = ""


def scan(path: Path) -> Scan:
    """Measure a video file.

    Raises `DecodeError` whose reason is one of unreadable, not_media, no_video, no_audio,
    no_video_decoder, no_audio_decoder, truncated, bad_timestamps, too_short, decode_error.
    """
    with open_container(path) as container:
        if missing := cut_off(path, container=container.format.name):
            raise DecodeError(missing, reason="truncated")
        video, audio = best_streams(container)
        zero = clock_zero_seconds(container)
        tape = _read_packets(container, video, audio, zero_seconds=zero)
        _check_complete(container, tape, (video, audio), zero_seconds=zero)
        sound = tape.sound
        sound.check()
        # An encoder fills its last packet up; only what the container counts of it is sound.
        audio_end = min(sound.end_seconds, tape.ends_seconds[audio.index])
        tick = float(video.time_base)
        pts, durations = np.array(tape.pts), np.array(tape.durations)
        pictures = timeline(pts, durations, tick_seconds=tick, zero_seconds=zero)
        _check_length(pictures, sound, audio_end)
        seen = look(path, container, video, pts=np.sort(pts), keyframes=tape.keyframes)
        if seen.shown is not None:
            pictures = timeline(*seen.shown, tick_seconds=tick, zero_seconds=zero)
            _check_length(pictures, sound, audio_end)
        facts = _facts(path, container, (video, audio), pictures, sound, audio_end, seen)
        keys = np.intersect1d(tape.keyframes, pts) * tick - zero
        return Scan(facts, tuple(pictures.times_seconds.tolist()), tuple(keys.tolist()), tape.discarded > 0)


def _facts(
    path: Path,
    container: InputContainer,
    streams: tuple[av.VideoStream, av.AudioStream],
    pictures: Timeline,
    sound: SoundMeter,
    audio_end_seconds: float,
    seen: Look,
) -> Facts:
    video, audio = streams
    content_hash, size_bytes = _hash(path)
    return Facts(
        video_start_seconds=pictures.first_seconds,
        video_end_seconds=pictures.end_seconds,
        last_frame_seconds=pictures.last_seconds,
        audio_start_seconds=sound.start_seconds,
        audio_end_seconds=audio_end_seconds,
        frame_rate=pictures.frame_rate,
        is_variable_frame_rate=pictures.is_variable(tick_seconds=float(video.time_base)),
        width_px=seen.width_px,
        height_px=seen.height_px,
        rotation_degrees=seen.rotation_degrees,
        container=container.format.name.split(",")[0],
        video_codec=video.codec_context.codec.canonical_name,
        audio_codec=audio.codec_context.codec.canonical_name,
        sample_rate_hz=sound.sample_rate_hz,
        channels=sound.channels,
        loudness_dbfs=round(sound.loudness_dbfs, 2),
        is_silent=sound.is_silent,
        is_still=seen.is_still,
        content_hash=content_hash,
        size_bytes=size_bytes,
    )


def _read_packets(
    container: InputContainer, video: av.VideoStream, audio: av.AudioStream, *, zero_seconds: float
) -> _Tape:
    """Go through all packets once, decoding the sound on the way."""
    tape = _Tape()
    # AVI stores no presentation times; what FFmpeg guesses for B-frames is a picture late and out of order.
    has_pts = container.format.name != "avi"
    # Asking a stream or frame for its own clock each time would make fractions half of the work.
    ticks = {s.index: float(s.time_base) for s in container.streams if s.time_base is not None}
    try:
        for packet in container.demux():
            index = packet.stream_index
            if packet.size and index in ticks:
                stamp = packet.dts if packet.pts is None else packet.pts
                if stamp is not None and not packet.is_discard:
                    end = (stamp + (packet.duration or 0)) * ticks[index] - zero_seconds
                    tape.ends_seconds[index] = max(end, tape.ends_seconds.get(index, end))
                if index == video.index:
                    _note_picture(tape, packet, stamp=packet.pts if has_pts else packet.dts)
            if index == audio.index:
                _hear(tape.sound, packet, tick_seconds=ticks[index], zero_seconds=zero_seconds)
    except (av.FFmpegError, ValueError) as error:
        tape.error = getattr(error, "strerror", None) or str(error)
    except IndexError as error:  # how PyAV meets a packet of a stream that was not there at the start
        raise DecodeError("a stream that its beginning does not announce appears in the middle") from error
    return tape


def _note_picture(tape: _Tape, packet: av.Packet, *, stamp: int | None) -> None:
    tape.discarded += packet.is_discard
    if stamp is None:
        tape.without_pts += not packet.is_discard
        return
    if packet.is_keyframe:
        tape.keyframes.append(stamp)
    if not packet.is_discard:
        tape.pts.append(stamp)
        tape.durations.append(packet.duration or 0)


def _hear(sound: SoundMeter, packet: av.Packet, *, tick_seconds: float, zero_seconds: float) -> None:
    try:
        frames = [interleaved(frame) for frame in packet.decode()]
    except (av.FFmpegError, ValueError):
        sound.errors += 1
        return
    for frame in frames:
        sound.add(
            frame.to_ndarray(),
            at_seconds=None if frame.pts is None else frame.pts * tick_seconds - zero_seconds,
            sample_rate_hz=frame.sample_rate,
            channels=frame.layout.nb_channels,
        )


def _check_complete(
    container: InputContainer,
    tape: _Tape,
    streams: tuple[av.VideoStream, av.AudioStream],
    *,
    zero_seconds: float,
) -> None:
    """Refuse a file whose data ends before its header says, and streams with nothing in them."""
    held = max(tape.ends_seconds.values(), default=0.0)
    if tape.error:
        raise DecodeError(f"the file breaks off after {held:.2f} s: {tape.error}", reason="truncated")
    for stream in streams:
        if stream.duration is not None and stream.time_base is not None:
            declared = float((stream.start_time or 0) + stream.duration) * float(stream.time_base)
            _check_end(declared - zero_seconds, tape.ends_seconds.get(stream.index, 0.0), stream.type)
    # Without an index (MPEG-TS, MPEG-PS) the container's length is no claim of a header but a guess.
    if container.duration is not None and not container.format.flags & TS_DISCONT:
        declared = ((container.start_time or 0) + container.duration) / av.time_base
        _check_end(declared - zero_seconds, held, "file")
    if not tape.pts and not tape.without_pts:
        raise DecodeError("its picture stream holds no picture", reason="no_video")
    if streams[1].index not in tape.ends_seconds:
        raise DecodeError("its sound track is empty", reason="no_audio")
    if not tape.sound.samples:
        raise DecodeError(f"no sound comes out of the decoder ({tape.sound.errors} damaged packets)")
    if tape.without_pts > 0.05 * (len(tape.pts) + tape.without_pts):
        raise DecodeError(
            f"{tape.without_pts} of {len(tape.pts) + tape.without_pts} pictures carry no timestamp",
            reason="bad_timestamps",
        )


def _check_end(declared_seconds: float, held_seconds: float, what: str) -> None:
    missing = declared_seconds - held_seconds
    if missing > max(_HEADER_SLACK_SECONDS, _HEADER_SLACK_SHARE * declared_seconds):
        raise DecodeError(
            f"the header promises {declared_seconds:.2f} s ({what}), the data ends at {held_seconds:.2f} s",
            reason="truncated",
        )


def _check_length(pictures: Timeline, sound: SoundMeter, audio_end_seconds: float) -> None:
    start = max(pictures.first_seconds, sound.start_seconds)
    both = min(pictures.end_seconds, audio_end_seconds) - start
    if both < SHORTEST_SECONDS:
        raise DecodeError(
            f"picture and sound share {max(both, 0.0):.2f} s, less than {SHORTEST_SECONDS} s: "
            f"pictures from {pictures.first_seconds:.2f} to {pictures.end_seconds:.2f} s, "
            f"sound from {sound.start_seconds:.2f} to {audio_end_seconds:.2f} s",
            reason="too_short",
        )


def _hash(path: Path) -> tuple[str, int]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
        return digest.hexdigest(), file.tell()
