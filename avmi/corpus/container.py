"""A path → an open container, its best picture and sound streams and its clock, or why it has none."""

from pathlib import Path
from typing import Any, TypeVar

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from jaxtyping import Shaped

from avmi.corpus.file_kind import not_opened
from avmi.corpus.members import ffmpeg_name, open_bytes
from avmi.errors import DecodeError
from avmi.types import Needs

TS_DISCONT = av.format.Flags.ts_discont.value  # timestamps may start anywhere: MPEG-TS, MPEG-PS
_MOST_PLANES = 7
_Stream = TypeVar("_Stream", av.VideoStream, av.AudioStream)
# Demuxers of a subtitle or a drawing made of letters, which FFmpeg finds in text files.
_TEXT_FORMATS = {"ass", "lrc", "microdvd", "srt", "subviewer", "tty", "webvtt"}


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading; raises `DecodeError` with the reason why it is none."""
    try:
        with open_bytes(path) as file:
            head = file.read(64)
        name, protocols = ffmpeg_name(path)
    except OSError as error:
        raise DecodeError(str(error.strerror or error), reason="unreadable") from error
    try:
        # Nothing that a file names may be fetched: a playlist called .mp4 must not reach the network.
        container: InputContainer = av.open(
            name, metadata_errors="replace", container_options={"protocol_whitelist": protocols}
        )
    except (av.FFmpegError, ValueError) as error:
        raise not_opened(path, head, error) from error
    return container


def clock_zero_seconds(container: InputContainer) -> float:
    """Where the container's own timestamps have this package's zero (see `avmi.decode.clip`)."""
    if container.format.flags & TS_DISCONT and container.start_time is not None:
        return float(container.start_time / av.time_base)
    return 0.0


def best_streams(
    container: InputContainer, *, needs: Needs = "both"
) -> tuple[av.VideoStream | None, av.AudioStream | None]:
    """Choose the streams that decoding chooses (FFmpeg's best ones), or say what is missing.

    None stands for a stream that is not needed and not there, or cannot be decoded.
    """
    name = container.format.name
    if name.endswith("_pipe") or name == "image2":
        raise DecodeError(f"a picture ({name}), not a video", reason="not_media")
    kinds = {stream.type for stream in container.streams}
    if name in _TEXT_FORMATS or not kinds & {"video", "audio"}:
        raise DecodeError(f"neither picture nor sound in it (read as {name})", reason="not_media")
    video, audio = container.streams.best("video"), container.streams.best("audio")
    if video is not None and video.disposition & Disposition.attached_pic:
        if needs != "sound":
            raise DecodeError("sound alone; its picture is a cover", reason="no_video")
        video = None
    if "video" not in kinds and needs != "sound":
        raise DecodeError("sound alone, no picture", reason="no_video")
    if "audio" not in kinds and needs != "picture":
        raise DecodeError("it has no sound track", reason="no_audio")
    return (
        _decodable(video, "video", is_needed=needs != "sound"),
        _decodable(audio, "audio", is_needed=needs != "picture"),
    )


def _decodable(stream: _Stream | None, kind: str, *, is_needed: bool) -> _Stream | None:
    if stream is not None and stream.codec_context is not None:
        stream.codec_context.thread_count = 1  # files run side by side, one process each
        return stream
    if is_needed:
        raise DecodeError(
            f"this build of FFmpeg has no decoder for its {kind} stream", reason=f"no_{kind}_decoder"
        )
    return None


def interleaved(frame: av.AudioFrame) -> av.AudioFrame:
    """Bring 7.1 sound and more into one plane.

    PyAV counts planes up to the first empty one of eight; where none is empty it reads on, and crashes.
    """
    if frame.layout.nb_channels <= _MOST_PLANES or not frame.format.is_planar:
        return frame
    pts = frame.pts
    packed = av.AudioResampler(format=frame.format.packed, layout=frame.layout).resample(frame)
    if len(packed) != 1:
        raise DecodeError(f"sound of {frame.layout.nb_channels} channels cannot be converted")
    packed[0].pts = pts
    return packed[0]


_SAMPLE_KINDS: dict[str, np.dtype[Any]] = {
    "fltp": np.dtype("f4"),
    "s16p": np.dtype("i2"),
    "s32p": np.dtype("i4"),
}


def samples_of(frame: av.AudioFrame) -> Shaped[np.ndarray, "_ _"]:
    """Give a frame's samples as (channels, n), or (1, n × channels) of packed ones, as `to_ndarray` does.

    Planar frames of few samples are most of what is decoded, and PyAV's own way takes twice as long for them. Mono
    is not even copied: the samples are the frame's own.
    """
    kind = _SAMPLE_KINDS.get(frame.format.name)
    if kind is None:
        return np.asarray(frame.to_ndarray())
    planes, count = frame.planes, frame.samples
    if len(planes) == 1:
        return np.frombuffer(planes[0], kind, count).reshape(1, count)
    samples: np.ndarray[Any, Any] = np.empty((len(planes), count), kind)
    for row, plane in enumerate(planes):
        samples[row] = np.frombuffer(plane, kind, count)
    return samples
