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

from avmi.corpus.container import best_streams, clock_zero_seconds, open_container
from avmi.corpus.file_kind import cut_off
from avmi.corpus.interval import NO_PICTURES, NO_SOUND, check_length
from avmi.corpus.look import Look, look
from avmi.corpus.measure import Timeline, timeline
from avmi.corpus.members import open_bytes
from avmi.corpus.packet_tape import PacketTape
from avmi.corpus.packets import PacketTable
from avmi.corpus.picture_runs import comes_by_order
from avmi.corpus.tape import Tape, check_complete, read_tape
from avmi.errors import DecodeError
from avmi.types import Needs


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
    # Decoded for the proof: sound by the number of its packet, pictures by theirs on the screen.
    kept_sound: dict[int, Shaped[np.ndarray, "..."]]
    kept_pictures: dict[int, av.VideoFrame]


@dataclass(frozen=True)
class _Pictures:
    """What the manifest says of the pictures, and their timestamps."""

    facts: dict[str, Any]
    times_seconds: tuple[float, ...]
    key_seconds: tuple[float, ...]
    shown_stamps: Int64[np.ndarray, "_"] | None = None  # in ticks, where they are not those of the packets
    kept: dict[int, av.VideoFrame] = field(default_factory=dict)


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
        tape = read_tape(container, video, audio, packets, zero_seconds=zero)
        check_complete(container, tape, (video, audio), zero_seconds=zero)
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
            tape.has_discarded,
            table,
            packets.reason,
            packets.kept,
            pictures.kept,
        )


def _sound_facts(audio: av.AudioStream | None, tape: Tape, *, is_needed: bool) -> dict[str, Any]:
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
    tape: Tape,
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
    tape: Tape,
    zero: float,
    *,
    needs: Needs,
    sound: dict[str, Any],
) -> _Pictures:
    tape.check_pictures()
    tick = float(video.time_base)
    pts, durations = tape.shown
    keyframes = tape.key_stamps
    pictures = timeline(pts, durations, tick_seconds=tick, zero_seconds=zero)
    _check_length(pictures, sound, needs=needs)
    seen = look(
        path,
        container,
        video,
        pts=np.sort(pts),
        keyframes=keyframes.tolist(),
        is_doubtful=_are_doubtful(container, video, tape),
    )
    if seen.shown is not None:
        pictures = timeline(*seen.shown, tick_seconds=tick, zero_seconds=zero)
        _check_length(pictures, sound, needs=needs)
    keys = np.intersect1d(keyframes, pts) * tick - zero
    return _Pictures(
        _picture_facts(video, pictures, seen),
        tuple(pictures.times_seconds.tolist()),
        tuple(keys.tolist()),
        None if seen.shown is None else seen.shown[0],
        seen.kept,
    )


def _picture_facts(video: av.VideoStream, pictures: Timeline, seen: Look) -> dict[str, Any]:
    return {
        "video_start_seconds": pictures.first_seconds,
        "video_end_seconds": pictures.end_seconds,
        "last_frame_seconds": pictures.last_seconds,
        "frame_rate": pictures.frame_rate,
        "is_variable_frame_rate": pictures.is_variable(tick_seconds=float(video.time_base)),
        "width_px": seen.width_px,
        "height_px": seen.height_px,
        "rotation_degrees": seen.rotation_degrees,
        "video_codec": video.codec_context.codec.canonical_name,
        "is_still": seen.is_still,
        "picture_hashes": seen.hashes,
    }


def _are_doubtful(container: InputContainer, video: av.VideoStream, tape: Tape) -> bool:
    """Whether the packets' timestamps need not be those of the pictures in their order."""
    if comes_by_order(container, video):
        # Every picture comes up at the time of a later packet: only even times are the same.
        return bool((np.diff(tape.stamps) != 1).any())
    return tape.may_go_back(has_b_frames=video.codec_context.has_b_frames)


def _check_length(pictures: Timeline | None, sound: dict[str, Any], *, needs: Needs) -> None:
    span = None if pictures is None else (pictures.first_seconds, pictures.end_seconds)
    heard = (sound["audio_start_seconds"], sound["audio_end_seconds"])
    video = {"video_start_seconds": span[0] if span else 0.0, "video_end_seconds": span[1] if span else 0.0}
    check_length(video | sound, span, heard, needs=needs)


def _hash(path: Path) -> tuple[str, int]:
    with open_bytes(path) as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32))
        return digest.hexdigest(), file.tell()
