"""Packets and decoded frames of one video → the numbers that the manifest keeps; no file is opened here."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32, Int64

from avmi.corpus.fingerprint import SoundListener, SoundMarks
from avmi.errors import DecodeError

FLOOR_DBFS = -120.0  # what silence is given in place of -inf: below the last bit of 16-bit sound (-96)
SILENT_PEAK = 10 ** (-60 / 20)  # a peak of -60 dBFS: hiss of an empty track stays below, any room is above
# Grey levels of 255 by which a cell may move in a picture that stands still. Measured: one picture shown
# for seconds in H.264 of crf 35 moves a cell mean by up to 2.2 (crf 23: 0.7), the calmest of 150 talking
# heads by 6.6.
STILL_LEVELS = 3.0
_FRAMES_AT_ONCE = 64
_CELLS = 16  # a picture is compared as 16 × 16 cell means


@dataclass(frozen=True)
class Timeline:
    """When the pictures of a stream come up, in seconds, in their order on the screen."""

    times_seconds: Float[np.ndarray, "pictures"]
    end_seconds: float  # when the last one goes off

    @property
    def first_seconds(self) -> float:
        """Time of the first picture."""
        return float(self.times_seconds[0])

    @property
    def last_seconds(self) -> float:
        """Time at which the last picture comes up."""
        return float(self.times_seconds[-1])

    @property
    def frame_rate(self) -> float:
        """Pictures per second between the first and the last; of a single picture, from how long it stands."""
        span = self.last_seconds - self.first_seconds
        if span > 0:
            return (len(self.times_seconds) - 1) / span
        return 1 / max(self.end_seconds - self.first_seconds, 1e-3)

    def is_variable(self, *, tick_seconds: float) -> bool:
        """Whether the distance between pictures varies by more than the rounding of the container's clock."""
        if len(self.times_seconds) < 3:
            return False
        steps = np.diff(self.times_seconds)
        usual = float(np.median(steps))
        return bool(np.abs(steps - usual).max() > max(2.01 * tick_seconds, 0.1 * usual))


def timeline(
    pts: Int64[np.ndarray, "packets"],
    durations: Int64[np.ndarray, "packets"],
    *,
    tick_seconds: float,
    zero_seconds: float,
) -> Timeline:
    """Order the timestamps of a stream's shown packets, given in ticks of its clock.

    How long the last picture stands is what its packet says; where that is a rounding tick (mkv and flv
    without a default duration say 1 ms) it is the usual distance between pictures.
    """
    order = np.argsort(pts, kind="stable")
    times = pts[order] * tick_seconds - zero_seconds
    steps = np.diff(times)
    steps = steps[steps > 0]
    usual = float(np.median(steps)) if len(steps) else 0.0
    says = float(durations[order[-1]]) * tick_seconds
    return Timeline(times, float(times[-1]) + (says if says > usual / 2 else usual))


