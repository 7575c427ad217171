import numpy as np
import pytest
import soxr
from melodies import melody

from avmi.corpus.fingerprint import (
    HOP_SECONDS,
    RATE_HZ,
    SoundListener,
    from_text,
    picture_hash,
    sound_marks,
)


def common_share(first: np.ndarray, second: np.ndarray) -> float:
    return len(set(first.tolist()) & set(second.tolist())) / min(len(set(first)), len(set(second)))


def test_marks_of_a_sound_survive_noise_loudness_and_another_sample_rate():
    sound = melody(7.0, seed=1)
    rng = np.random.default_rng(2)
    worse = soxr.resample(soxr.resample(sound, RATE_HZ, 22050), 22050, RATE_HZ) * 0.4
    worse = (worse + rng.normal(0, 0.002, len(worse))).astype(np.float32)
    same = common_share(sound_marks(sound).marks, sound_marks(worse).marks)
    other = common_share(sound_marks(sound).marks, sound_marks(melody(7.0, seed=3)).marks)
    assert same > 0.4
    assert other < 0.02


def test_hops_count_from_the_start_of_the_sound():
    late = np.concatenate([np.zeros(3 * RATE_HZ, np.float32), melody(2.0, seed=5)])
    assert abs(sound_marks(late).hops.min() * HOP_SECONDS - 3.0) < 0.3
    assert sound_marks(late).hops.max() * HOP_SECONDS < 5.0


@pytest.mark.parametrize(
    "sound",
    [np.zeros(30_000), np.zeros(0), melody(1.0, seed=1)[:900], np.full(20_000, 1e-6), np.full(9_000, np.nan)],
    ids=["silence", "nothing", "shorter than a window", "far below hearing", "no numbers"],
)
def test_what_cannot_be_told_apart_has_no_marks(sound: np.ndarray):
    found = sound_marks(sound.astype(np.float32))
    assert len(found.marks) == len(found.hops) == 0


def test_listening_piece_by_piece_gives_the_marks_of_the_whole():
    sound = melody(5.0, seed=7, rate_hz=44100)
    listener = SoundListener()
    for start in range(0, len(sound), 7001):
        listener.add(sound[start : start + 7001], sample_rate_hz=44100)
    whole = sound_marks(soxr.resample(sound, 44100, RATE_HZ, quality="LQ"))
    assert common_share(listener.marks().marks, whole.marks) > 0.9


def test_marks_come_back_from_their_text():
    found = sound_marks(melody(4.0, seed=9))
    again = from_text(found.as_text())
    np.testing.assert_array_equal(again.marks, found.marks)
    np.testing.assert_array_equal(again.hops, found.hops)


def smooth_picture(seed: int, size: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    waves = [
        rng.uniform(10, 40) * np.cos(rng.uniform(0, 20) * x + rng.uniform(0, 20) * y + rng.uniform(0, 6))
        for _ in range(5)
    ]
    return 128 + sum(waves)


def test_hash_of_a_picture_survives_brightness_contrast_noise_and_another_grid():
    picture = smooth_picture(1)
    noise = np.random.default_rng(0).normal(0, 1.5, picture.shape)
    first = picture_hash(picture)
    assert first is not None
    for changed in (picture * 0.7 + 40, picture + noise, smooth_picture(1, size=13)):
        second = picture_hash(changed)
        assert second is not None
        assert (first ^ second).bit_count() <= 10


def test_hashes_of_different_pictures_differ_in_about_half_of_their_bits():
    hashes = [picture_hash(smooth_picture(seed)) for seed in range(2, 14)]
    distances = [(p ^ q).bit_count() for i, p in enumerate(hashes) for q in hashes[:i]]
    assert 24 < np.mean(distances) < 40
    assert min(distances) > 8


def test_a_flat_picture_and_one_of_a_few_cells_have_no_hash():
    assert picture_hash(np.full((16, 16), 77.0)) is None
    assert picture_hash(smooth_picture(1)[:3]) is None
