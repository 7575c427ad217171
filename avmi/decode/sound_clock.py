"""Timestamps and lengths of decoded blocks of sound and an interval → the place of its first sample among theirs.

Blocks are joined by counting samples, and the count is held against the timestamps: their rolling median tells a
real gap from the jitter of single timestamps.
"""

import math

import numpy as np
from jaxtyping import Float64, Int64, Shaped

from avmi.corpus.plan import EDGE_SECONDS
from avmi.errors import DecodeError

# Half width, in blocks, of the rolling median over the timestamps.
_MEDIAN_BLOCKS = 10
_LARGEST_STEP_SECONDS = 1e-3
# Stamps that agree so well with the count are exact: what is left is the rounding of 64-bit seconds.
_SAME_SECONDS = 1e-9


def place_of_start(
    stamps: Float64[np.ndarray, "blocks"],
    lengths: Int64[np.ndarray, "blocks"],
    start_seconds: float,
    end_seconds: float,
    *,
    source_hz: int,
    tick_seconds: float,
) -> int:
    """Place of the interval's first sample among the blocks'; -n when n samples before them are missing.

    `stamps` are in seconds. Raises `DecodeError` as `cut_sound` does.
    """
    interval = f"{start_seconds:.3f} to {end_seconds:.3f} s"
    counted = np.concatenate([[0], np.cumsum(lengths)]) / source_hz
    if np.isnan(stamps).all():
        raise DecodeError("the sound has no timestamps", reason="no_timestamps")
    late = stamps - counted[:-1]
    inside = (stamps < end_seconds) & (stamps + lengths / source_hz > start_seconds)
    zero_seconds = _clock_of_first_sample(late, inside, tick_seconds, interval)
    # By the count other blocks may lie inside than by their stamps: after a gap at the edge.
    by_count = (zero_seconds + counted[:-1] < end_seconds) & (zero_seconds + counted[1:] > start_seconds)
    if (by_count & ~inside).any():
        zero_seconds = _clock_of_first_sample(late, inside | by_count, tick_seconds, interval)
    first = round((start_seconds - zero_seconds) * source_hz)
    length = math.ceil((end_seconds - start_seconds) * source_hz)
    allowed = math.ceil(EDGE_SECONDS * source_hz) + 1
    if first < -allowed or first + length > lengths.sum() + allowed:
        raise DecodeError(
            f"the sound from {interval} is not all there: it goes from {zero_seconds:.3f} to "
            f"{zero_seconds + counted[-1]:.3f} s",
            reason="audio_short",
        )
    return first


def _clock_of_first_sample(
    late: Float64[np.ndarray, "blocks"],
    inside: Shaped[np.ndarray, "blocks"],
    tick_seconds: float,
    interval: str,
) -> float:
    """Time of sample zero by the timestamps of the blocks inside the interval.

    `late` is, for each block, its timestamp less the samples counted before it: constant where
    nothing is missing. A step of it inside the interval is a gap (or a clock that runs away).
    """
    late = late[~np.isnan(late)] if np.isnan(late).any() else late
    if len(late) != len(inside) or not inside.any():
        raise DecodeError(f"there is no sound from {interval}", reason="audio_short")
    allowed = max(_LARGEST_STEP_SECONDS, 1.5 * tick_seconds)
    earliest, latest = float(late.min()), float(late.max())
    if latest - earliest <= _SAME_SECONDS:
        return (earliest + latest) / 2
    # Mirrored at its ends: one early stamp at the end of the stream is no majority.
    padded = np.pad(late, _MEDIAN_BLOCKS, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _MEDIAN_BLOCKS + 1)
    smooth = np.median(windows, axis=1)
    jitter = float(np.median(np.abs(late - smooth)[inside]))
    step = float(np.ptp(smooth[inside]))
    if step > allowed + 2 * jitter:
        raise _gap(interval, step)
    # So close to an end the median cannot see a step; where no stamp jitters, a deviation there is one.
    deviates = np.abs(late - smooth) > allowed
    at_end = np.ones(len(late), dtype=bool)
    at_end[_MEDIAN_BLOCKS:-_MEDIAN_BLOCKS] = False
    if (deviates & inside & at_end).any() and not (deviates & ~at_end).any():
        raise _gap(interval, float(np.abs(late - smooth)[inside & at_end].max()))
    return float(np.median(smooth[inside]))


def _gap(interval: str, step_seconds: float) -> DecodeError:
    return DecodeError(
        f"the sound from {interval} has a gap: its timestamps step by {step_seconds * 1000:.1f} ms",
        reason="audio_gap",
    )
