"""A waveform of a user → mono samples, against scipy and arithmetic."""

import numpy as np
import pytest
import torch

from avmi.errors import InputError
from avmi.views.waveform import read_waveform


def tone(seconds: float, rate_hz: int, hz: float = 440.0) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate_hz)) / rate_hz).astype(np.float32)


def test_a_mono_sound_at_the_right_rate_is_left_as_it_is() -> None:
    sound = tone(0.3, 16000)
    np.testing.assert_array_equal(read_waveform(sound, sample_rate_hz=16000, target_rate_hz=16000), sound)


def test_channels_are_averaged() -> None:
    left, right = tone(0.3, 16000), tone(0.3, 16000, hz=700)
    mono = read_waveform(np.stack([left, right]), sample_rate_hz=16000, target_rate_hz=16000)
    np.testing.assert_allclose(mono, (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate_hz", [8000, 44100, 48000])
def test_a_resampled_tone_is_the_tone_at_the_other_rate(rate_hz: int) -> None:
    mono = read_waveform(tone(1.0, rate_hz), sample_rate_hz=rate_hz, target_rate_hz=16000)
    assert len(mono) == 16000
    np.testing.assert_allclose(mono[800:-800], tone(1.0, 16000)[800:-800], atol=2e-3)


def test_tensors_with_a_gradient_and_double_precision_are_taken() -> None:
    sound = torch.from_numpy(tone(0.2, 16000)).double().requires_grad_()
    mono = read_waveform(sound, sample_rate_hz=16000, target_rate_hz=16000)
    assert mono.dtype == np.float32
    np.testing.assert_array_equal(mono, tone(0.2, 16000))


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        ((32000 * tone(0.1, 16000)).astype(np.int16), "int16"),
        (32000 * tone(0.1, 16000), "divide by its full scale"),
        (np.full(1000, np.nan, np.float32), r"\[-1, 1\]"),
        (np.r_[tone(0.1, 16000), np.float32(np.inf)], r"\[-1, 1\]"),
        (np.zeros(0, np.float32), r"\(0,\)"),
        (np.zeros((1600, 2), np.float32), r"\(1600, 2\)"),  # samples and channels the wrong way round
        (np.zeros((1, 2, 1600), np.float32), r"\(1, 2, 1600\)"),
    ],
    ids=["integers", "unscaled", "nan", "infinite", "empty", "turned", "batch"],
)
def test_what_is_no_sound_is_refused(sound: np.ndarray, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_waveform(sound, sample_rate_hz=16000, target_rate_hz=16000)


def test_a_sample_rate_of_nothing_is_refused() -> None:
    with pytest.raises(InputError, match="above 0 Hz, got 0"):
        read_waveform(tone(0.1, 16000), sample_rate_hz=0, target_rate_hz=16000)
