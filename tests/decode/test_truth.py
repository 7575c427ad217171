"""Every backend on every truth file: the true picture and sound, or a refusal with its reason.

Shards promise the same as the others when every picture is packed: at `_SHARD_HZ` none stands for a shorter time.
What differs: pictures went through JPEG (the number in them is still read), sound has 16 bits at the packed rate, and
errors name the shard. What a lower rate promises is in test_shards.py.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from making import audio_offset_seconds, frame_number
from rows import video_row
from scipy.signal import resample_poly
from truth import TRUTH_FILES

from avmi.decode.choose import choose_decoder
from avmi.decode.exactness import decord_exactness
from avmi.decode.memory import RememberingDecoder
from avmi.decode.pack import Job, pack_video
from avmi.decode.shards import ShardDecoder
from avmi.errors import DecodeError
from avmi.store.packing import Packing
from avmi.store.sample import key_of
from avmi.store.writer import PARTS_FOLDER, ShardWriter, read_part

# What decord is known to do wrong (the reasons are those that a user reads in the audit).
DECORD_REFUSES = {
    "late video": "starts late",
    "open GOP": "wrong picture",
    "intra refresh": "wrong picture",
    "HEVC": "wrong picture",
    "MPEG-TS": "container mpegts",
    "MPEG-TS of MPEG-2": "container mpegts",
    "MPEG-TS of MPEG-4": "container mpegts",
    "MPEG-PS": "container mpeg",
    "flv": "container flv",
    "wmv": "container asf",
    "avi B-frames": "decord finds no timestamps",
    "rotated": "rotated",
    "edit list": "edit list",
    "edit list, B-frames": "edit list",
}

TORCHCODEC_REFUSES = {
    "MPEG-TS": "mpegts",
    "MPEG-TS of MPEG-2": "mpegts",
    "MPEG-TS of MPEG-4": "mpegts",
    "MPEG-PS": "mpeg",
    "avi B-frames": "B-frames",
    "intra refresh": "intra refresh",
}
_SHARD_HZ = 100.0
# Of an open GOP torchcodec may not give the last picture after others; it says so.
TORCHCODEC_LACKS_LAST = {"open GOP"}
CONTAINERS = {
    ".mkv": "matroska",
    ".webm": "matroska",
    ".flv": "flv",
    ".wmv": "asf",
    ".avi": "avi",
    ".ts": "mpegts",
    ".mpg": "mpeg",
}


def row_of(truth, *, reason=""):
    return video_row(
        str(truth.path),
        video_start_seconds=float(truth.times_seconds[0]),
        last_frame_seconds=float(truth.times_seconds[-1]),
        video_end_seconds=float(truth.end_seconds),
        container=CONTAINERS.get(truth.path.suffix, "mov"),
        audio_start_seconds=float(truth.sound_start_seconds),
        audio_end_seconds=truth.sound_start_seconds + len(truth.sound) / truth.sound_hz,
        decord_exact=not reason,
        decord_reason=reason,
    )


def shard_of(truth):
    """Pack a truth file with every picture, once; give the path of the packed video."""
    folder = truth.path.parent / f"shards of {truth.path.name}"
    row = row_of(truth)
    # The last packet may lack what an encoder's delay has moved out; `prepare` measures that.
    row = replace(row, audio_end_seconds=row.audio_end_seconds - 0.025)
    if not folder.exists():
        (folder / PARTS_FOLDER).mkdir(parents=True)
        packing = Packing(frames_per_second=_SHARD_HZ, quality=95)
        part, job = (folder / PARTS_FOLDER / name for name in ("0.part", "0.job"))
        Job(source=truth.path, corpus=None, video=row, packing=packing, part=part).write(job)
        pack_video(job)
        writer = ShardWriter(folder, "test", packing=packing)
        writer.add(read_part(part))
        writer.flush()
    return folder / "test-00000.tar" / key_of(row.video_id)


def opener(backend, truth):
    """Opens the truth file with the backend, as a manifest row describes it."""
    if backend == "shards":
        path = shard_of(truth)
        decoder = ShardDecoder(path.parent.parent)
        return lambda: decoder.open(path, video=row_of(truth))
    if backend == "remembered":
        decoder = RememberingDecoder(choose_decoder("pyav"), most_bytes=10**8)
        return lambda: decoder.open(truth.path, video=row_of(truth))
    if backend == "torchcodec":
        pytest.importorskip(
            "torchcodec", reason="torchcodec or its FFmpeg is not installed", exc_type=Exception
        )
    reason = decord_exactness(truth.path) if backend == "decord" else ""
    return lambda: choose_decoder(backend).open(truth.path, video=row_of(truth, reason=reason))


REFUSES = {
    "pyav": {},
    "remembered": {},
    "shards": {},
    "decord": DECORD_REFUSES,
    "torchcodec": TORCHCODEC_REFUSES,
}
CASES = [
    (backend, name)
    for name in TRUTH_FILES
    for backend, refused in REFUSES.items()
    if name not in refused  # refusals are tested at the end
]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: "-".join(case))
def case(request):
    return request.param


@pytest.fixture(scope="module")
def truth(case, truth_of):
    return truth_of(case[1])


@pytest.fixture(scope="module")
def opens(case, truth):
    return opener(case[0], truth)


@pytest.fixture(scope="module")
def count(case, truth):
    """How many pictures the backend has to give."""
    lacks_last = case[0] == "torchcodec" and case[1] in TORCHCODEC_LACKS_LAST
    return len(truth.numbers) - lacks_last


def check_pictures(truth, frames, places):
    for place, pixels, seconds in zip(places, frames.pixels, frames.times_seconds, strict=True):
        assert frame_number(pixels) == truth.numbers[place]
        assert seconds == pytest.approx(truth.times_seconds[place], abs=truth.clock_slack_seconds + 1e-6)


def time_within(truth, place, share):
    """A time at which this picture is on the screen."""
    begin = truth.times_seconds[place]
    end = np.append(truth.times_seconds, truth.end_seconds)[place + 1]
    slack = truth.clock_slack_seconds
    return float(begin + slack + share * (end - begin - 3 * slack - 1e-4))


def test_single_pictures_in_random_order_are_the_true_ones(truth, opens, count):
    rng = np.random.default_rng(1)
    places = [0, count - 1, *rng.permutation(count)[:20]]
    with opens() as reader:
        for place in places:
            seconds = time_within(truth, place, rng.choice([0.0, 0.5, 1.0]))
            check_pictures(truth, reader.frames([seconds], short_side_px=None), [place])


def test_ascending_sets_of_pictures_are_the_true_ones(truth, opens, count):
    rng = np.random.default_rng(2)
    for size in (2, 5, 17):
        places = np.sort(rng.integers(0, count, size))
        times = [time_within(truth, place, 0.3) for place in places]
        with opens() as reader:
            check_pictures(truth, reader.frames(times, short_side_px=None), places)
            again = [time_within(truth, place, 0.8) for place in places]
            check_pictures(truth, reader.frames(again, short_side_px=None), places)


def test_scaled_pictures_are_the_true_ones(truth, opens):
    places = [1, len(truth.numbers) // 2]
    with opens() as reader:
        frames = reader.frames([time_within(truth, p, 0.5) for p in places], short_side_px=48)
    assert min(frames.pixels.shape[1:3]) == 48
    check_pictures(truth, frames, places)


def test_the_time_at_which_a_picture_comes_up_belongs_to_it(truth, opens):
    places = [0, 3, len(truth.numbers) - 2]
    times = [float(truth.times_seconds[place]) for place in places]
    with opens() as reader:
        check_pictures(truth, reader.frames(times, short_side_px=None), places)


def test_there_is_no_picture_before_the_first_and_after_the_last(case, truth, opens):
    with opens() as reader:
        for seconds, reason in (
            (truth.times_seconds[0] - 0.01, "before_start"),
            (truth.end_seconds, "past_end"),
            (truth.end_seconds + 5, "past_end"),
        ):
            with pytest.raises(DecodeError) as error:
                reader.frames([float(seconds)], short_side_px=None)
            assert error.value.reason == reason
            assert str(shard_of(truth) if case[0] == "shards" else truth.path) in str(error.value)


def test_sound_is_within_a_millisecond_and_as_loud_as_written(case, truth, opens):
    if case[0] in ("decord", "torchcodec") and case[1] not in ("plain", "mkv Opus", "edit list"):
        return  # their sound is pyav's
    begin, length = truth.sound_start_seconds, len(truth.sound) / truth.sound_hz
    divisor = np.gcd(16000, truth.sound_hz)
    resampled = resample_poly(truth.sound, 16000 // divisor, truth.sound_hz // divisor)
    edges = [0.0, 0.31, 0.5 * length, length - 0.4]
    with opens() as reader:
        for first, last in [*pairwise(edges), (0.1, length - 0.1)]:
            heard = reader.audio(begin + first, begin + last, sample_rate_hz=16000)
            expected = resampled[round(first * 16000) :][: len(heard.samples)]
            assert len(heard.samples) == round((last - first) * 16000)
            assert abs(audio_offset_seconds(heard.samples, expected, sample_rate_hz=16000)) < 1e-3
            assert heard.samples.std() == pytest.approx(expected.std(), rel=0.05)


def test_sound_before_the_start_or_past_the_end_is_an_error(truth, opens):
    begin = truth.sound_start_seconds
    end = begin + len(truth.sound) / truth.sound_hz
    with opens() as reader:
        # Encoders fill their last packet up: some 0.05 s of silence may follow what was written.
        for first, last in ((begin - 0.2, begin + 0.3), (end - 0.2, end + 0.2), (end + 3, end + 4)):
            with pytest.raises(DecodeError) as error:
                reader.audio(first, last, sample_rate_hz=16000)
            assert error.value.reason == "audio_short"


@pytest.mark.parametrize("name", TRUTH_FILES)
def test_decord_is_found_exact_or_refused_for_the_true_reason(name, truth_of):
    truth = truth_of(name)
    reason = decord_exactness(truth.path)
    assert reason.startswith(DECORD_REFUSES[name]) if name in DECORD_REFUSES else not reason
    if reason:
        with pytest.raises(DecodeError) as error:
            choose_decoder("decord").open(truth.path, video=row_of(truth, reason=reason))
        assert error.value.reason == "decord_inexact"
        assert reason in str(error.value)


@pytest.mark.parametrize("name", TORCHCODEC_REFUSES)
def test_torchcodec_refuses_files_in_which_it_is_not_exact(name, truth_of):
    with pytest.raises(DecodeError, match=TORCHCODEC_REFUSES[name]) as error:
        opener("torchcodec", truth_of(name))()
    assert error.value.reason == "torchcodec_inexact"


@pytest.mark.parametrize("name", ["plain", "HEVC", "webm", "rotated", "mkv AAC"])
@pytest.mark.parametrize("short_side_px", [None, 40])
@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_all_backends_give_the_same_colours(backend, name, short_side_px, truth_of):
    truth = truth_of(name)
    if name in REFUSES[backend]:
        return
    times = [float(truth.times_seconds[place]) + 0.011 for place in (1, 7, 20)]
    with opener("pyav", truth)() as ours, opener(backend, truth)() as theirs:
        a, b = (r.frames(times, short_side_px=short_side_px) for r in (ours, theirs))
    assert a.pixels.shape == b.pixels.shape
    np.testing.assert_allclose(a.times_seconds, b.times_seconds, atol=1e-6)
    levels = np.abs(a.pixels.astype(int) - b.pixels)
    # Two conversions from YUV, and two ways of averaging where black meets white.
    assert levels.mean() < 4
    assert np.median(levels) <= 2
