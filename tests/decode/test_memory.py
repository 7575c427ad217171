"""A memory of decoded videos gives what the file's own reader gives."""

import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from making import Encoding, make_clip

from avmi.corpus.manifest import Video, video_of
from avmi.corpus.scan import scan
from avmi.decode.memory import LONGEST_SECONDS, RememberingDecoder
from avmi.decode.pyav import PyAvDecoder
from avmi.errors import DecodeError

GIGABYTE = 10**9


class CountingDecoder(PyAvDecoder):
    """Counts how often a file is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = 0

    def open(self, path, *, video):
        self.opened += 1
        return super().open(path, video=video)


def row_of(path: Path) -> Video:
    measured = asdict(scan(path).facts) | {"decord_exact": False, "decord_reason": "not checked"}
    return video_of(measured, path.name, label="", split="train")


@pytest.fixture(params=["mp4", "mkv", "ts"])
def clip(request, tmp_path):
    path = tmp_path / f"clip.{request.param}"
    make_clip(path, seconds=3.0, encoding=Encoding())
    return path, row_of(path)


def test_pictures_from_memory_are_bit_for_bit_the_files(clip) -> None:
    path, video = clip
    memory, plain = RememberingDecoder(PyAvDecoder(), most_bytes=GIGABYTE), PyAvDecoder()
    rng = random.Random(5)
    for _ in range(4):
        times = sorted(
            rng.uniform(video.video_start_seconds, video.video_end_seconds - 0.01) for _ in range(7)
        )
        with memory.open(path, video=video) as ours, plain.open(path, video=video) as theirs:
            found = ours.frames(times, short_side_px=24)
            wanted = theirs.frames(times, short_side_px=24)
        assert np.array_equal(found.pixels, wanted.pixels)
        assert np.array_equal(found.times_seconds, wanted.times_seconds)


def test_sound_from_memory_is_the_files_within_a_sample(clip) -> None:
    path, video = clip
    memory, plain = RememberingDecoder(PyAvDecoder(), most_bytes=GIGABYTE), PyAvDecoder()
    for start in (0.2, 0.95001, 1.7):
        with memory.open(path, video=video) as ours, plain.open(path, video=video) as theirs:
            found = ours.audio(start, start + 0.8, sample_rate_hz=16000).samples
            wanted = theirs.audio(start, start + 0.8, sample_rate_hz=16000).samples
        assert len(found) == len(wanted)
        lags = range(-20, 21)
        middle = wanted[200:-200]
        fits = [float(np.corrcoef(found[200 + lag : len(found) - 200 + lag], middle)[0, 1]) for lag in lags]
        assert abs(lags[int(np.argmax(fits))]) <= 1
        assert max(fits) > 0.9


def test_a_video_is_opened_once(clip) -> None:
    path, video = clip
    counting = CountingDecoder()
    memory = RememberingDecoder(counting, most_bytes=GIGABYTE)
    for _ in range(3):
        with memory.open(path, video=video) as reader:
            reader.audio(0.5, 1.0, sample_rate_hz=16000)
            reader.frames([0.7], short_side_px=24)
    assert counting.opened == 1
    assert 0 < memory.used_bytes < GIGABYTE


def test_what_does_not_fit_is_decoded_at_each_visit_with_the_same_result(clip) -> None:
    path, video = clip
    counting = CountingDecoder()
    full = RememberingDecoder(counting, most_bytes=1000)
    roomy = RememberingDecoder(PyAvDecoder(), most_bytes=GIGABYTE)
    for _ in range(2):
        with full.open(path, video=video) as ours, roomy.open(path, video=video) as theirs:
            a, b = (reader.audio(0.5, 1.1, sample_rate_hz=8000).samples for reader in (ours, theirs))
            assert np.array_equal(a, b)
            c, d = (reader.frames([0.3, 1.2], short_side_px=None).pixels for reader in (ours, theirs))
            assert np.array_equal(c, d)
    assert counting.opened == 2
    assert full.used_bytes <= 1000


def test_times_outside_the_video_are_the_files_own_error(clip) -> None:
    path, video = clip
    memory = RememberingDecoder(PyAvDecoder(), most_bytes=GIGABYTE)
    with memory.open(path, video=video) as reader:
        with pytest.raises(DecodeError):
            reader.frames([video.video_end_seconds + 1.0], short_side_px=24)
        with pytest.raises(DecodeError):
            reader.audio(video.audio_end_seconds - 0.2, video.audio_end_seconds + 1.0, sample_rate_hz=8000)


def test_damaged_pictures_are_never_remembered_as_whole(tmp_path) -> None:
    path = tmp_path / "damaged.mp4"
    make_clip(path, seconds=3.0, encoding=Encoding())
    video = row_of(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 4000] = bytes(4000)
    path.write_bytes(content)
    memory, plain = RememberingDecoder(PyAvDecoder(), most_bytes=GIGABYTE), PyAvDecoder()
    for seconds in np.arange(0.05, 2.9, 0.31):
        outcomes = []
        for decoder in (memory, plain):
            with decoder.open(path, video=video) as reader:
                try:
                    outcomes.append(reader.frames([float(seconds)], short_side_px=24).pixels.tobytes())
                except DecodeError as error:
                    outcomes.append(error.reason)
        assert outcomes[0] == outcomes[1]


def test_long_videos_and_unknown_ones_go_past_the_memory(clip) -> None:
    path, _video = clip
    counting = CountingDecoder()
    memory = RememberingDecoder(counting, most_bytes=GIGABYTE)
    ends = {"video_end_seconds": LONGEST_SECONDS + 9, "audio_end_seconds": LONGEST_SECONDS + 9}
    long = replace(row_of(path), **ends)
    for given in (long, None):
        with memory.open(path, video=given) as reader:
            reader.frames([0.5], short_side_px=24)
    assert counting.opened == 2
    assert memory.used_bytes == 0
