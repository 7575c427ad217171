"""Clip specs of one video → Clips: pictures with their times and a waveform with its rate, on one clock.

The clock is the container's presentation timestamps, in seconds. In containers whose timestamps may
start anywhere (MPEG-TS, MPEG-PS: FFmpeg's AVFMT_TS_DISCONT) zero is the earliest stream's start.
A picture "at t" is the one on the screen at t: the last whose timestamp is not after t.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from avmi.corpus.manifest import Video
from avmi.corpus.plan import ClipSpec
from avmi.errors import DecodeError


@dataclass(frozen=True)
class Frames:
    """Pictures, upright, with the timestamps at which they come up (not the times asked for)."""

    pixels: UInt8[np.ndarray, "frames height width 3"]
    times_seconds: Float64[np.ndarray, "frames"]


@dataclass(frozen=True)
class Waveform:
    """Mono sound in [-1, 1] with its rate; sample i is at start_seconds + i / sample_rate_hz."""

    samples: Float32[np.ndarray, "samples"]
    sample_rate_hz: int
    start_seconds: float

    @property
    def end_seconds(self) -> float:
        """Time at which the last sample has ended."""
        return self.start_seconds + len(self.samples) / self.sample_rate_hz

    def window(self, start_seconds: float, end_seconds: float) -> "Waveform":
        """Cut the samples between two times; raises `DecodeError` when they are not all there."""
        first = round((start_seconds - self.start_seconds) * self.sample_rate_hz)
        count = round((end_seconds - start_seconds) * self.sample_rate_hz)
        if first < 0 or first + count > len(self.samples):
            raise DecodeError(
                f"sound from {start_seconds:.3f} to {end_seconds:.3f} s is not within "
                f"{self.start_seconds:.3f} to {self.end_seconds:.3f} s",
                reason="audio_short",
            )
        return Waveform(self.samples[first : first + count], self.sample_rate_hz, start_seconds)


@dataclass(frozen=True)
class Clip:
    """An interval of one video: what its spec asked for, on one clock."""

    spec: ClipSpec
    frames: Frames  # one for each of spec.frame_seconds, in that order
    waveform: Waveform | None  # covers spec.audio_seconds


class Reader(Protocol):
    """One open video. Every method is exact or raises `DecodeError`; none pads, snaps or guesses."""

    def frames(self, at_seconds: Sequence[float], *, short_side_px: int | None) -> Frames:
        """Pictures on the screen at these ascending times; scaled so that the short side has that size."""
        ...

    def audio(self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int) -> Waveform:
        """Mono sound of this interval, resampled; within 1 ms of the clock."""
        ...

    def close(self) -> None:
        """Release the file and the decoder."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


class Decoder(Protocol):
    """A decoding backend: opens files."""

    name: str

    def open(self, path: Path, *, video: Video | None) -> Reader:
        """Open a file, about which the manifest says `video` (None: nothing is known).

        Raises `DecodeError` when the file cannot be opened, or when this backend is not exact for it.
        """
        ...
