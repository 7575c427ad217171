import itertools

import av
import numpy as np
import pytest
from fake_console import HEIGHT, TONE_HZ, WIDTH, tick
from scipy.signal import lfilter

from data_prep.atari_movie import (
    CONSOLE_RATE_HZ,
    FRAME_RATE,
    HIGH_PASS_HZ,
    SAMPLE_RATE_HZ,
    MovieWriter,
    pairs_of,
    picture_of,
    read_comment,
    speaker_sound,
)
from data_prep.atari_play import SILENT_LEVEL, Tick


def write(path, ticks, *, comment=None):
    with MovieWriter(path) as movie:
        for pair in pairs_of(iter(ticks), pictures=len(ticks) // 2):
            movie.add(picture_of(pair))
        movie.finish(speaker_sound(np.concatenate([t.sound for t in ticks])), comment=comment or {})


def decode(path):
    """(times and brightness of the pictures), waveform from 0 s at SAMPLE_RATE_HZ."""
    with av.open(str(path)) as container:
        pictures = [(f.time, f.to_ndarray(format="gray").mean()) for f in container.decode(video=0)]
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
    assert frames[0].time == 0
    sound = np.concatenate([f.to_ndarray()[0] for f in frames])
    return np.array([p[0] for p in pictures]), np.array([p[1] for p in pictures]), sound


@pytest.mark.parametrize("pictures", [30, 77, 151])
def test_both_streams_start_at_zero_and_end_together(tmp_path, pictures):
    path = tmp_path / "movie.mp4"
    write(path, [tick(flash=i % 11 == 0) for i in range(2 * pictures)])
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert video.start_time == 0
        assert audio.start_time == 0
        video_seconds = float(video.duration * video.time_base)
        audio_seconds = float(audio.duration * audio.time_base)
        assert video.average_rate == FRAME_RATE
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.codec_context.pix_fmt == "yuv420p"
        assert (audio.sample_rate, audio.channels) == (SAMPLE_RATE_HZ, 1)
    assert video_seconds == pytest.approx(pictures / 30, abs=1e-6)
    assert audio_seconds == pytest.approx(pictures / 30, abs=1e-3)
    times, _, sound = decode(path)
    np.testing.assert_allclose(times, np.arange(pictures) / 30, atol=1e-4)
    # A decoder gives whole AAC frames of 1024 samples: never less than the pictures, never a frame more.
    assert 0 <= len(sound) / SAMPLE_RATE_HZ - pictures / 30 + 1e-3 < 1024 / SAMPLE_RATE_HZ + 1e-3


def test_packets_of_sound_lie_beside_their_pictures(tmp_path):
    path = tmp_path / "movie.mp4"
    write(path, [tick(flash=i % 7 == 0) for i in range(900)])
    with av.open(str(path)) as container:
        times = [float(p.dts * p.time_base) for p in container.demux() if p.dts is not None]
    assert min(b - a for a, b in itertools.pairwise(times)) > -0.1


def test_flash_and_beep_of_one_tick_come_at_the_same_time(tmp_path):
    path = tmp_path / "movie.mp4"
    write(path, [tick(flash=120 <= i < 132) for i in range(300)])  # from 2.0 s to 2.2 s
    times, brightness, sound = decode(path)
    bright = times[brightness > 128]
    assert bright[0] == pytest.approx(2.0, abs=1e-3)
    assert bright[-1] + 1 / 30 == pytest.approx(2.2, abs=1e-3)
    # Steps of the square wave; the level itself outlasts the beep, as the high-pass lets it decay.
    steps = np.flatnonzero(np.abs(np.diff(sound)) > 0.05) / SAMPLE_RATE_HZ
    assert steps[0] == pytest.approx(2.0, abs=2e-3)
    assert steps[-1] == pytest.approx(2.2, abs=2e-3)


def test_keyframes_come_every_half_second_so_that_seeks_are_cheap(tmp_path):
    path = tmp_path / "movie.mp4"
    write(path, [tick(flash=False)] * 240)
    with av.open(str(path)) as container:
        keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.is_keyframe]
    assert max(b - a for a, b in itertools.pairwise(keys)) <= 0.5 + 1e-6


