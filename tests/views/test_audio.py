"""Waveforms → log-mel spectrograms, against librosa and the HTK formula."""

import numpy as np
import pytest
import torch

from avmi.config.parts import LogMel
from avmi.views.audio import LogMelSpectrogram, time_bins
from benchmarks.media.log_mel_references import librosa_log_mel

SETTINGS = {
    "16 kHz": LogMel(),
    "few bins": LogMel(mel_bins=24, f_min_hz=300.0, f_max_hz=5000.0, floor=1e-3),
    # 551 samples of 1024: window and FFT of unlike parity.
    "odd window": LogMel(sample_rate_hz=22050, mel_bins=40, stft_hop_seconds=0.007),
}


def noise(samples: int, *, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(samples)).astype(np.float32)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
def test_the_log_mel_is_that_of_librosa(settings: LogMel) -> None:
    wave = noise(17321)
    ours = LogMelSpectrogram(settings)(wave)
    np.testing.assert_allclose(ours[0].numpy(), librosa_log_mel(wave, settings), atol=1e-4)


@pytest.mark.parametrize("mel_bin", [3, 29, 61])
def test_a_tone_at_the_centre_of_a_mel_bin_peaks_there(mel_bin: int) -> None:
    settings = LogMel(mel_bins=64)
    low, high = (2595 * np.log10(1 + f / 700) for f in (settings.f_min_hz, settings.f_max_hz))
    centre = low + (mel_bin + 1) * (high - low) / (settings.mel_bins + 1)
    tone_hz = 700 * (10 ** (centre / 2595) - 1)
    clock = np.arange(8000) / settings.sample_rate_hz
    spectrogram = LogMelSpectrogram(settings)(np.sin(2 * np.pi * tone_hz * clock).astype(np.float32))
    assert set(spectrogram[0].argmax(dim=0).tolist()) == {mel_bin}


def test_a_sound_in_the_second_half_lights_up_the_second_half() -> None:
    settings = LogMel()
    wave = noise(32000)
    wave[:16000] = 0.0
    loud = LogMelSpectrogram(settings)(wave)[0].mean(dim=0) > np.log(settings.floor) + 1
    first_loud = int(loud.float().argmax())
    # The first window that overlaps the sound starts less than a window before it.
    assert 16000 - settings.stft_window_samples <= first_loud * settings.stft_hop_samples <= 16000
    assert loud[first_loud:].all()


def test_silence_is_the_floor() -> None:
    settings = LogMel(floor=1e-4)
    spectrogram = LogMelSpectrogram(settings)(np.zeros(9000, np.float32))
    assert spectrogram == pytest.approx(np.log(1e-4))


def test_no_sound_is_made_up_at_the_edges() -> None:
    # What a window holds does not depend on what is around it: cut from a long sound, it is the same.
    settings = LogMel()
    log_mel, wave = LogMelSpectrogram(settings), noise(30000, seed=1)
    first, bins = 25, time_bins(0.7, settings)
    start = first * settings.stft_hop_samples
    cut = log_mel(wave[start : start + round(0.7 * settings.sample_rate_hz)])
    torch.testing.assert_close(cut, log_mel(wave)[:, :, first : first + bins], atol=1e-5, rtol=0)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("window_seconds", [0.1, 0.73, 2.0])
def test_the_number_of_time_bins_is_known_beforehand(settings: LogMel, window_seconds: float) -> None:
    samples = round(window_seconds * settings.sample_rate_hz)
    made = LogMelSpectrogram(settings)(noise(samples))
    assert made.shape == (1, settings.mel_bins, time_bins(window_seconds, settings))
    # Count the windows that fit, one by one.
    starts = range(0, samples - settings.stft_window_samples + 1, settings.stft_hop_samples)
    assert made.shape[2] == len(starts)


def test_a_sound_of_one_stft_window_is_one_time_bin() -> None:
    # The shortest window that the configuration lets through, with the longest STFT window.
    settings = LogMel(stft_window_seconds=0.5)
    assert LogMelSpectrogram(settings)(noise(8000)).shape == (1, 64, 1)


@pytest.mark.parametrize("mel_bins", [8, 64, 160, 256])
@pytest.mark.parametrize("sample_rate_hz", [4000, 16000, 44100])
def test_every_mel_bin_hears_noise(mel_bins: int, sample_rate_hz: int) -> None:
    settings = LogMel(
        mel_bins=mel_bins, sample_rate_hz=sample_rate_hz, f_max_hz=sample_rate_hz / 2, floor=1e-12
    )
    spectrogram = LogMelSpectrogram(settings)(noise(sample_rate_hz))
    assert float(spectrogram[0].mean(dim=1).min()) > np.log(1e-12) + 5


def test_arrays_and_tensors_give_the_same() -> None:
    log_mel, wave = LogMelSpectrogram(LogMel()), noise(5000)
    assert torch.equal(log_mel(wave), log_mel(torch.from_numpy(wave)))


@pytest.mark.filterwarnings("error")
def test_arrays_may_be_read_only_or_turned_round() -> None:
    log_mel, wave = LogMelSpectrogram(LogMel()), noise(5000)
    wave.setflags(write=False)
    assert torch.equal(log_mel(wave), log_mel(wave.copy()))
    assert torch.equal(log_mel(wave[::-1]), log_mel(wave[::-1].copy()))
