"""Pairs of ticks → one mp4 file (H.264 and AAC) whose two streams start at 0 and end together.

A picture stands for two ticks, so 30 pictures a second, and the sound of the same two ticks lies
under it: the streams are cut from one clock and nothing has to be aligned afterwards.
"""

import json
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from data_prep.atari_play import SAMPLES_PER_TICK, SILENT_LEVEL, TICKS_PER_SECOND, Tick

TICKS_PER_PICTURE = 2
FRAME_RATE = TICKS_PER_SECOND // TICKS_PER_PICTURE
CONSOLE_RATE_HZ = TICKS_PER_SECOND * SAMPLES_PER_TICK  # 30,720 Hz: no rate that AAC knows
SAMPLE_RATE_HZ = 32_000  # the next one above, 25/24 of it: nothing of the sound is lost

# Below this the speaker of a television reproduces nothing; see `speaker_sound`.
HIGH_PASS_HZ = 20.0

# Measured on 12 s of three games on one core: veryfast takes 0.10–0.16 s and ultrafast 0.08 s, but
# makes files that are 2 to 2.6 times as large. Half a second between keyframes keeps seeks cheap;
# without B-frames the first picture is the first packet, at 0.
_X264 = {"preset": "veryfast", "crf": "23", "bf": "0", "threads": "1"}
_KEYFRAME_PICTURES = 15
_AAC_BITS_PER_SECOND = 64_000


def picture_of(ticks: tuple[Tick, Tick]) -> UInt8[np.ndarray, "height width 3"]:
    """Join two screens into one picture by their brighter pixels.

    The console draws only a few objects a screen, so games show many objects in alternate screens
    and rely on the afterglow of the tube; one screen of the two alone would lack half of them.
    """
    picture: UInt8[np.ndarray, "height width 3"] = np.maximum(ticks[0].screen, ticks[1].screen)
    return picture


def speaker_sound(samples: UInt8[np.ndarray, "samples"]) -> Float32[np.ndarray, "samples"]:
    """Turn the chip's samples into sound around zero, in [-1, 1], at CONSOLE_RATE_HZ.

    The chip's output only ever rises above its rest level, and a voice that is held without a tone
    is a constant: nobody hears it, but it would count as loud. A first-order high-pass at
    HIGH_PASS_HZ, as the capacitor before the speaker, takes the constant part away.
    """
    level = (samples.astype(np.float64) - SILENT_LEVEL) / SILENT_LEVEL
    pole = np.exp(-2 * np.pi * HIGH_PASS_HZ / CONSOLE_RATE_HZ)
    # A second of zeros behind the end: the filter's tail dies there instead of wrapping round.
    size = len(level) + CONSOLE_RATE_HZ
    delay = np.exp(-2j * np.pi * np.fft.rfftfreq(size))
    response = (1 + pole) / 2 * (1 - delay) / (1 - pole * delay)
    filtered = np.fft.irfft(np.fft.rfft(level, size) * response, size)[: len(level)]
    return np.clip(filtered, -1.0, 1.0).astype(np.float32)


class MovieWriter:
    """An mp4 file in the making; under a temporary name until `finish`, and gone without it."""

    def __init__(self, path: Path) -> None:
        import av

        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        self._container = av.open(str(self._temporary), "w", format="mp4", options={"movflags": "+faststart"})
        self._video: Any = None  # made with the first picture, which knows the size
        self._packets: list[Any] = []
        self._pictures = 0

    def add(self, picture: UInt8[np.ndarray, "height width 3"]) -> None:
        """Append a picture, padded with black to even sides as 4:2:0 needs them."""
        import av

        height, width = picture.shape[:2]
        padded = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)))
        if self._video is None:
            self._video = self._container.add_stream("libx264", rate=FRAME_RATE, options=_X264)
            self._video.height, self._video.width = padded.shape[:2]
            self._video.pix_fmt = "yuv420p"
            self._video.gop_size = _KEYFRAME_PICTURES
        frame = av.VideoFrame.from_ndarray(padded, format="rgb24")
        frame.pts, frame.time_base = self._pictures, Fraction(1, FRAME_RATE)
        self._packets += self._video.encode(frame)
        self._pictures += 1

    def finish(self, sound: Float32[np.ndarray, "samples"], *, comment: dict[str, Any]) -> None:
        """Add the whole sound, at CONSOLE_RATE_HZ and as long as the pictures, and name the file.

        `comment` is kept in the file, for `read_comment`.
        """
        self._packets += self._video.encode(None)
        self._packets += self._encoded_sound(sound)
        self._container.metadata["comment"] = json.dumps(comment)
        # In the order of time, so that a reader finds the sound beside its pictures.
        for packet in sorted(self._packets, key=lambda packet: packet.dts * packet.time_base):
            self._container.mux(packet)
        self._container.close()
        self._temporary.replace(self._path)

    def _encoded_sound(self, sound: Float32[np.ndarray, "samples"]) -> list[Any]:
        import av
        import soxr

        length = round(self._pictures * SAMPLE_RATE_HZ / FRAME_RATE)
        resampled = soxr.resample(sound, CONSOLE_RATE_HZ, SAMPLE_RATE_HZ)[:length]
        resampled = np.pad(resampled, (0, length - len(resampled)))  # one sample at most
        stream: Any = self._container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        stream.bit_rate = _AAC_BITS_PER_SECOND
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(resampled[None]), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, 0, Fraction(1, SAMPLE_RATE_HZ)
        return [*stream.encode(frame), *stream.encode(None)]

    def __enter__(self) -> "MovieWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._temporary.unlink(missing_ok=True)


def pairs_of(ticks: Iterator[Tick], *, pictures: int) -> Iterator[tuple[Tick, Tick]]:
    """Take the ticks of so many pictures, two by two."""
    for _ in range(pictures):
        yield next(ticks), next(ticks)


def read_comment(path: Path) -> dict[str, Any] | None:
    """Read what `MovieWriter.finish` was told about a file; None when the file is from elsewhere."""
    import av

    try:
        with av.open(str(path)) as container:
            comment = json.loads(container.metadata.get("comment", ""))
    except (OSError, ValueError):
        return None
    return comment if isinstance(comment, dict) else None