def test_pitch_survives_the_change_of_rate(tmp_path):
    path = tmp_path / "movie.mp4"
    write(path, [tick(flash=True)] * 240)
    sound = decode(path)[2][SAMPLE_RATE_HZ : 3 * SAMPLE_RATE_HZ]
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert np.argmax(spectrum) * SAMPLE_RATE_HZ / len(sound) == pytest.approx(TONE_HZ, abs=0.5)


def test_odd_screens_are_padded_with_black_to_even_sides(tmp_path):
    path = tmp_path / "movie.mp4"
    wide = WIDTH + 1
    screen = np.full((HEIGHT, wide, 3), 255, dtype=np.uint8)
    write(path, [Tick(screen=screen, sound=tick(flash=False).sound)] * 60)
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).to_ndarray(format="gray")
    assert picture.shape == (HEIGHT + 1, wide + 1)
    assert picture[:HEIGHT, :wide].mean() > 230
    assert picture[HEIGHT].mean() < 128
    assert picture[:, wide].mean() < 128


def test_an_object_drawn_in_alternate_screens_is_in_every_picture():
    rng = np.random.default_rng(8)
    first, second = (rng.integers(0, 256, (7, 5, 3), dtype=np.uint8) for _ in range(2))
    rest = tick(flash=False).sound
    picture = picture_of((Tick(first, rest), Tick(second, rest)))
    for place in np.ndindex(7, 5, 3):
        assert picture[place] == max(int(first[place]), int(second[place]))


def test_speaker_sound_is_the_first_order_high_pass_of_the_chips_samples():
    rng = np.random.default_rng(9)
    samples = rng.integers(SILENT_LEVEL, 256, 20_011, dtype=np.uint8)
    pole = np.exp(-2 * np.pi * HIGH_PASS_HZ / CONSOLE_RATE_HZ)
    gain = (1 + pole) / 2
    expected = lfilter([gain, -gain], [1, -pole], (samples - 128.0) / 128)
    np.testing.assert_allclose(speaker_sound(samples), expected, atol=1e-6)


def test_the_chip_at_rest_is_silence_and_a_constant_level_dies_away():
    assert np.abs(speaker_sound(np.full(4096, SILENT_LEVEL, dtype=np.uint8))).max() < 1e-9
    held = speaker_sound(np.full(CONSOLE_RATE_HZ, 200, dtype=np.uint8))
    assert held[0] > 0.5  # the step itself is heard
    assert np.abs(held[CONSOLE_RATE_HZ // 5 :]).max() < 1e-6


def test_the_same_ticks_make_the_same_bytes(tmp_path):
    ticks = [tick(flash=i % 13 < 4) for i in range(120)]
    write(tmp_path / "a.mp4", ticks)
    write(tmp_path / "b.mp4", ticks)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_comment_comes_back_and_other_files_have_none(tmp_path):
    comment = {"recorder": "x", "seconds": 1.5, "name": 'ä ☃ "quoted"'}
    write(tmp_path / "a.mp4", [tick(flash=False)] * 60, comment=comment)
    assert read_comment(tmp_path / "a.mp4") == comment
    (tmp_path / "text.mp4").write_text("not a movie")
    (tmp_path / "empty.mp4").touch()
    assert read_comment(tmp_path / "text.mp4") is None
    assert read_comment(tmp_path / "empty.mp4") is None


def break_off(path):
    with MovieWriter(path) as movie:
        movie.add(np.zeros((20, 30, 3), dtype=np.uint8))
        raise RuntimeError("the console broke")


def test_a_recording_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="broke"):
        break_off(tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []
