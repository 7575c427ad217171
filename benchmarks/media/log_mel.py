"""Log-mel spectrograms of one clip's windows and of a batch: ours against torchaudio and librosa, and the limits.

Run: OMP_NUM_THREADS=1 python -m benchmarks.media.log_mel [--json]

Every way gives the same spectrograms (the largest difference is printed) with the settings of `LogMel`. The limits
are what no way around the FFT library can beat: its real transform alone, on frames that lie ready, and reading and
writing the sound and the spectrogram once.
"""

import sys
from collections.abc import Callable

import librosa
import numpy as np
import torch
import torch.nn.functional as F
import torchaudio

from avmi.config.parts import LogMel
from avmi.views.audio import LogMelSpectrogram, fft_samples
from benchmarks.media.paired import Paired, paired, show

OURS = "ours"
# (clips, windows of a clip, seconds of a window): as training cuts them, one at a time, and whole batches.
SHAPES = ((1, 3, 1.28), (1, 1, 10.0), (64, 1, 1.28), (64, 1, 2.0))
SETTINGS = {
    "16 kHz, 25/10 ms, 64 bins": LogMel(),
    "16 kHz, 25/10 ms, 128 bins": LogMel(mel_bins=128),
    "48 kHz, 25/10 ms, 96 bins": LogMel(sample_rate_hz=48000, mel_bins=96, f_max_hz=20000.0),
}


class Torchaudio:
    """MelSpectrogram and a logarithm, with the FFT of `fft_samples`."""

    def __init__(self, settings: LogMel) -> None:
        self.floor = settings.floor
        spare = fft_samples(settings) - settings.stft_window_samples
        self.around = (spare // 2, spare - spare // 2)
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
        )

    def __call__(self, waves: torch.Tensor) -> torch.Tensor:
        return torch.log(self.mel(F.pad(waves, self.around)) + self.floor)


def by_librosa(wave: np.ndarray, settings: LogMel) -> np.ndarray:
    spare = fft_samples(settings) - settings.stft_window_samples
    mel = librosa.feature.melspectrogram(
        y=np.pad(wave, (spare // 2, spare - spare // 2)),
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


def _ways(waves: np.ndarray, settings: LogMel, repeats: int) -> dict[str, Callable[[], object]]:
    ours, theirs = LogMelSpectrogram(settings), Torchaudio(settings)
    tensors = torch.from_numpy(waves)
    found = torch.stack([ours(wave)[0] for wave in waves])
    far = float((found - theirs(tensors)).abs().max())
    print(f"largest difference to torchaudio: {far:.1e}", file=sys.stderr)
    frames = len(waves) * found.shape[-1]
    bins = fft_samples(settings)
    ready, spectra = torch.randn(frames, bins), torch.empty(frames, bins // 2 + 1, dtype=torch.complex64)
    ways: dict[str, Callable[[], object]] = {
        OURS: lambda: [ours(wave) for wave in waves],
        "torchaudio, one window at a time": lambda: [theirs(wave[None]) for wave in tensors],
        "limit: rfft of torch alone": lambda: torch.fft.rfft(ready, out=spectra),
        "limit: memory read and written": lambda: (tensors.clone(), found.clone()),
    }
    if len(waves) > 1:
        ways["torchaudio, batched"] = lambda: theirs(tensors)
    if len(waves) <= 3:
        ways["librosa, one window at a time"] = lambda: [by_librosa(wave, settings) for wave in waves]
    return {name: lambda way=way: [way() for _ in range(repeats)] for name, way in ways.items()}


def measure() -> list[Paired]:
    results = []
    draw = np.random.default_rng(0)
    for what, settings in SETTINGS.items():
        for clips, windows, seconds in SHAPES:
            count = clips * windows
            waves = 0.1 * draw.standard_normal((count, round(seconds * settings.sample_rate_hz)))
            ways = _ways(waves.astype(np.float32), settings, repeats=max(1, 120 // round(count * seconds)))
            label = f"{what}: {clips} clips × {windows} windows of {seconds} s"
            results.append(paired(label, ways, ours=OURS))
    return results


if __name__ == "__main__":
    torch.set_num_threads(1)
    show(measure())
