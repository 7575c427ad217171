"""The timestamps of pictures and times → which picture is on the screen at each; one rule for every backend."""

import numpy as np
from jaxtyping import Float64, Int64

from avmi.errors import DecodeError

# mkv and flv round timestamps to milliseconds: a picture may claim to come up half of one later than it
# does. Coarser ticks (AVI's: one a picture) are not rounded.
LARGEST_ROUNDING_SECONDS = 0.5e-3
EXACT_SECONDS = 1e-6


def tolerance_ticks(tick_seconds: float) -> float:
    """How many ticks before its timestamp a picture counts as on the screen."""
    coarse = tick_seconds > 2.1 * LARGEST_ROUNDING_SECONDS
    return EXACT_SECONDS / tick_seconds if coarse else 0.5


def last_come(
    stamps_seconds: Float64[np.ndarray, "pictures"],
    at_seconds: Float64[np.ndarray, "times"],
    *,
    tolerance_seconds: float,
) -> Int64[np.ndarray, "times"]:
    """Find the number of the last picture that had come up by each time; -1 before the first. Stamps ascend."""
    return np.searchsorted(stamps_seconds, at_seconds + tolerance_seconds, side="right") - 1


def on_screen(
    stamps_seconds: Float64[np.ndarray, "pictures"],
    at_seconds: Float64[np.ndarray, "times"],
    *,
    tolerance_seconds: float,
    end_seconds: float,
    where: str,
) -> Int64[np.ndarray, "times"]:
    """Find the number of the picture on the screen at each of ascending times.

    `end_seconds` is when the last picture goes, `where` the video's name in errors. Raises `DecodeError`
    ("before_start", "past_end").
    """
    places = last_come(stamps_seconds, at_seconds, tolerance_seconds=tolerance_seconds)
    if places[0] < 0:
        raise DecodeError(
            f"{where}: no picture at {at_seconds[0]:.3f} s, the first comes at {stamps_seconds[0]:.3f} s",
            reason="before_start",
        )
    if at_seconds[-1] >= end_seconds:
        raise DecodeError(
            f"{where}: no picture at {at_seconds[-1]:.3f} s, the last goes at {end_seconds:.3f} s",
            reason="past_end",
        )
    return places
