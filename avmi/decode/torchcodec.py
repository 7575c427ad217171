"""A path → pictures through torchcodec in its exact mode, sound through PyAV.

Measured on the truth files of the tests, torchcodec 0.17 is exact in mp4, mkv, webm, flv and wmv, and in AVI
without B-frames. In MPEG-TS and MPEG-PS its seeks land late (wrong pictures, or none), AVI has no presentation
timestamps to order B-frames by, and after a seek to a recovery point (intra refresh) it gives a later picture, or
half of one: such files are refused. The last picture of an open GOP it may refuse itself. It conceals damage without
a word: of damaged files it gives what libavcodec mends, where the default backend gives an error.

Its sound joins what comes after a gap without saying so, so the sound is PyAV's: checked, and the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import PictureType
from av.video.stream import VideoStream
from jaxtyping import Float64

from avmi.corpus.manifest import Video
from avmi.decode.clip import Frames
from avmi.decode.on_screen import on_screen, tolerance_ticks
from avmi.decode.opened import OpenedFile, chunks_are_indexed
from avmi.decode.scale import scale_pixels
from avmi.decode.sound_by_pyav import SoundByPyAv, first_line
from avmi.errors import ConfigError, DecodeError

# FFmpeg's first names of the containers.
_EXACT_CONTAINERS = {"mov", "avi", "matroska", "flv", "asf"}
_SAME_SECONDS = 1e-6


@dataclass(frozen=True)
class Stamps:
    """When a file's pictures come up, by its packets, and how coarse that clock is."""

    seconds: Float64[np.ndarray, "pictures"]
    tolerance_seconds: float


class TorchcodecReader(SoundByPyAv):
    """One video, opened with torchcodec; its pictures' timestamps were read when it was opened."""

    def __init__(self, path: Path, *, video: Video | None, stamps: Stamps) -> None:
        super().__init__(path, video=video, reader=_open(path))
        self._stamps = stamps
        if len(self._reader) != len(stamps.seconds):
            raise DecodeError(
                f"torchcodec counts {len(self._reader)} pictures in {path}, there are {len(stamps.seconds)}: "
                "use the decoder pyav",
                reason="torchcodec_inexact",
            )

    def frames(self, at_seconds: Sequence[float], *, short_side_px: int | None) -> Frames:
        """Pictures on the screen at these ascending times; see `Reader.frames`."""
        if list(at_seconds) != sorted(at_seconds):
            raise ValueError(f"times must ascend, got {list(at_seconds)}")
        if not at_seconds:
            return Frames(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0))
        end = self._video.video_end_seconds if self._video else self._reader.metadata.end_stream_seconds
        places = on_screen(
            self._stamps.seconds,
            np.array(at_seconds, dtype=np.float64),
            tolerance_seconds=self._stamps.tolerance_seconds,
            end_seconds=float(end),
            where=str(self._path),
        )
        expected = self._stamps.seconds[places]
        try:
            batch = self._reader.get_frames_at(places.tolist())
        except (RuntimeError, IndexError, ValueError) as error:
            raise self._fails(expected, first_line(error)) from error
        # Beside damage it may give the next picture, and at the end the one before.
        others = np.abs(batch.pts_seconds.numpy() - expected) > _SAME_SECONDS
        if others.any():
            raise self._fails(expected[others], f"that of {batch.pts_seconds[others][0]:.3f} s comes")
        return Frames(scale_pixels(batch.data.numpy(), short_side_px=short_side_px), expected)

    def _fails(self, wanted: Float64[np.ndarray, "pictures"], why: str) -> DecodeError:
        return DecodeError(
            f"torchcodec cannot give the pictures of {self._path} from {wanted[0]:.3f} to {wanted[-1]:.3f} s "
            f"({why}): use the decoder pyav",
            reason="torchcodec_inexact",
        )


