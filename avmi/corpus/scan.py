"""One video file → what its packets and its decoded content say (`Facts`), or a `DecodeError` with its reason.

Nothing is taken from a header that the data can answer: starts, ends and rates come from the packets,
loudness and silence from all the sound, stillness from pictures spread over the whole length. The clock
is the container's, as `avmi.decode.clip` describes it. A header's claims serve one end only: to tell a
file that was cut off from one that is short.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from jaxtyping import Int64, Shaped

from avmi.corpus.container import (
    TS_DISCONT,
    best_streams,
    clock_zero_seconds,
    interleaved,
    open_container,
    samples_of,
)
from avmi.corpus.file_kind import cut_off
from avmi.corpus.interval import NO_PICTURES, NO_SOUND, check_length
from avmi.corpus.look import look
from avmi.corpus.measure import SoundMeter, Timeline, timeline
from avmi.corpus.members import open_bytes
from avmi.corpus.packet_tape import PacketTape
from avmi.corpus.packets import PacketTable
from avmi.errors import DecodeError
from avmi.types import Needs

# A header may round, or count a last picture that an edit list drops; a file that was cut off misses more.
_HEADER_SLACK_SECONDS = 0.5
_HEADER_SLACK_SHARE = 0.01


@dataclass(frozen=True)
class Facts:
    """What is measured of one usable file; fields are those of `avmi.corpus.manifest.Video`, and fingerprints.

    Of pictures or sound that are not there they are those of `avmi.corpus.interval`.
    """

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
    sound_marks: str  # fingerprints, see `avmi.corpus.fingerprint`; the manifest does not keep them
    picture_hashes: tuple[int | None, ...]


@dataclass(frozen=True)
class Scan:
    """The facts, and the pictures' timestamps on which they rest: for checks of other decoders."""

    facts: Facts
    times_seconds: tuple[float, ...]  # of the pictures shown, ascending
    key_seconds: tuple[float, ...]  # of the keyframes among them
    has_discarded: bool  # there are pictures to be decoded but not shown: an edit list
    packets: PacketTable | None  # not proved yet
    no_packets_reason: str
    kept_sound: dict[int, Shaped[np.ndarray, "..."]]  # decoded, by the number of its packet


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


@dataclass(frozen=True)
class _Pictures:
    """What the manifest says of the pictures, and their timestamps."""

    facts: dict[str, Any]
    times_seconds: tuple[float, ...]
    key_seconds: tuple[float, ...]
    shown_stamps: Int64[np.ndarray, "_"] | None = None  # in ticks, where they are not those of the packets


def scan(path: Path, *, needs: Needs = "both") -> Scan:
    """Measure a video file; what is not needed may be missing, or be left out because it cannot be decoded.

    Raises `DecodeError` whose reason is one of unreadable, not_media, no_video, no_audio,
    no_video_decoder, no_audio_decoder, truncated, bad_timestamps, too_short, decode_error.
    """
    with open_container(path) as container, PacketTape(path) as packets:
        if missing := cut_off(path, container=container.format.name):
            raise DecodeError(missing, reason="truncated")
        video, audio = best_streams(container, needs=needs)
        zero = clock_zero_seconds(container)
        tape = _read_packets(container, video, audio, packets, zero_seconds=zero)
        _check_complete(container, tape, (video, audio), zero_seconds=zero)
        sound = _sound_facts(audio, tape, is_needed=needs != "picture")
        pictures = _pictures(path, container, video, tape, zero, needs=needs, sound=sound)
        content_hash, size_bytes = _hash(path)
        facts = Facts(
            **pictures.facts,
            **sound,
            container=container.format.name.split(",")[0],
            content_hash=content_hash,
            size_bytes=size_bytes,
        )
        table = packets.table(
            facts.container,
            zero,
            video if pictures.times_seconds else None,
            audio if facts.sample_rate_hz else None,
            rotation=-facts.rotation_degrees,
            shown_stamps=pictures.shown_stamps,
        )
        return Scan(
            facts,
            pictures.times_seconds,
            pictures.key_seconds,
            tape.discarded > 0,
            table,
            packets.reason,
            packets.kept,
        )


