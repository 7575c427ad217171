"""The mel power of STFT frames, against the definition in double precision and against torchaudio."""

import numpy as np
import pytest
import torch

from avmi.config.parts import LogMel
from avmi.views import mel_power as module
from avmi.views.audio import LogMelSpectrogram
from avmi.views.mel_power import make_plan, mel_power
from benchmarks.media.log_mel_references import TorchaudioLogMel

draw = np.random.default_rng(3)


def by_definition(samples, window, bank, hop):
    """Every frame's squared Fourier transform through the bank, in double precision."""
    starts = range(0, len(samples) - len(window) + 1, hop)
    frames = np.stack([samples[s : s + len(window)] for s in starts]).astype(np.float64)
    power = np.abs(np.fft.rfft(frames * window, 2 * (len(bank) - 1), axis=1)) ** 2
    return (power @ bank).T


@pytest.mark.parametrize("bits", range(4, 13))
@pytest.mark.parametrize("share", [0.5, 0.31])
def test_every_length_of_fft_is_that_of_the_definition(bits, share):
    fft = 2**bits
    taps = max(2, round(share * fft))
    window = draw.uniform(0.1, 1, taps).astype(np.float32)
    bank = draw.uniform(0, 1, (fft // 2 + 1, 11)).astype(np.float32)
    bank[draw.uniform(size=bank.shape) < 0.5] = 0
    bank[:, 4] = 0  # a filter that hears nothing
    wave = draw.standard_normal(taps * 5 + 7).astype(np.float32)
    hop = max(1, taps // 3)
    found = mel_power(wave, make_plan(window, bank, hop_samples=hop))
    truth = by_definition(wave, window, bank, hop)
    np.testing.assert_allclose(found, truth, rtol=3e-6, atol=3e-6 * truth.max())


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 16, 23])
def test_every_number_of_frames_is_whole(frames):
    window = np.hanning(40).astype(np.float32)
    bank = draw.uniform(0, 1, (65, 9)).astype(np.float32)
    wave = draw.standard_normal(40 + 13 * (frames - 1) + 5).astype(np.float32)
    found = mel_power(wave, make_plan(window, bank, hop_samples=13))
    assert found.shape == (9, frames)
    np.testing.assert_allclose(found, by_definition(wave, window, bank, 13), rtol=1e-4)


def test_samples_behind_the_last_window_are_not_heard():
    window, bank = np.hanning(41).astype(np.float32), np.ones((65, 8), np.float32)
    plan, wave = make_plan(window, bank, hop_samples=10), draw.standard_normal(41 + 10 * 11 + 9)
    wave = wave.astype(np.float32)
    spoilt = wave.copy()
    spoilt[-9:] = np.nan
    assert np.array_equal(mel_power(wave, plan)[:, :11], mel_power(spoilt, plan)[:, :11])


def test_windows_longer_than_half_the_fft_are_refused():
    with pytest.raises(ValueError, match="do not fit"):
        make_plan(np.ones(33, np.float32), np.ones((33, 8), np.float32), hop_samples=5)


def torchaudios(wave: np.ndarray, settings: LogMel, *, dtype=torch.float32):
    return TorchaudioLogMel(settings, dtype=dtype)(torch.from_numpy(wave)[None])


SETTINGS = [
    LogMel(),
    LogMel(sample_rate_hz=22050, mel_bins=40, stft_hop_seconds=0.007),
    LogMel(sample_rate_hz=8000, mel_bins=20, f_max_hz=4000.0, stft_window_seconds=0.032, floor=1e-5),
    LogMel(sample_rate_hz=48000, mel_bins=96, f_min_hz=50.0, f_max_hz=20000.0),
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: f"{s.sample_rate_hz} Hz")
@pytest.mark.parametrize("loudness", [0.3, 1e-2, 1e-4, 1e-7])
def test_the_log_mel_of_noise_is_torchaudios_to_1e_5(settings, loudness):
    wave = (loudness * draw.standard_normal(3 * settings.sample_rate_hz)).astype(np.float32)
    torch.testing.assert_close(
        LogMelSpectrogram(settings)(wave), torchaudios(wave, settings), atol=1e-5, rtol=0
    )


def test_beside_a_loud_tone_the_silent_bins_are_as_near_to_the_truth_as_torchaudios():
    # 120 dB below the tone single precision has no more digits, in any way of computing it.
    settings = LogMel(mel_bins=128)
    clock = np.arange(32000) / settings.sample_rate_hz
    wave = (0.5 * np.sin(2 * np.pi * 440 * clock)).astype(np.float32)
    truth = torchaudios(wave, settings, dtype=torch.float64)
    ours, theirs = LogMelSpectrogram(settings)(wave), torchaudios(wave, settings)
    assert (ours - truth).abs().max() < 1.5 * (theirs - truth).abs().max()
    loudest = torch.exp(truth).amax(dim=1, keepdim=True)
    assert ((torch.exp(ours) - torch.exp(truth)).abs() / loudest).max() < 1e-6


def test_the_same_sound_gives_the_same_bits():
    wave = draw.standard_normal(20480).astype(np.float32)
    first, second = LogMelSpectrogram(LogMel()), LogMelSpectrogram(LogMel())
    assert torch.equal(first(wave), second(wave))
    assert torch.equal(first(wave), first(wave.copy()))


def test_without_a_folder_for_its_cache_it_still_compiles(monkeypatch):
    def refuses(cache=False, **settings):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(module, "njit", refuses)
    assert module._compiled(len) is len
