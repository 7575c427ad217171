"""Joining blocks by their timestamps, cutting and resampling: against signals known in closed form."""

import numpy as np
import pytest
from making import Encoding, audio_offset_seconds, noise, numbered_picture, write_video
from scipy.signal import resample_poly

from avmi.decode.pyav import PyAvDecoder
from avmi.decode.sound import Block, SoundSource, cut_sound, mono
from avmi.errors import DecodeError


def block_of(seconds, samples, *, hz):
    """Make a mono block of these samples."""
    return Block(seconds, len(samples), 1, hz, lambda: samples[None].astype(np.float32))


def blocks_of(wave, *, hz, size=1024, start=0.0, stamps=None):
    """Cut a wave into blocks whose timestamps count on from `start`, or are given."""
    pieces = [wave[at : at + size] for at in range(0, len(wave), size)]
    true = [start + i * size / hz for i in range(len(pieces))]
    return [
        block_of(seconds, piece, hz=hz)
        for seconds, piece in zip(true if stamps is None else stamps(np.array(true)), pieces, strict=True)
    ]


def sine(hz, seconds, *, tone_hz=440.0, start=0.0):
    return 0.5 * np.sin(2 * np.pi * tone_hz * (start + np.arange(round(seconds * hz)) / hz))


@pytest.mark.parametrize("source_hz", [8000, 11025, 22254, 32000, 44100, 48000, 96000])
def test_resampled_sound_is_the_same_tone_at_the_same_time_up_to_the_edges(source_hz):
    blocks = blocks_of(sine(source_hz, 3.0), hz=source_hz)
    for begin, end in ((0.5, 1.7), (0.123, 2.9), (1.0, 1.25)):
        samples = cut_sound(blocks, begin, end, sample_rate_hz=16000, tick_seconds=1 / source_hz)
        expected = sine(16000, end - begin, start=begin)
        assert samples.dtype == np.float32
        assert len(samples) == len(expected)
        # Half a source sample of placing is what may differ.
        assert np.abs(samples - expected).max() < 0.5 * 2 * np.pi * 440 * 0.5 / source_hz + 2e-3


def test_a_window_is_the_same_whatever_else_was_decoded():
    wave = noise(4.0, sample_rate_hz=44100)
    blocks = blocks_of(wave, hz=44100)
    whole = cut_sound(blocks, 2.0, 2.5, sample_rate_hz=16000, tick_seconds=1e-5)
    near = [block for block in blocks if block.end_seconds > 1.6 and block.seconds < 2.9]
    np.testing.assert_allclose(
        cut_sound(near, 2.0, 2.5, sample_rate_hz=16000, tick_seconds=1e-5), whole, atol=1e-6
    )


@pytest.mark.parametrize(
    ("gap_seconds", "is_error"), [(0.0, False), (0.0008, False), (0.003, True), (0.2, True)]
)
@pytest.mark.parametrize("at_block", [30, 60, 118])
def test_a_gap_within_the_window_is_an_error_wherever_it_lies(gap_seconds, is_error, at_block):
    hz = 48000
    blocks = blocks_of(
        noise(120 * 1024 / hz, sample_rate_hz=hz),
        hz=hz,
        stamps=lambda true: true + gap_seconds * (np.arange(len(true)) >= at_block),
    )
    end = blocks[-1].end_seconds - gap_seconds
    if is_error:
        with pytest.raises(DecodeError) as error:
            cut_sound(blocks, 0.2, end, sample_rate_hz=16000, tick_seconds=1 / hz)
        assert error.value.reason == "audio_gap"
        assert f"{gap_seconds * 1000:.1f} ms" in str(error.value)
    else:
        cut_sound(blocks, 0.2, end, sample_rate_hz=16000, tick_seconds=1 / hz)


def test_both_sides_of_a_gap_are_at_their_own_times():
    hz = 48000
    wave = noise(120 * 1024 / hz, sample_rate_hz=hz, seed=4)
    blocks = blocks_of(wave, hz=hz, stamps=lambda true: true + 0.1 * (np.arange(len(true)) >= 60))
    truth = resample_poly(wave, 1, 3)
    for begin, late in ((0.5, 0.0), (1.5, 0.1)):
        samples = cut_sound(blocks, begin, begin + 0.7, sample_rate_hz=16000, tick_seconds=1 / hz)
        expected = truth[round((begin - late) * 16000) :][: len(samples)]
        assert abs(audio_offset_seconds(samples, expected, sample_rate_hz=16000)) < 1e-4


