"""The suite's own measuring tools tell right from wrong."""

import numpy as np
import pytest
from making import audio_offset_seconds, frame_number, make_clip, noise, numbered_picture
from PIL import Image

from avmi.decode.pyav import PyAvDecoder


def test_numbers_are_read_from_clean_scaled_and_noisy_pictures():
    rng = np.random.default_rng(0)
    for number in (0, 1, 37, 511, 640, 1023):
        picture = numbered_picture(number, size=(112, 80))
        assert frame_number(picture) == number
        assert frame_number(np.asarray(Image.fromarray(picture).resize((56, 40)))) == number
        noisy = np.clip(picture + rng.normal(0, 30, picture.shape), 0, 255).astype(np.uint8)
        assert frame_number(noisy) == number


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turned_and_mirrored_pictures_are_not_taken_for_numbers(turns):
    with pytest.raises(ValueError, match="corners"):
        frame_number(np.rot90(numbered_picture(5), turns))
    with pytest.raises(ValueError, match="corners"):
        frame_number(numbered_picture(5)[:, ::-1])


def test_mixed_pictures_are_not_taken_for_numbers():
    for a, b in ((4, 5), (100, 103), (255, 256)):
        mixed = (numbered_picture(a) // 2 + numbered_picture(b) // 2).astype(np.uint8)
        with pytest.raises(ValueError, match="mixed"):
            frame_number(mixed)


@pytest.mark.parametrize("late_samples", [-37, 0, 3, 400])
def test_the_offset_of_sound_is_measured_with_its_sign(late_samples):
    wave = noise(1.5, sample_rate_hz=16000, seed=3)
    found = audio_offset_seconds(np.roll(wave, late_samples), wave, sample_rate_hz=16000)
    assert found == pytest.approx(late_samples / 16000, abs=2e-5)


def test_another_sound_has_no_offset():
    with pytest.raises(ValueError, match="not the sound"):
        audio_offset_seconds(
            noise(1.0, sample_rate_hz=16000, seed=1),
            noise(1.0, sample_rate_hz=16000, seed=2),
            sample_rate_hz=16000,
        )


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "mov", "avi", "webm"])
def test_flash_and_beep_of_a_clip_are_at_the_second_asked_for(tmp_path, suffix):
    path = make_clip(tmp_path / f"a.{suffix}", seconds=2.0, frame_rate=20, flash_at_seconds=1.25)
    with PyAvDecoder().open(path, video=None) as reader:
        sound = np.abs(reader.audio(0.0, 1.9, sample_rate_hz=16000).samples)
        brightness = reader.frames([i / 20 + 0.01 for i in range(40)], short_side_px=None).pixels.mean(
            (1, 2, 3)
        )
    loud = np.flatnonzero(sound > 0.3) / 16000
    assert (loud[0], loud[-1]) == (pytest.approx(1.25, abs=0.004), pytest.approx(1.35, abs=0.004))
    np.testing.assert_array_equal(np.flatnonzero(brightness > 200), [25, 26])
