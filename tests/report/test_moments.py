import io
import wave
from pathlib import Path

import numpy as np
import pytest
from corpora import probed
from making import Encoding, frame_number, make_clip, noise, numbered_picture, write_video
from PIL import Image

from avmi.corpus.manifest import Manifest
from avmi.decode.clip import Waveform
from avmi.index import Hit
from avmi.report.moments import find_videos, picture_jpeg, read_moments, wav_bytes


def hit(video: str, start: float, end: float, *, rank: int = 1) -> Hit:
    return Hit(rank, 0.5, video, start, end, label="", clip_id="", split="test")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Two videos: numbered pictures at 10 per second with noise; a flash with a beep at 1.5 s."""
    root = tmp_path_factory.mktemp("moments")
    numbered = write_video(
        root / "numbered.mp4",
        pictures=(numbered_picture(n) for n in range(40)),
        times_seconds=np.arange(40) / 10,
        samples=noise(4.0, sample_rate_hz=16000),
        sample_rate_hz=16000,
        frame_rate=10,
    )
    flash = make_clip(root / "flash.mp4", seconds=3.0, flash_at_seconds=1.5)
    return Manifest(root, tuple(probed(path, root=root) for path in (numbered, flash)))


def read(manifest: Manifest, *hits: Hit, **settings):
    return read_moments(hits, manifest, videos=find_videos(hits, manifest), **settings)


def test_the_picture_is_the_one_in_the_middle_of_each_hit(manifest: Manifest) -> None:
    spans = [(2.0, 3.12), (0.3, 0.9), (1.17, 1.17)]  # middles: 2.56, 0.6 and a point in time
    moments = read(manifest, *(hit("numbered.mp4", *span) for span in spans), short_side_px=64)
    numbers = [frame_number(moment.picture) for moment in moments]
    assert numbers[0] == 25
    assert numbers[1] in (5, 6)  # the picture changes at that very time
    assert numbers[2] == 11


def test_the_sound_is_exactly_the_hits_interval(manifest: Manifest) -> None:
    # The beep lasts from 1.5 to 1.6 s: 0.4 s after the start of the hit.
    (moment,) = read(manifest, hit("flash.mp4", 1.1, 2.3))
    sound = moment.sound
    assert (sound.start_seconds, len(sound.samples)) == (1.1, round(1.2 * sound.sample_rate_hz))
    loud = np.nonzero(np.abs(sound.samples) > 0.2)[0] / sound.sample_rate_hz
    assert loud.min() == pytest.approx(0.4, abs=0.003)
    assert loud.max() == pytest.approx(0.5, abs=0.003)


def test_the_rate_is_the_videos_or_the_most_that_is_asked_for(manifest: Manifest) -> None:
    rates = [
        read(manifest, hit("flash.mp4", 0.5, 1.0), most_hz=most)[0].sound.sample_rate_hz
        for most in (None, 24000, 9000)
    ]
    assert rates == [16000, 16000, 9000]


def test_a_hit_of_a_picture_has_no_sound(manifest: Manifest) -> None:
    (moment,) = read(manifest, hit("flash.mp4", 1.0, 1.0))
    assert moment.sound is None
    assert moment.problem == ""


def test_hits_of_several_videos_come_back_in_their_order(manifest: Manifest) -> None:
    hits = [hit("flash.mp4", 1.2, 1.8), hit("numbered.mp4", 3.0, 3.5), hit("flash.mp4", 0.0, 0.4)]
    flash, numbered, calm = read(manifest, *hits, short_side_px=64)
    assert flash.picture.min() > 200  # the flash
    assert frame_number(numbered.picture) == 32
    assert calm.picture.min() < 60


def test_a_video_that_is_gone_leaves_the_others_alone(manifest: Manifest) -> None:
    gone, there = read(manifest, hit("gone.mp4", 0.0, 1.0), hit("numbered.mp4", 0.0, 1.0))
    assert gone.picture is None
    assert "no longer" in gone.problem
    assert there.problem == ""


def test_without_a_corpus_every_hit_has_a_problem() -> None:
    hits = [hit("a.mp4", 0.0, 1.0)]
    assert find_videos(hits, None) == {}
    assert read_moments(hits, None, videos={})[0].problem


def test_a_hit_past_the_end_of_the_sound_keeps_its_picture_and_says_why(manifest: Manifest) -> None:
    (moment,) = read(manifest, hit("numbered.mp4", 3.0, 9.0), short_side_px=64)
    assert moment.sound is None
    assert "not all there" in moment.problem
    assert frame_number(moment.picture) == 39


def test_a_damaged_video_has_a_problem(manifest: Manifest, tmp_path: Path) -> None:
    (tmp_path / "flash.mp4").write_bytes(b"no video any more")
    broken = Manifest(tmp_path, manifest.videos)
    (moment,) = read(broken, hit("flash.mp4", 0.0, 1.0))
    assert (moment.picture, moment.sound) == (None, None)
    assert "cannot be opened" in moment.problem


def test_pictures_are_there_when_the_sound_begins_before_them(tmp_path: Path) -> None:
    path = write_video(
        tmp_path / "late.mp4",
        pictures=(numbered_picture(n) for n in range(20)),
        times_seconds=1.0 + np.arange(20) / 10,
        samples=noise(3.0, sample_rate_hz=16000),
        sample_rate_hz=16000,
        frame_rate=10,
        encoding=Encoding(),
    )
    manifest = Manifest(tmp_path, (probed(path, root=tmp_path),))
    (moment,) = read(manifest, hit("late.mp4", 0.2, 0.8), short_side_px=64)
    assert frame_number(moment.picture) == 0
    assert moment.problem == ""


def test_wav_bytes_hold_the_samples() -> None:
    samples = np.array([0.0, 0.5, -0.25, 1.0, -1.0, 1.7], np.float32)
    with wave.open(io.BytesIO(wav_bytes(Waveform(samples, 11025, 4.0)))) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 11025)
        read_back = np.frombuffer(file.readframes(99), "<i2") / 32767
    assert np.abs(read_back - samples.clip(-1, 1)).max() < 1 / 32767


def test_pictures_are_shrunk_but_never_stretched() -> None:
    wide, small = np.zeros((300, 900, 3), np.uint8), np.zeros((30, 40, 3), np.uint8)
    sizes = [Image.open(io.BytesIO(picture_jpeg(p, most_px=450))).size for p in (wide, small)]
    assert sizes == [(450, 150), (40, 30)]
