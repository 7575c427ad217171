"""A waveform of a user (array or tensor, any rate, any channels) → mono samples at the encoders' rate."""

import numpy as np
import soxr
from jaxtyping import Float32
from torch import Tensor

from avmi.errors import InputError

# Decoders overshoot 1 a little; what is far beyond was never scaled to [-1, 1].
LOUDEST = 4.0


def read_waveform(
    sound: np.ndarray | Tensor, *, sample_rate_hz: int, target_rate_hz: int
) -> Float32[np.ndarray, "samples"]:
    """Mix a sound in [-1, 1], `samples` or `channels samples`, down to mono and resample it.

    Raises `InputError` for other shapes, for integers, for what is far beyond 1, and for no numbers.
    """
    given = sound.detach().cpu().numpy() if isinstance(sound, Tensor) else np.asarray(sound)
    if given.ndim not in (1, 2) or not given.size or (given.ndim == 2 and len(given) > given.shape[1]):
        raise InputError(f"a sound must be (samples,) or (channels, samples), got the shape {given.shape}")
    if given.dtype.kind != "f":
        raise InputError(f"a sound must be floats in [-1, 1], got {given.dtype}: divide by its full scale")
    if sample_rate_hz <= 0:
        raise InputError(f"the sample rate of a sound must be above 0 Hz, got {sample_rate_hz}")
    mono = np.asarray(given.mean(axis=0) if given.ndim == 2 else given, dtype=np.float32)
    if not np.abs(mono).max() <= LOUDEST:  # true for nan, too
        raise InputError(f"a sound must lie in [-1, 1], got {np.abs(mono).max():g}: divide by its full scale")
    if sample_rate_hz == target_rate_hz:
        return mono
    return np.asarray(soxr.resample(mono, sample_rate_hz, target_rate_hz, quality="HQ"), dtype=np.float32)
