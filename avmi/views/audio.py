"""Waveform windows of a clip → audio views: log-mel spectrograms."""

import math

import numpy as np
import torch
import torchaudio
from jaxtyping import Float, Float32
from torch import Tensor

from avmi.config.parts import LogMel
from avmi.views.mel_power import make_plan, mel_power


def fft_samples(settings: LogMel) -> int:
    """Length of the FFT: a power of two, at least twice the window, and long enough for the mel bank.

    Its bins are closer together than the lowest mel filter is wide, so that no filter falls between two.
    """
    least = max(2 * settings.stft_window_samples, settings.sample_rate_hz / _lowest_filter_hz(settings))
    return int(2 ** math.ceil(math.log2(least)))


def time_bins(window_seconds: float, settings: LogMel) -> int:
    """Time bins of a window: those whose STFT window lies wholly inside it; no sound is made up."""
    samples = round(window_seconds * settings.sample_rate_hz)
    return 1 + (samples - settings.stft_window_samples) // settings.stft_hop_samples


def _lowest_filter_hz(settings: LogMel) -> float:
    """Width of the narrowest triangle of the mel bank, from foot to foot (HTK: 2595·log10(1 + f/700))."""
    low, high = (math.log10(1 + f / 700) for f in (settings.f_min_hz, settings.f_max_hz))
    step = (high - low) / (settings.mel_bins + 1)
    return float(700 * 10**low * (10 ** (2 * step) - 1))


class LogMelSpectrogram:
    """Natural logarithm of the mel power spectrogram: torchaudio's (HTK mel scale, periodic Hann window), faster."""

    def __init__(self, settings: LogMel) -> None:
        self.settings = settings
        bins = fft_samples(settings) // 2 + 1
        bank = torchaudio.functional.melscale_fbanks(
            n_freqs=bins,
            f_min=settings.f_min_hz,
            f_max=settings.f_max_hz,
            n_mels=settings.mel_bins,
            sample_rate=settings.sample_rate_hz,
        )
        window = torch.hann_window(settings.stft_window_samples)
        self._plan = make_plan(window.numpy(), bank.numpy(), hop_samples=settings.stft_hop_samples)
        # Compiled now (or read from numba's cache): processes that are forked later find it done.
        mel_power(np.zeros(settings.stft_window_samples, np.float32), self._plan)

    def __call__(
        self, samples: Float32[np.ndarray, "samples"] | Float32[Tensor, "samples"]
    ) -> Float[Tensor, "1 mel_bins time_bins"]:
        """Transform mono samples at the settings' sample rate; they lie on the CPU and have no gradient."""
        wave = samples.numpy() if isinstance(samples, Tensor) else samples
        power = torch.from_numpy(mel_power(wave, self._plan))
        return power.add_(self.settings.floor).log_()[None]
