"""Waveform windows of a clip → audio views: log-mel spectrograms."""

import math

import numpy as np
import torch
import torch.nn.functional as F
import torchaudio
from jaxtyping import Float, Float32
from torch import Tensor

from avmi.config.parts import LogMel


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
    """Natural logarithm of the mel power spectrogram, by torchaudio (HTK mel scale, Hann window)."""

    def __init__(self, settings: LogMel) -> None:
        self.settings = settings
        self._mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=settings.sample_rate_hz,
            n_fft=fft_samples(settings),
            win_length=settings.stft_window_samples,
            hop_length=settings.stft_hop_samples,
            f_min=settings.f_min_hz,
            f_max=settings.f_max_hz,
            n_mels=settings.mel_bins,
            power=2.0,
            center=False,
        )
        # The FFT is longer than its Hann window, which stands in its middle and is zero outside. Zeros
        # on both sides of the sound only meet those zeros.
        spare = fft_samples(settings) - settings.stft_window_samples
        self._around = (spare // 2, spare - spare // 2)

    def __call__(
        self, samples: Float32[np.ndarray, "samples"] | Float32[Tensor, "samples"]
    ) -> Float[Tensor, "1 mel_bins time_bins"]:
        """Transform mono samples at the settings' sample rate."""
        if isinstance(samples, np.ndarray):
            samples = torch.from_numpy(np.require(samples, requirements=["C", "W"]))
        mel: Tensor = self._mel(F.pad(samples, self._around)[None])
        return torch.log(mel + self.settings.floor)
