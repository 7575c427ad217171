import numpy as np
import pytest

from avmi.corpus.measure import FLOOR_DBFS, SoundMeter, are_still, cells_of, timeline
from avmi.errors import DecodeError


def meter(samples: np.ndarray, *, rate: int = 8000, frame: int = 100, start: float = 0.0) -> SoundMeter:
    found = SoundMeter()
    for at in range(0, samples.shape[-1], frame):
        found.add(
            samples[:, at : at + frame],
            at_seconds=start + at / rate,
            sample_rate_hz=rate,
            channels=len(samples),
        )
    return found


def test_a_full_scale_sine_has_a_loudness_of_minus_3_dbfs():
    tone = np.sin(2 * np.pi * 100 * np.arange(8000) / 8000)[None].astype(np.float32)
    found = meter(tone, start=0.25)
    assert found.loudness_dbfs == pytest.approx(10 * np.log10(0.5), abs=1e-4)
    assert found.peak == pytest.approx(1.0)
    assert (found.start_seconds, found.end_seconds) == pytest.approx((0.25, 1.25))
    assert not found.is_silent


@pytest.mark.parametrize(
    ("dtype", "scale", "middle"), [("i2", 2**15, 0), ("i4", 2**31, 0), ("u1", 2**7, 2**7)]
)
def test_integer_samples_count_as_fractions_of_full_scale(dtype, scale, middle):
    tone = 0.5 * np.sin(2 * np.pi * 50 * np.arange(4000) / 8000)
    samples = np.round(tone * scale + middle).astype(dtype)[None]
    assert meter(samples).loudness_dbfs == pytest.approx(10 * np.log10(0.125), abs=0.1)


def test_interleaved_and_planar_samples_give_the_same():
    planes = np.random.default_rng(0).uniform(-0.5, 0.5, (3, 600)).astype(np.float32)
    packed = SoundMeter()
    packed.add(planes.T.reshape(1, -1), at_seconds=0.0, sample_rate_hz=8000, channels=3)
    assert packed.samples == 600
    assert packed.loudness_dbfs == pytest.approx(meter(planes).loudness_dbfs)
    assert packed.loudness_dbfs == pytest.approx(10 * np.log10((planes.mean(0) ** 2).mean()), abs=1e-4)


def test_sound_that_changes_its_channels_or_format_in_the_middle_is_added_up_whole():
    rng = np.random.default_rng(0)
    found, mono = SoundMeter(), []
    for channels, kind in ((1, "f4"), (2, "f4"), (2, "i2"), (1, "f4")):
        for _ in range(50):
            planes = rng.uniform(-0.4, 0.4, (channels, 30)).astype("f4")
            mono.append(planes.mean(0))
            given = np.round(planes * 2**15).astype("i2") if kind == "i2" else planes
            found.add(given, at_seconds=None, sample_rate_hz=8000, channels=channels)
    assert found.samples == 4 * 50 * 30
    assert found.loudness_dbfs == pytest.approx(10 * np.log10((np.concatenate(mono) ** 2).mean()), abs=1e-3)
    assert found.peak == pytest.approx(np.abs(np.concatenate(mono)).max(), abs=1e-4)


def test_channels_in_opposite_phase_are_silent_as_mono():
    tone = 0.7 * np.sin(np.arange(1000))
    found = meter(np.stack([tone, -tone]))
    assert found.is_silent
    assert found.loudness_dbfs == FLOOR_DBFS


def test_a_peak_of_minus_60_dbfs_divides_silence_from_sound():
    assert meter(np.full((1, 200), 0.9e-3)).is_silent
    assert not meter(np.full((1, 200), 1.1e-3)).is_silent
    assert not meter(np.full((1, 200), -1.1e-3)).is_silent


def test_sound_without_timestamps_goes_on_where_it_was():
    found = SoundMeter()
    for at in (2.0, None, None):
        found.add(np.ones((1, 400)), at_seconds=at, sample_rate_hz=8000, channels=1)
    assert found.end_seconds == pytest.approx(2.15)


def spaced_blocks(step_seconds: float) -> SoundMeter:
    found = SoundMeter()
    for i in range(6):
        found.add(np.ones((1, 800)), at_seconds=i * step_seconds, sample_rate_hz=8000, channels=1)
    return found


