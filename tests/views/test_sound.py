import wave
from pathlib import Path

import numpy as np
import pytest
from making import Encoding, audio_offset_seconds, make_clip, noise, write_video

from avmi.errors import InputError
from avmi.views.sound import read_sound


def write_wav(path: Path, samples: np.ndarray, *, rate: int) -> Path:
    channels = 1 if samples.ndim == 1 else len(samples)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.T * 32767).round().astype("<i2").tobytes())
    return path


def test_a_wav_file_is_read_sample_by_sample(tmp_path: Path) -> None:
    truth = noise(0.7, sample_rate_hz=22050)
    sound = read_sound(write_wav(tmp_path / "a.wav", truth, rate=22050))
    assert sound.sample_rate_hz == 22050
    assert sound.start_seconds == 0
    assert np.abs(sound.samples - truth).max() < 1e-4


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = noise(0.5, sample_rate_hz=12000, seed=1), noise(0.5, sample_rate_hz=12000, seed=2)
    sound = read_sound(write_wav(tmp_path / "a.wav", np.stack([left, right]), rate=12000))
    assert np.abs(sound.samples - (left + right) / 2).max() < 1e-4


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_the_sound_of_a_video_is_read(tmp_path: Path, suffix: str) -> None:
    truth = noise(1.5, sample_rate_hz=48000)
    pictures = [np.zeros((64, 96, 3), np.uint8)] * 3
    path = write_video(
        tmp_path / f"a{suffix}",
        pictures=pictures,
        times_seconds=[0.0, 0.5, 1.0],
        samples=truth,
        encoding=Encoding(audio_options={"b": "192000"}),
    )
    sound = read_sound(path)
    assert sound.sample_rate_hz == 48000
    assert abs(audio_offset_seconds(sound.samples[: len(truth)], truth, sample_rate_hz=48000)) < 0.03


def test_what_is_no_sound_is_refused_in_one_sentence(tmp_path: Path) -> None:
    text = tmp_path / "a.wav"
    text.write_text("not a sound\n" * 40)
    empty = tmp_path / "b.mp3"
    empty.touch()
    silent = make_clip(tmp_path / "c.mp4", seconds=0.5, tone_hz=None)
    for path, said in (
        (text, "not a sound"),
        (empty, "not a sound"),
        (silent, "has no sound"),
        (tmp_path / "d.wav", "no such sound file"),
        (tmp_path, "no such sound file"),
    ):
        with pytest.raises(InputError, match=said) as error:
            read_sound(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_leading_dash_and_a_colon_in_the_name_are_no_option_and_no_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    truth = noise(0.3, sample_rate_hz=16000)
    for name in ("-a.wav", "http:b.wav"):
        write_wav(Path(name), truth, rate=16000)
        assert len(read_sound(name).samples) == len(truth)