@dataclass
class SoundMeter:
    """Adds up decoded sound: from when to when, how loud, how much."""

    sample_rate_hz: int = 0
    channels: int = 0
    start_seconds: float = 0.0
    end_seconds: float = 0.0
    samples: int = 0
    errors: int = 0
    _listener: SoundListener = field(default_factory=SoundListener)
    _peak: float = 0.0
    _square_sum: float = 0.0
    _waiting: list[np.ndarray] = field(default_factory=list)  # of one shape and kind
    _waiting_kind: tuple[int, np.dtype, int] | None = None  # planes, samples, channels

    def add(
        self, samples: np.ndarray, *, at_seconds: float | None, sample_rate_hz: int, channels: int
    ) -> None:
        """Take in one decoded frame, as (channels, n) or interleaved (1, n × channels)."""
        count = samples.size // channels
        if not count:
            return
        start = self.end_seconds if at_seconds is None else at_seconds
        if not self.samples:
            self.start_seconds, self.sample_rate_hz, self.channels = start, sample_rate_hz, channels
        self.end_seconds = start + count / sample_rate_hz
        self.samples += count
        kind = len(samples), samples.dtype, channels
        if kind != self._waiting_kind or len(self._waiting) >= _FRAMES_AT_ONCE:
            self._settle()
            self._waiting_kind = kind
        self._waiting.append(samples)

    def _settle(self) -> None:
        """Work off the frames that wait: many at once, because a frame alone is mostly overhead."""
        if not self._waiting or self._waiting_kind is None:
            return
        planes = np.concatenate(self._waiting, axis=1)
        channels = self._waiting_kind[2]
        self._waiting = []
        if len(planes) != channels:
            planes = planes.reshape(-1, channels).T
        mono = planes[0] if channels == 1 else planes.mean(axis=0, dtype=np.float64)
        mono = _as_float(mono, planes.dtype)
        self._peak = max(self._peak, float(mono.max()), -float(mono.min()))
        self._square_sum += float(np.dot(mono, mono))
        self._listener.add(mono, sample_rate_hz=self.sample_rate_hz)

    @property
    def peak(self) -> float:
        """Largest distance of the mono mix from zero; 1 is full scale."""
        self._settle()
        return self._peak

    @property
    def decoded_seconds(self) -> float:
        """How much sound came out, whatever its timestamps say."""
        return self.samples / self.sample_rate_hz if self.samples else 0.0

    @property
    def loudness_dbfs(self) -> float:
        """RMS of the mono mix; `FLOOR_DBFS` at least."""
        self._settle()
        power = self._square_sum / self.samples if self.samples else 0.0
        return max(FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else FLOOR_DBFS

    @property
    def marks(self) -> SoundMarks:
        """Fingerprint of the mono mix."""
        self._settle()
        return self._listener.marks()

    @property
    def is_silent(self) -> bool:
        """Whether the mono mix never rises above `SILENT_PEAK`."""
        return self.peak < SILENT_PEAK

    def check(self) -> None:
        """Raise `DecodeError` when the sound is not what its timestamps promise."""
        self._settle()
        if not math.isfinite(self._square_sum):
            raise DecodeError("the sound holds samples that are no numbers")
        span = self.end_seconds - self.start_seconds
        if self.decoded_seconds > span + 0.25:
            raise DecodeError(
                f"the sound's timestamps cover {span:.2f} s, but its samples last {self.decoded_seconds:.2f} s",
                reason="bad_timestamps",
            )
        if self.decoded_seconds < 0.9 * span:
            raise DecodeError(
                f"only {self.decoded_seconds:.2f} of {span:.2f} s of sound come out of the decoder"
                f" ({self.errors} damaged packets)",
            )


def _as_float(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Bring samples of any PCM format into [-1, 1]."""
    if dtype.kind == "f":
        return values
    if dtype.kind == "u":  # 8-bit sound is centred at 128
        return (values.astype(np.float64) - 128) / 128
    return values.astype(np.float64) / -float(np.iinfo(dtype).min)


def cells_of(grey: np.ndarray) -> Float[np.ndarray, "rows columns"]:
    """Average a grey picture into a grid of cells; a side shorter than the grid keeps its pixels."""
    # Sums of bytes are exact in single precision: a picture has at most 256 × 256 here, or few in a cell.
    of_rows, of_columns = (_membership(side) for side in grey.shape)
    sums = of_rows @ grey.astype(np.float32) @ of_columns.T
    sizes = np.outer(of_rows.sum(axis=1), of_columns.sum(axis=1))
    return np.asarray(sums.astype(np.float64) / sizes)


@lru_cache(maxsize=16)
def _membership(side_px: int) -> Float32[np.ndarray, "cells pixels"]:
    """Tell which pixels of a side belong to which cell, as ones."""
    size = max(1, math.ceil(side_px / _CELLS))
    starts = np.arange(0, side_px, size)[:, None]
    pixels = np.arange(side_px)
    return ((starts <= pixels) & (pixels < starts + size)).astype(np.float32)


def are_still(pictures: Sequence[Float[np.ndarray, "_ _"]]) -> bool:
    """Whether no cell of these pictures (cell means, see `cells_of`) moves by more than `STILL_LEVELS`."""
    if len(pictures) < 2 or any(p.shape != pictures[0].shape for p in pictures):
        return len(pictures) < 2
    stack = np.stack(pictures)
    return bool((stack.max(axis=0) - stack.min(axis=0)).max() <= STILL_LEVELS)
