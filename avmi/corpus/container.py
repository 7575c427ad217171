"""A path → an open container, its best picture and sound streams and its clock, or why it has none."""

from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition

from avmi.corpus.file_kind import not_opened
from avmi.errors import DecodeError

TS_DISCONT = av.format.Flags.ts_discont.value  # timestamps may start anywhere: MPEG-TS, MPEG-PS
_MOST_PLANES = 7
# Demuxers of a subtitle or a drawing made of letters, which FFmpeg finds in text files.
_TEXT_FORMATS = {"ass", "lrc", "microdvd", "srt", "subviewer", "tty", "webvtt"}


def open_container(path: Path) -> InputContainer:
    """Open a media file for reading; raises `DecodeError` with the reason why it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise DecodeError(str(error.strerror or error), reason="unreadable") from error
    try:
        # Nothing that a file names may be fetched: a playlist called .mp4 must not reach the network.
        container: InputContainer = av.open(
            str(path.absolute()), metadata_errors="replace", container_options={"protocol_whitelist": "file"}
        )
    except (av.FFmpegError, ValueError) as error:
        raise not_opened(path, head, error) from error
    return container


def clock_zero_seconds(container: InputContainer) -> float:
    """Where the container's own timestamps have this package's zero (see `avmi.decode.clip`)."""
    if container.format.flags & TS_DISCONT and container.start_time is not None:
        return float(container.start_time / av.time_base)
    return 0.0


def best_streams(container: InputContainer) -> tuple[av.VideoStream, av.AudioStream]:
    """Choose the streams that decoding chooses (FFmpeg's best ones), or say what is missing."""
    name = container.format.name
    if name.endswith("_pipe") or name == "image2":
        raise DecodeError(f"a picture ({name}), not a video", reason="not_media")
    kinds = {stream.type for stream in container.streams}
    if name in _TEXT_FORMATS or not kinds & {"video", "audio"}:
        raise DecodeError(f"neither picture nor sound in it (read as {name})", reason="not_media")
    video, audio = container.streams.best("video"), container.streams.best("audio")
    if video is not None and video.disposition & Disposition.attached_pic:
        raise DecodeError("sound alone; its picture is a cover", reason="no_video")
    if "video" not in kinds:
        raise DecodeError("sound alone, no picture", reason="no_video")
    if "audio" not in kinds:
        raise DecodeError("it has no sound track", reason="no_audio")
    for stream, kind in ((video, "video"), (audio, "audio")):
        if stream is None or stream.codec_context is None:
            raise DecodeError(
                f"this build of FFmpeg has no decoder for its {kind} stream", reason=f"no_{kind}_decoder"
            )
        stream.codec_context.thread_count = 1  # files run side by side, one process each
    return video, audio


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