def _sound_facts(audio: av.AudioStream | None, tape: _Tape, *, is_needed: bool) -> dict[str, Any]:
    """Say what the decoded sound is; of sound that is damaged but not needed, that there is none."""
    if audio is None:
        return NO_SOUND
    sound = tape.sound
    try:
        if audio.index not in tape.ends_seconds:
            raise DecodeError("its sound track is empty", reason="no_audio")
        if not sound.samples:
            raise DecodeError(f"no sound comes out of the decoder ({sound.errors} damaged packets)")
        sound.check()
    except DecodeError:
        if is_needed:
            raise
        return NO_SOUND
    # An encoder fills its last packet up; only what the container counts of it is sound.
    end = min(sound.end_seconds, tape.ends_seconds[audio.index])
    return {
        "audio_start_seconds": sound.start_seconds,
        "audio_end_seconds": end,
        "audio_codec": audio.codec_context.codec.canonical_name,
        "sample_rate_hz": sound.sample_rate_hz,
        "channels": sound.channels,
        "loudness_dbfs": round(sound.loudness_dbfs, 2),
        "is_silent": sound.is_silent,
        "sound_marks": sound.marks.as_text(),
    }


def _pictures(
    path: Path,
    container: InputContainer,
    video: av.VideoStream | None,
    tape: _Tape,
    zero_seconds: float,
    *,
    needs: Needs,
    sound: dict[str, Any],
) -> _Pictures:
    """Say what the pictures are; of pictures that are damaged but not needed, that there are none."""
    none = _Pictures(NO_PICTURES, (), ())
    if needs != "sound":
        assert video is not None  # or `best_streams` would have refused
        return _pictures_of(path, container, video, tape, zero_seconds, needs=needs, sound=sound)
    _check_length(None, sound, needs=needs)
    if video is None:
        return none
    try:
        return _pictures_of(path, container, video, tape, zero_seconds, needs=needs, sound=sound)
    except DecodeError:
        return none


def _pictures_of(
    path: Path,
    container: InputContainer,
    video: av.VideoStream,
    tape: _Tape,
    zero: float,
    *,
    needs: Needs,
    sound: dict[str, Any],
) -> _Pictures:
    _check_pictures(tape)
    tick = float(video.time_base)
    pts, durations = np.array(tape.pts), np.array(tape.durations)
    pictures = timeline(pts, durations, tick_seconds=tick, zero_seconds=zero)
    _check_length(pictures, sound, needs=needs)
    seen = look(path, container, video, pts=np.sort(pts), keyframes=tape.keyframes)
    if seen.shown is not None:
        pictures = timeline(*seen.shown, tick_seconds=tick, zero_seconds=zero)
        _check_length(pictures, sound, needs=needs)
    facts = {
        "video_start_seconds": pictures.first_seconds,
        "video_end_seconds": pictures.end_seconds,
        "last_frame_seconds": pictures.last_seconds,
        "frame_rate": pictures.frame_rate,
        "is_variable_frame_rate": pictures.is_variable(tick_seconds=tick),
        "width_px": seen.width_px,
        "height_px": seen.height_px,
        "rotation_degrees": seen.rotation_degrees,
        "video_codec": video.codec_context.codec.canonical_name,
        "is_still": seen.is_still,
        "picture_hashes": seen.hashes,
    }
    keys = np.intersect1d(tape.keyframes, pts) * tick - zero
    shown = None if seen.shown is None else seen.shown[0]
    return _Pictures(facts, tuple(pictures.times_seconds.tolist()), tuple(keys.tolist()), shown)


def _read_packets(
    container: InputContainer,
    video: av.VideoStream | None,
    audio: av.AudioStream | None,
    packets: PacketTape,
    *,
    zero_seconds: float,
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
                if video is not None and index == video.index:
                    stamp = packet.pts if has_pts else packet.dts
                    _note_picture(tape, packet, stamp=stamp)
                    packets.picture(packet, stamp=stamp)
            if audio is not None and index == audio.index:
                packets.sound(packet)
                _hear(tape.sound, packet, packets, tick_seconds=ticks[index], zero_seconds=zero_seconds)
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


def _check_complete(
    container: InputContainer,
    tape: _Tape,
    streams: tuple[av.VideoStream | None, av.AudioStream | None],
    *,
    zero_seconds: float,
) -> None:
    """Refuse a file whose data ends before its header says."""
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


def _check_pictures(tape: _Tape) -> None:
    """Refuse a stream without pictures, or whose pictures have no place in time."""
    if not tape.pts and not tape.without_pts:
        raise DecodeError("its picture stream holds no picture", reason="no_video")
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


def _check_length(pictures: Timeline | None, sound: dict[str, Any], *, needs: Needs) -> None:
    span = None if pictures is None else (pictures.first_seconds, pictures.end_seconds)
    heard = (sound["audio_start_seconds"], sound["audio_end_seconds"])
    video = {"video_start_seconds": span[0] if span else 0.0, "video_end_seconds": span[1] if span else 0.0}
    check_length(video | sound, span, heard, needs=needs)


def _hash(path: Path) -> tuple[str, int]:
    with open_bytes(path) as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
        return digest.hexdigest(), file.tell()