class TorchcodecDecoder:
    """torchcodec, for files in which it is exact; raises `ConfigError` where it cannot be loaded."""

    name: str = "torchcodec"

    def __init__(self) -> None:
        _load()

    def open(self, path: Path, *, video: Video | None) -> TorchcodecReader:
        """Open a file; raises `DecodeError` ("torchcodec_inexact") where torchcodec is not exact."""
        file = OpenedFile(path)
        try:
            if reason := _reason_to_refuse(file):
                raise DecodeError(
                    f"torchcodec is not exact for {path} ({reason}): use the decoder pyav",
                    reason="torchcodec_inexact",
                )
            stamps = _stamps(file)
        finally:
            file.close()
        return TorchcodecReader(path, video=video, stamps=stamps)


def _stamps(file: OpenedFile) -> Stamps:
    """Read when the pictures come up; raises `DecodeError` when the file does not say so."""
    file.rewind()
    stream = file.video
    assert stream is not None  # or the file would have been refused
    tick = float(stream.time_base or 1)
    try:
        packets = [packet for packet in file.packets(stream) if packet.size and not packet.is_discard]
    except FFmpegError as error:
        raise DecodeError(f"{file.path} is damaged: {error}", reason="damaged") from error
    ticks = [packet.pts for packet in packets]
    if not ticks or None in ticks:
        raise DecodeError(f"{file.path}: the pictures have no timestamps", reason="no_timestamps")
    return Stamps(np.sort(np.array(ticks, dtype=np.float64)) * tick, tolerance_ticks(tick) * tick)


def _reason_to_refuse(file: OpenedFile) -> str:
    if file.video is None or file.video.codec_context is None:
        raise DecodeError(f"{file.path} has no video stream that can be decoded", reason="no_video")
    if file.format_name not in _EXACT_CONTAINERS:
        return f"its seeks in {file.format_name} files land late"
    if file.format_name == "avi" and file.video.codec_context.has_b_frames:
        return "AVI has no timestamps to order B-frames by"
    if file.format_name == "avi" and not chunks_are_indexed(file):
        return "the index of this AVI is damaged"
    return "" if _keyframes_stand_alone(file, file.video) else "intra refresh: keyframes that need others"


def _keyframes_stand_alone(file: OpenedFile, stream: VideoStream) -> bool:
    """Look at what a decoder gives first after a seek into the middle: the keyframe itself, or a later picture."""
    length_seconds = (file.container.duration or 0) / av.time_base
    middle = (stream.start_time or 0) + round(length_seconds / 2 / float(stream.time_base or 1))
    if not file.seek(stream, middle):
        return True
    key = None
    try:
        for packet in file.packets(stream):
            key = key or packet
            if (frame := next(iter(packet.decode()), None)) is not None:
                is_itself = key.pts is None or frame.pts == key.pts  # AVI has none
                return bool(key.is_discard or (is_itself and frame.pict_type == PictureType.I))
    except FFmpegError:
        return True  # damage is found when its picture is asked for
    return True


def _load() -> Any:
    """Import torchcodec's decoder, which looks for FFmpeg's shared libraries on the system."""
    try:
        from torchcodec.decoders import VideoDecoder
    except ImportError as error:
        raise ConfigError(
            "the decoder torchcodec is not installed: install avmi[torchcodec] and FFmpeg, or use the decoder pyav"
        ) from error
    except (RuntimeError, OSError) as error:
        raise ConfigError(
            "torchcodec finds no FFmpeg of a version that it knows: install FFmpeg with its shared libraries "
            "(Debian: apt-get install ffmpeg), or use the decoder pyav"
        ) from error
    return VideoDecoder


def _open(path: Path) -> Any:
    video_decoder = _load()
    try:
        # One thread: loaders run one process per core already. An absolute name cannot be taken for a URL.
        return video_decoder(
            str(path.absolute()),
            num_ffmpeg_threads=1,
            dimension_order="NHWC",
            seek_mode="exact",
            device="cpu",
        )
    except (RuntimeError, ValueError, AssertionError) as error:
        raise DecodeError(
            f"torchcodec cannot open {path}: {first_line(error)}", reason="open_failed"
        ) from error
