"""Resampling of sound to 16 kHz: soxr in its qualities against torchaudio, cost beside measured quality.

Run: OMP_NUM_THREADS=1 python -m benchmarks.media.resampling [--json]

Quality is measured, not promised. Error: tones of the pass band (50 Hz to 7 kHz), the resampled tone against the
tone computed at the new rate, as a signal-to-noise ratio in dB; the worst one. Aliases: tones above 9 kHz, which
must not be heard; how far below the tone the loudest of them is. Rates and lengths are those of clips.
"""

import sys
from collections.abc import Callable

import numpy as np
import soxr
import torch
import torchaudio

from benchmarks.media.paired import Paired, paired, show

TARGET_HZ = 16000
OURS = "soxr HQ"
Resampler = Callable[[np.ndarray, int], np.ndarray]


def _soxr(quality: str) -> Resampler:
    return lambda wave, rate: soxr.resample(wave, rate, TARGET_HZ, quality=quality)


def _torchaudio(**settings: object) -> Resampler:
    kernels: dict[int, torchaudio.transforms.Resample] = {}  # made once for each rate, as a loader would

    def resampled(wave: np.ndarray, rate: int) -> np.ndarray:
        if rate not in kernels:
            kernels[rate] = torchaudio.transforms.Resample(rate, TARGET_HZ, **settings)
        return kernels[rate](torch.from_numpy(wave)).numpy()

    return resampled


# "kaiser best" and "fast" are the parameters that torchaudio's documentation gives for librosa's (resampy's) names.
WAYS: dict[str, Resampler] = {
    "soxr MQ": _soxr("MQ"),
    OURS: _soxr("HQ"),
    "soxr VHQ": _soxr("VHQ"),
    "torchaudio, as it comes": _torchaudio(),
    "torchaudio, kaiser fast": _torchaudio(
        lowpass_filter_width=16, rolloff=0.85, resampling_method="sinc_interp_kaiser", beta=8.555504641634386
    ),
    "torchaudio, kaiser best": _torchaudio(
        lowpass_filter_width=64, rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser", beta=14.769656459379492,
    ),
}  # fmt: skip


def _tone(hz: float, rate: int, seconds: float) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def error_db(way: Resampler, rate: int) -> float:
    """Signal-to-noise ratio of the worst tone of the pass band."""
    worst = np.inf
    for hz in np.geomspace(50, 7000, 25):
        found, truth = way(_tone(hz, rate, 1.0), rate)[1600:14400], _tone(hz, TARGET_HZ, 1.0)[1600:14400]
        worst = min(worst, float(10 * np.log10(np.mean(truth**2) / np.mean((found - truth) ** 2))))
    return worst


def alias_db(way: Resampler, rate: int) -> float:
    """How far below its tone the loudest alias is."""
    loudest = max(
        float(np.mean(way(_tone(hz, rate, 1.0), rate)[1600:14400] ** 2))
        for hz in np.linspace(9000, rate / 2 - 500, 25)
    )
    return float(10 * np.log10(0.125 / (loudest + 1e-20)))


def measure() -> list[Paired]:
    results = []
    draw = np.random.default_rng(0)
    for rate in (44100, 48000, 32000):
        for seconds, repeats in (
            (1.98, 40),
            (10.0, 10),
        ):  # a window with what its edges need, and a whole clip
            wave = (0.1 * draw.standard_normal(round(seconds * rate))).astype(np.float32)
            ways = {
                name: lambda way=way, wave=wave, rate=rate, n=repeats: [way(wave, rate) for _ in range(n)]
                for name, way in WAYS.items()
            }
            label = f"{repeats} × {seconds} s from {rate} Hz to {TARGET_HZ} Hz"
            results.append(paired(label, ways, ours=OURS))
    return results


def quality() -> None:
    print(
        "quality: worst signal-to-noise ratio of tones from 50 Hz to 7 kHz | loudest alias below its tone, in dB"
    )
    for rate in (44100, 48000):
        for name, way in WAYS.items():
            print(f"  {rate} Hz  {name:<28} {error_db(way, rate):6.1f} | {alias_db(way, rate):6.1f}")
    print()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if "--json" not in sys.argv[1:]:
        quality()
    show(measure())
