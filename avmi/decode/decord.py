"""A path that `prepare` proved exact → pictures through decord, sound through PyAV.

decord gives wrong pictures for late starts, edit lists and more, hangs on MPEG-TS, and its sound is
1–24 ms off: hence the proof (`exactness.py`), the refusal of every other file, and PyAV for the sound.
It decodes ahead into memory (some 300 MB for 720p) until the reader is closed, and must be opened in
the process that uses it: a reader made before a fork hangs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from avmi.corpus.manifest import Video
from avmi.decode.clip import Frames
from avmi.decode.on_screen import LARGEST_ROUNDING_SECONDS, on_screen
from avmi.decode.scale import scale_pixels
from avmi.decode.sound_by_pyav import SoundByPyAv, first_line
from avmi.errors import DecodeError


def open_decord(path: Path) -> Any:
    """Open a file with one decoding thread; raises `DecodeError` when decord cannot."""
    import decord

    try:
        return decord.VideoReader(str(path.absolute()), ctx=decord.cpu(0), num_threads=1)
    except (decord.DECORDError, RuntimeError, AssertionError, UnicodeError) as error:
        raise DecodeError(f"decord cannot open {path}: {first_line(error)}", reason="open_failed") from error


def picture_intervals(reader: Any) -> Float64[np.ndarray, "frames 2"]:
    """When each of a decord reader's pictures comes and goes, in seconds."""
    return np.asarray(reader.get_frame_timestamp(range(len(reader))), dtype=np.float64)


class DecordReader(SoundByPyAv):
    """One video, opened with decord; nothing but exact files gets here."""

    _video: Video

    def __init__(self, path: Path, *, video: Video) -> None:
        super().__init__(path, video=video, reader=open_decord(path))
        self._intervals = picture_intervals(self._reader)

    def frames(self, at_seconds: Sequence[float], *, short_side_px: int | None) -> Frames:
        """Pictures on the screen at these ascending times; see `Reader.frames`."""
        if list(at_seconds) != sorted(at_seconds):
            raise ValueError(f"times must ascend, got {list(at_seconds)}")
        if not at_seconds:
            return Frames(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0))
        starts = self._intervals[:, 0]
        places = on_screen(
            starts,
            np.array(at_seconds, dtype=np.float64),
            tolerance_seconds=self._rounding_seconds(starts),
            end_seconds=self._video.video_end_seconds,
            where=str(self._path),
        )
        return Frames(self._pixels(places, short_side_px), starts[places])

    def _rounding_seconds(self, starts: Float64[np.ndarray, "frames"]) -> float:
        if self._video.container == "matroska":
            return LARGEST_ROUNDING_SECONDS
        # decord's times are single precision: that is all that is known of the others' ticks.
        return float(np.spacing(np.float32(starts[-1])))

    def _pixels(
        self, places: np.ndarray, short_side_px: int | None
    ) -> UInt8[np.ndarray, "frames height width 3"]:
        import decord

        try:
            pixels = self._reader.get_batch(places).asnumpy()
        except (decord.DECORDError, RuntimeError) as error:
            raise DecodeError(
                f"decord cannot read {self._path}: {first_line(error)}", reason="damaged"
            ) from error
        return scale_pixels(pixels, short_side_px=short_side_px)


class DecordDecoder:
    """decord, for the files of a manifest that are proved exact for it."""

    name: str = "decord"

    def open(self, path: Path, *, video: Video | None) -> DecordReader:
        """Open a file; raises `DecodeError` ("decord_inexact") unless the manifest says that it is exact."""
        if video is None:
            raise DecodeError(
                f"decord is not proved exact for {path}: run `avmi prepare` on it, or use the decoder pyav",
                reason="decord_inexact",
            )
        if not video.decord_exact:
            raise DecodeError(
                f"decord is not exact for {path} ({video.decord_reason}): use the decoder pyav",
                reason="decord_inexact",
            )
        return DecordReader(path, video=video)
