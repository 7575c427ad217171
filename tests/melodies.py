"""A seed → a sound that is as unlike that of another seed as music is."""

import numpy as np

from avmi.corpus.fingerprint import RATE_HZ


def melody(seconds: float, *, seed: int, rate_hz: int = RATE_HZ) -> np.ndarray:
    """Plucked tones at random times over a little noise: as unlike from seed to seed as music is."""
    rng = np.random.default_rng(seed)
    count = round(seconds * rate_hz)
    sound = rng.normal(0, 0.002, count)
    for _ in range(round(6 * seconds)):
        start, length = rng.integers(0, count - 1), round(0.4 * rate_hz)
        t = np.arange(min(length, count - start)) / rate_hz
        sound[start : start + len(t)] += 0.2 * np.exp(-8 * t) * np.sin(2 * np.pi * rng.uniform(200, 2500) * t)
    return sound.astype(np.float32)
