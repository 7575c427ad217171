"""A path → exact pictures and sound through FFmpeg's libraries (PyAV): the default backend."""

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from jaxtyping import UInt8

from avmi.corpus.manifest import Video
from avmi.corpus.packet_file import PacketFile
from avmi.decode.clip import Frames, Waveform, WholeReader
from avmi.decode.opened import OpenedFile
from avmi.decode.packet_reader import PacketReader, open_file
from avmi.decode.pictures import PictureSource
from avmi.decode.rgb import upright_rgb
from avmi.decode.sound import SoundSource
from avmi.errors import DecodeError


class PyAvReader(WholeReader):
    """One video, opened with PyAV. Ask for sound before pictures: it saves opening the file again."""

    def __init__(self, path: Path, *, video: Video | None) -> None:
        self._file = OpenedFile(path)
        self._video = video
        self._pictures: PictureSource | None = None
        self._sound: SoundSource | None = None

    def frames(self, at_seconds: Sequence[float], *, short_side_px: int | None) -> Frames:
        """Pictures on the screen at these ascending times; see `Reader.frames`."""
        if list(at_seconds) != sorted(at_seconds):
            raise ValueError(f"times must ascend, got {list(at_seconds)}")
        if not at_seconds:
            return Frames(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0))
        source = self._source()
        end = self._video.video_end_seconds if self._video else None
        last = self._video.last_frame_seconds if self._video else None
        pixels: list[UInt8[np.ndarray, "height width 3"]] = []
        times: list[float] = []
        shown = None
        for seconds in at_seconds:
            picture = source.at(seconds, end_seconds=end, last_seconds=last)
            pixels.append(pixels[-1] if picture is shown else self._rgb(picture.frame, short_side_px))
            times.append(source.seconds_of(picture))
            shown = picture
        return self._joined(pixels, times)

    @property
    def tolerance_seconds(self) -> float:
        """How long before its timestamp a picture counts as on the screen."""
        return self._source().tolerance_seconds

    def every_frame(self, *, short_side_px: int | None) -> Frames:
        """All pictures in their order; see `WholeReader.every_frame`."""
        source = self._source()
        pictures = [
            (self._rgb(picture.frame, short_side_px), source.seconds_of(picture))
            for picture in source.every()
        ]
        return self._joined([pixels for pixels, _ in pictures], [seconds for _, seconds in pictures])

    def _source(self) -> PictureSource:
        if self._pictures is None:
            self._pictures = PictureSource(self._file)
        return self._pictures

    def _joined(self, pixels: list[UInt8[np.ndarray, "height width 3"]], times: list[float]) -> Frames:
        if len({picture.shape for picture in pixels}) > 1:
            raise DecodeError(
                f"{self._file.path}: pictures change their size between {times[0]:.3f} and {times[-1]:.3f} s",
                reason="size_changes",
            )
        return Frames(np.stack(pixels), np.array(times, dtype=np.float64))

    def _rgb(self, frame: VideoFrame, short_side_px: int | None) -> UInt8[np.ndarray, "height width 3"]:
        try:
            return upright_rgb(frame, short_side_px=short_side_px)
        except (FFmpegError, ValueError) as error:
            raise DecodeError(
                f"{self._file.path}: pictures of format {frame.format.name} cannot be converted: {error}",
                reason="pixel_format",
            ) from error

    def audio(self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int) -> Waveform:
        """Mono sound of this interval; see `Reader.audio`."""
        if self._sound is None:
            self._sound = SoundSource(self._file)
        samples = self._sound.between(start_seconds, end_seconds, sample_rate_hz=sample_rate_hz)
        return Waveform(samples, sample_rate_hz, start_seconds)

    def close(self) -> None:
        """Release the file and the decoders."""
        self._file.close()


class PyAvDecoder:
    """The default backend: exact for every file that FFmpeg reads, or `DecodeError`.

    With a corpus folder, files that `prepare` made a packet table of are read by it.
    """

    name: str = "pyav"

    def __init__(self, corpus: Path | None = None) -> None:
        self._tables = PacketFile(corpus) if corpus is not None else None

    def open(self, path: Path, *, video: Video | None) -> PyAvReader | PacketReader:
        """Open a file; raises `DecodeError` when FFmpeg cannot."""
        if self._tables is not None and video is not None and not video.index_reason:
            with contextlib.suppress(OSError):  # of which the container tells
                file, about = open_file(path)
                table = self._tables.find(video.content_hash, about)
                if table is not None:
                    container = partial(PyAvReader, path, video=video)
                    return PacketReader(file, table, video=video, open_container=container)
                file.close()
        return PyAvReader(path, video=video)
