"""Log-mel spectrograms of one clip's windows and of a batch: ours against torchaudio and librosa, and the limits.

Run: OMP_NUM_THREADS=1 python -m benchmarks.media.log_mel [--json]

Every way gives the same spectrograms (the largest difference is printed) with the settings of `LogMel`. The limits
are what no way around the FFT library can beat: its real transform alone, on frames that lie ready, and reading and
writing the sound and the spectrogram once.
"""

import sys
from collections.abc import Callable

import numpy as np
import torch

from avmi.config.parts import LogMel
from avmi.views.audio import LogMelSpectrogram, fft_samples
from benchmarks.media.log_mel_references import TorchaudioLogMel, librosa_log_mel
from benchmarks.media.paired import Paired, paired, show

OURS = "ours"
# (clips, windows of a clip, seconds of a window): as training cuts them, one at a time, and whole batches.
SHAPES = ((1, 3, 1.28), (1, 1, 10.0), (64, 1, 1.28), (64, 1, 2.0))
SETTINGS = {
    "16 kHz, 25/10 ms, 64 bins": LogMel(),
    "16 kHz, 25/10 ms, 128 bins": LogMel(mel_bins=128),
    "48 kHz, 25/10 ms, 96 bins": LogMel(sample_rate_hz=48000, mel_bins=96, f_max_hz=20000.0),
}


def _ways(waves: np.ndarray, settings: LogMel, repeats: int) -> dict[str, Callable[[], object]]:
    ours, theirs = LogMelSpectrogram(settings), TorchaudioLogMel(settings)
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
        ways["librosa, one window at a time"] = lambda: [librosa_log_mel(wave, settings) for wave in waves]
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