def test_sound_whose_timestamps_fit_its_length_passes():
    spaced_blocks(0.1).check()
    spaced_blocks(0.105).check()  # small holes


@pytest.mark.parametrize(("step_seconds", "reason"), [(0.01, "bad_timestamps"), (0.2, "decode_error")])
def test_sound_that_is_longer_or_much_shorter_than_its_timestamps_is_refused(step_seconds, reason):
    with pytest.raises(DecodeError) as error:
        spaced_blocks(step_seconds).check()
    assert error.value.reason == reason


def test_samples_that_are_no_numbers_are_refused():
    with pytest.raises(DecodeError, match="no numbers"):
        meter(np.array([[0.1, np.nan, 0.2]])).check()


def ticks(*values):
    return np.array(values, dtype=np.int64)


def test_a_timeline_is_in_the_order_of_the_screen_on_the_packages_clock():
    found = timeline(
        ticks(90, 100, 130, 110, 120), ticks(10, 10, 7, 10, 10), tick_seconds=0.01, zero_seconds=0.5
    )
    assert found.times_seconds == pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8])
    assert (found.first_seconds, found.last_seconds) == pytest.approx((0.4, 0.8))
    assert found.end_seconds == pytest.approx(0.87)  # the last picture's own duration
    assert found.frame_rate == pytest.approx(10.0)


@pytest.mark.parametrize("last", [0, 1])
def test_a_last_picture_without_a_duration_stands_as_long_as_the_others(last):
    found = timeline(ticks(0, 40, 80), ticks(1, 1, last), tick_seconds=1e-3, zero_seconds=0.0)
    assert found.end_seconds == pytest.approx(0.120)


def test_a_single_picture_has_the_rate_of_its_duration():
    assert timeline(ticks(0), ticks(2000), tick_seconds=1e-3, zero_seconds=0.0).frame_rate == pytest.approx(
        0.5
    )


@pytest.mark.parametrize(
    ("pts", "tick", "variable"),
    [
        ([0, 33, 67, 100, 133, 167], 1e-3, False),  # 30 per second, rounded to milliseconds
        ([0, 17, 33, 50, 67, 83, 100], 1e-3, False),  # 60 per second
        ([0, 33, 67, 133, 167, 200], 1e-3, True),  # one picture left out
        ([0, 3000, 6000, 9000, 12100], 1 / 90000, False),
        ([0, 3000, 6000, 9000, 12400], 1 / 90000, True),
        ([0, 9000], 1 / 90000, False),
    ],
)
def test_a_variable_frame_rate_is_more_than_the_clocks_rounding(pts, tick, variable):
    durations = ticks(*[0] * len(pts))
    assert (
        timeline(ticks(*pts), durations, tick_seconds=tick, zero_seconds=0.0).is_variable(tick_seconds=tick)
        is variable
    )


def test_cells_are_means_of_equal_areas():
    grey = np.arange(32 * 48, dtype=np.uint8).reshape(32, 48)
    cells = cells_of(grey)
    assert cells.shape == (16, 16)
    assert cells[3, 5] == grey[6:8, 15:18].mean()


def test_cells_cover_sides_that_do_not_divide_and_sides_that_are_tiny():
    grey = np.random.default_rng(0).integers(0, 255, (37, 5), dtype=np.uint8)
    cells = cells_of(grey)
    assert cells.shape == (13, 5)  # 37 rows in cells of 3, 5 columns as they are
    assert cells[12, 4] == grey[36, 4]


def test_pictures_are_still_while_no_cell_moves_by_more_than_noise():
    rng = np.random.default_rng(1)
    base = rng.uniform(0, 255, (16, 16))
    noisy = [base + rng.uniform(-1.2, 1.2, base.shape) for _ in range(5)]
    assert are_still(noisy)
    moved = noisy[3].copy()
    moved[7, 2] += 9
    assert not are_still([*noisy[:3], moved, noisy[4]])


def test_one_picture_is_still_and_a_change_of_size_is_not():
    assert are_still([np.zeros((16, 16))])
    assert not are_still([np.zeros((16, 16)), np.zeros((16, 12))])