def test_stamps_that_jitter_neither_move_the_sound_nor_make_a_gap():
    # As recorders write them: every third stamp is 10 or 20 ms early, the last one too.
    hz = 44100
    wave = noise(200 * 1024 / hz, sample_rate_hz=hz, seed=5)
    early = np.resize([0, 0, 0.0105, 0, 0, 0.0206], 200)
    early[-1] = 0.0206
    blocks = blocks_of(wave, hz=hz, stamps=lambda true: true - early)
    truth = resample_poly(wave, 160, 441)
    for begin, end in ((0.0, 0.6), (1.1, 2.7), (3.0, 200 * 1024 / hz - 0.01)):
        samples = cut_sound(blocks, begin, end, sample_rate_hz=16000, tick_seconds=1 / hz)
        expected = truth[round(begin * 16000) :][: len(samples)]
        assert abs(audio_offset_seconds(samples, expected, sample_rate_hz=16000)) < 1e-3


def test_a_clock_that_does_not_go_with_the_samples_is_an_error():
    blocks = blocks_of(noise(3.0, sample_rate_hz=48000), hz=48000, stamps=lambda true: 1.1 * true)
    with pytest.raises(DecodeError) as error:
        cut_sound(blocks, 1.0, 2.0, sample_rate_hz=16000, tick_seconds=1e-5)
    assert error.value.reason == "audio_gap"


@pytest.mark.parametrize(
    ("begin", "end"), [(-0.1, 0.5), (1.9, 2.1), (3.0, 4.0), (-2.0, -1.0), (-0.0025, 0.5), (1.5, 2.0025)]
)
def test_sound_that_is_not_there_is_an_error(begin, end):
    blocks = blocks_of(noise(2.0, sample_rate_hz=32000), hz=32000)
    with pytest.raises(DecodeError) as error:
        cut_sound(blocks, begin, end, sample_rate_hz=16000, tick_seconds=1e-4)
    assert error.value.reason == "audio_short"


@pytest.mark.parametrize(("begin", "end"), [(-0.0009, 0.5), (1.5, 2.0009), (-0.0005, 2.0005)])
def test_the_millisecond_that_the_plan_allows_is_silence(begin, end):
    blocks = blocks_of(np.full(64000, 0.25), hz=32000)
    samples = cut_sound(blocks, begin, end, sample_rate_hz=32000, tick_seconds=1e-4)
    assert len(samples) == round((end - begin) * 32000)
    missing = round(32000 * (max(0, -begin) + max(0, end - 2.0)))
    assert np.count_nonzero(samples == 0) == pytest.approx(missing, abs=1)


def test_no_blocks_no_stamps_changing_rates_and_broken_numbers_are_errors_of_their_own():
    wave = noise(1.0, sample_rate_hz=16000)
    good = blocks_of(wave, hz=16000)
    stampless = [block_of(float("nan"), b.planes()[0], hz=16000) for b in good]
    broken = [*good[:5], block_of(good[5].seconds, np.full(1024, np.nan), hz=16000), *good[6:]]
    for blocks, reason in (
        ([], "audio_short"),
        (stampless, "no_timestamps"),
        ([*good[:4], *blocks_of(wave, hz=8000, start=0.256)], "audio_changes"),
        (broken, "damaged"),
    ):
        with pytest.raises(DecodeError) as error:
            cut_sound(blocks, 0.2, 0.6, sample_rate_hz=8000, tick_seconds=1e-4)
        assert error.value.reason == reason


@pytest.mark.parametrize(
    ("dtype", "silence", "full"),
    [("<i2", 0, 32767), ("<i4", 0, 2**31 - 1), ("u1", 128, 255), ("<f4", 0.0, 1.0)],
)
def test_mono_averages_channels_and_scales_every_sample_format(dtype, silence, full):
    left, right = np.array([full, silence, full]), np.array([full, full, silence])
    planar = np.stack([left, right]).astype(dtype)
    packed = np.stack([left, right], axis=1).reshape(1, -1).astype(dtype)
    for planes in (planar, packed):
        block = Block(0.0, 3, 2, 8000, lambda planes=planes: planes)
        np.testing.assert_allclose(mono(block), [1, 0.5, 0.5], atol=0.01)


