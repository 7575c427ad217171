"""A path → one open container with its best video and audio streams, on the clock of `clip.py`."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from avmi.corpus.members import ffmpeg_name
from avmi.errors import DecodeError

# AVFMT_TS_DISCONT of FFmpeg: timestamps of this format may start anywhere (MPEG-TS, MPEG-PS).
_TIMESTAMPS_START_ANYWHERE = 0x200
_CHUNK_HEADER_BYTES = 8  # of AVI's chunks: the index points at it, a packet begins behind it

# Decoders mend damage out of what they decoded before: after a seek that is another picture.
DAMAGE_IS_AN_ERROR = {"err_detect": "explode"}


class OpenedFile:
    """One container that pictures and sound share.

    Whoever moves it (seek, rewind, a new run of packets) takes the next `turn`; packets of an older
    turn must not be read any more, so a consumer remembers its turn and compares.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.turn = 0
        self._open()

    def _open(self) -> None:
        try:
            # Nothing that a file names is fetched.
            name, protocols = ffmpeg_name(self.path)
            self.container: InputContainer = av.open(
                name, metadata_errors="replace", container_options={"protocol_whitelist": protocols}
            )
        except (FFmpegError, UnicodeError, OSError) as error:
            raise DecodeError(f"{self.path} cannot be opened: {error}", reason="open_failed") from error
        video, audio = self.container.streams.best("video"), self.container.streams.best("audio")
        if video is not None and video.disposition & Disposition.attached_pic:
            video = None  # the cover of a song
        for stream in (video, audio):
            if stream is not None and stream.codec_context is not None:
                stream.codec_context.thread_count = 1  # loaders run one process per core already
        if video is not None and video.codec_context is not None:
            video.codec_context.options = DAMAGE_IS_AN_ERROR
        self.video = cast(VideoStream | None, video)
        self.audio = cast(AudioStream | None, audio)
        self.fresh = True  # nothing was read yet: decoding now is a plain decode from the start
        origin = 0.0
        if self.container.format.flags & _TIMESTAMPS_START_ANYWHERE:
            origin = (self.container.start_time or 0) / av.time_base
        self.origin_seconds = origin

    @property
    def format_name(self) -> str:
        """FFmpeg's first name of the container's format."""
        return str(self.container.format.name).split(",")[0]

    def rewind(self) -> None:
        """Make the file fresh: opened again, because not every demuxer comes back to its first state.

        Its streams are others then; those of before must not be used any more.
        """
        self.turn += 1
        if not self.fresh:
            self.container.close()
            self._open()

    def seek(self, stream: VideoStream | AudioStream, ticks: int) -> bool:
        """Move to a keyframe that the container thinks is at or before; False when it cannot seek."""
        self._check_is_open(stream)
        self.turn += 1
        self.fresh = False
        try:
            self.container.seek(ticks, backward=True, stream=stream)
        except FFmpegError:
            return False
        return True

    def packets(self, stream: VideoStream | AudioStream) -> Iterator[Any]:
        """Read the stream's packets from here on, and an empty one at the end; takes the next turn."""
        self._check_is_open(stream)
        self.turn += 1
        self.fresh = False
        return self._announced(stream)

    def _check_is_open(self, stream: VideoStream | AudioStream) -> None:
        # PyAV would read memory that the closed container has freed.
        if stream is not self.video and stream is not self.audio:
            raise ValueError(f"{self.path}: a stream of before the file was opened again")

    def _announced(self, stream: VideoStream | AudioStream) -> Iterator[Any]:
        # AVI stores no presentation times; what FFmpeg guesses for H.264 is a picture late.
        is_guessed = self.format_name == "avi" and stream is self.video
        try:
            for packet in self.container.demux(stream):
                if is_guessed:
                    packet.pts = packet.dts
                yield packet
        except IndexError as error:  # how PyAV meets a packet of a stream that was not there at the start
            raise DecodeError(
                f"{self.path}: a stream that its beginning does not announce appears in the middle",
                reason="damaged",
            ) from error

    def close(self) -> None:
        """Close the container."""
        self.container.close()


def chunks_are_indexed(file: OpenedFile) -> bool:
    """Tell whether an AVI's index says what its chunks are.

    The clock of AVI is the count of chunks: where one is lost, a seek by the index and a read from the start
    disagree about every later time. Raises `DecodeError` when the count goes back.
    """
    file.rewind()
    stream = file.video
    assert stream is not None
    index = [(entry.timestamp, entry.pos) for entry in stream.index_entries]
    try:
        chunks = [(packet.dts, packet.pos) for packet in file.packets(stream) if packet.size]
    except FFmpegError:
        return False
    if any(later <= earlier for (earlier, _), (later, _) in pairwise(chunks)):
        raise DecodeError(f"{file.path}: timestamps go back", reason="timestamps_not_ascending")
    return index == [(ticks, (place or 0) - _CHUNK_HEADER_BYTES) for ticks, place in chunks]
