"""Settings of `LogMel` → the same spectrogram by torchaudio and by librosa, which the tests and `log_mel` compare with."""

import librosa
import numpy as np
import torch
import torch.nn.functional as F
import torchaudio

from avmi.config.parts import LogMel
from avmi.views.audio import fft_samples


def _around(settings: LogMel) -> tuple[int, int]:
    """Silence before and after, so that the peers' frames, as long as their FFT, begin where our windows do."""
    spare = fft_samples(settings) - settings.stft_window_samples
    return spare // 2, spare - spare // 2


class TorchaudioLogMel:
    """MelSpectrogram and a logarithm, with the FFT of `fft_samples`."""

    def __init__(self, settings: LogMel, *, dtype: torch.dtype = torch.float32) -> None:
        self.floor, self.dtype, self.around = settings.floor, dtype, _around(settings)
        self.mel = torchaudio.transforms.MelSpectrogram(
            sample_rate=settings.sample_rate_hz,
            n_fft=fft_samples(settings),
            win_length=settings.stft_window_samples,
            hop_length=settings.stft_hop_samples,
            f_min=settings.f_min_hz,
            f_max=settings.f_max_hz,
            n_mels=settings.mel_bins,
            power=2.0,
            center=False,
        ).to(dtype)

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        return torch.log(self.mel(F.pad(waves.to(self.dtype), self.around)) + self.floor)


def librosa_log_mel(wave: np.ndarray, settings: LogMel) -> np.ndarray:
    """Transform one sound."""
    mel = librosa.feature.melspectrogram(
        y=np.pad(wave, _around(settings)),
        sr=settings.sample_rate_hz,
        n_fft=fft_samples(settings),
        win_length=settings.stft_window_samples,
        hop_length=settings.stft_hop_samples,
        window="hann",
        center=False,
        power=2.0,
        n_mels=settings.mel_bins,
        fmin=settings.f_min_hz,
        fmax=settings.f_max_hz,
        htk=True,
        norm=None,
    )
    return np.log(mel + np.float32(settings.floor))