@pytest.fixture(scope="module")
def long_files(tmp_path_factory):
    """Files of 75 s, with a picture every 5 s, in codecs whose sound is sought."""
    folder = tmp_path_factory.mktemp("long")
    sound = noise(75.0, sample_rate_hz=16000, seed=6)
    files = {}
    for codec, suffix in (
        ("aac", "mp4"),
        ("alac", "mp4"),
        ("pcm_s16le", "mov"),
        ("flac", "mp4"),
        ("libopus", "mkv"),
    ):
        files[codec] = write_video(
            folder / f"{codec}.{suffix}",
            pictures=(numbered_picture(i) for i in range(15)),
            times_seconds=np.arange(15) * 5.0,
            samples=sound,
            sample_rate_hz=16000,
            frame_rate=1,
            encoding=Encoding(audio_codec=codec),
        )
    return files, sound


@pytest.mark.parametrize("codec", ["aac", "alac", "pcm_s16le", "flac", "libopus"])
def test_late_windows_of_long_files_equal_a_decode_from_the_start(codec, long_files, monkeypatch):
    files, sound = long_files
    windows = [(64.013, 65.5), (71.0, 72.25), (74.0, 75.0)]
    decoded = []
    real = SoundSource._decode_packet
    monkeypatch.setattr(SoundSource, "_decode_packet", lambda self: (decoded.append(1), real(self))[1])
    late = []
    for begin, end in windows:
        with PyAvDecoder().open(files[codec], video=None) as reader:
            late.append(reader.audio(begin, end, sample_rate_hz=16000).samples)
    by_seeking, decoded[:] = len(decoded), []
    with PyAvDecoder().open(files[codec], video=None) as reader:
        reader.audio(0.0, 60.0, sample_rate_hz=16000)
        monkeypatch.setattr(SoundSource, "_should_seek", lambda self, low: False)
        from_start = [reader.audio(begin, end, sample_rate_hz=16000).samples for begin, end in windows]
    if codec != "libopus":  # mkv's clock is too coarse to seek by
        assert by_seeking < len(decoded) / 4
    for (begin, _), a, b in zip(windows, late, from_start, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)
        truth = sound[round(begin * 16000) :][: len(a)]
        assert abs(audio_offset_seconds(a, truth, sample_rate_hz=16000)) < 1e-3


@pytest.mark.parametrize(("codec", "with_pictures"), [("aac", True), ("aac", False), ("libopus", False)])
def test_windows_in_any_order_are_the_same_with_or_without_pictures_between(codec, with_pictures, long_files):
    files, _ = long_files
    windows = [(70.0, 71.0), (70.5, 71.5), (71.1, 71.4), (1.0, 2.5), (0.0, 0.5), (30.0, 30.7), (66.0, 66.4)]
    alone = []
    for window in windows:
        with PyAvDecoder().open(files[codec], video=None) as reader:
            alone.append(reader.audio(*window, sample_rate_hz=8000).samples)
    with PyAvDecoder().open(files[codec], video=None) as reader:
        for window, expected in zip(windows, alone, strict=True):
            heard = reader.audio(*window, sample_rate_hz=8000)
            assert heard.start_seconds == window[0]
            np.testing.assert_allclose(heard.samples, expected, atol=1e-3)
            if with_pictures:
                reader.frames([window[0]], short_side_px=None)


def test_long_files_are_not_kept_in_memory(long_files):
    files, _ = long_files
    for begins, most_seconds in (((72.0,), 62), (range(0, 73, 2), 5)):
        with PyAvDecoder().open(files["libopus"], video=None) as reader:
            for begin in begins:
                reader.audio(float(begin), begin + 1.0, sample_rate_hz=8000)
            held = reader._sound._blocks
        assert held[-1].end_seconds - held[0].seconds < most_seconds


def test_the_edges_of_a_window_are_those_of_a_longer_one(truth_of):
    truth = truth_of("B-frames")
    begin = 46 * 1024 / 48000  # where a block begins: its neighbours are needed all the same
    with PyAvDecoder().open(truth.path, video=None) as reader:
        short = reader.audio(begin, begin + 0.64, sample_rate_hz=16000).samples
        long = reader.audio(begin - 0.5, begin + 1.0, sample_rate_hz=16000).samples
    np.testing.assert_allclose(short, long[8000 : 8000 + len(short)], atol=1e-5)
