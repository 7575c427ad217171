"""Waveform windows of a clip → audio views: log-mel spectrograms."""

import math

import numpy as np
import torch
import torchaudio
from jaxtyping import Float, Float32
from torch import Tensor

from avmi.config.parts import LogMel


def fft_samples(settings: LogMel) -> int:
    """Length of the FFT: the next power of two above twice the window.

    Zero-padding the window twofold keeps every mel filter of the lowest bins wider than one FFT bin.
    """
    return int(2 ** math.ceil(math.log2(2 * settings.stft_window_samples)))


def time_bins(window_seconds: float, settings: LogMel) -> int:
    """Time bins of a window: those whose FFT lies wholly inside it, none mirrored or padded."""
    samples = round(window_seconds * settings.sample_rate_hz)
    return 1 + (samples - fft_samples(settings)) // settings.stft_hop_samples


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

    def __call__(
        self, samples: Float32[np.ndarray, "samples"] | Float32[Tensor, "samples"]
    ) -> Float[Tensor, "1 mel_bins time_bins"]:
        """Transform mono samples at the settings' sample rate."""
        waveform = torch.as_tensor(samples)
        mel: Tensor = self._mel(waveform[None])
        return torch.log(mel + self.settings.floor)
