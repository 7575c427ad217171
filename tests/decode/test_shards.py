"""What a packed video shows and sounds like, against the same video decoded from its file."""

import io
from pathlib import Path

import numpy as np
import pytest
from corpora import probed
from making import Encoding, frame_number, make_clip, noise, numbered_picture, write_video

from avmi.corpus.manifest import Manifest, read_manifest, write_manifest
from avmi.decode.choose import choose_decoder
from avmi.errors import DecodeError
from avmi.store.packing import Packing
from avmi.workflows.pack import PackRequest, pack

RATE = 25
SECONDS = 3.2


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Corpus of a video with numbered pictures that starts at 0.36 s, and seeded noise from 0.1 s."""
    folder = tmp_path_factory.mktemp("numbered")
    count = round(SECONDS * RATE)
    write_video(
        folder / "n.mkv",
        pictures=(numbered_picture(n) for n in range(count)),
        times_seconds=0.36 + np.arange(count) / RATE,
        samples=noise(4.0, sample_rate_hz=32000),
        sample_rate_hz=32000,
        audio_start_seconds=0.1,
        encoding=Encoding(audio_codec="flac"),
    )
    corpus = folder / "corpus"
    corpus.mkdir()
    write_manifest(corpus, [probed(folder / "n.mkv", root=folder)], root=folder)
    return corpus


def packed(corpus: Path, out: Path, **settings: object) -> Manifest:
    packing = Packing(**{"size_px": 64, "quality": 95, **settings})
    pack(PackRequest(corpus, out=out, packing=packing, workers=1), log=io.StringIO())
    return read_manifest(out)


@pytest.fixture(scope="module")
def shards(numbered: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus packed at four pictures a second."""
    out = tmp_path_factory.mktemp("four") / "s"
    packed(numbered, out)
    return out


@pytest.mark.parametrize("fps", [4.0, 2.5, 7.0])
def test_the_picture_at_t_is_the_last_kept_one_that_had_come_up(
    numbered: Path, tmp_path: Path, fps: float
) -> None:
    manifest = packed(numbered, tmp_path / "s", frames_per_second=fps)
    source = read_manifest(numbered)
    (video,), (original,) = manifest.videos, source.videos
    exact, kept = choose_decoder("pyav"), choose_decoder("pyav", corpus=tmp_path / "s")
    start, end = video.video_start_seconds, video.video_end_seconds
    times = sorted(np.random.default_rng(3).uniform(start, end - 1e-3, 60).tolist())
    grid = start + np.arange(int(np.ceil((end - start) * fps - 1e-6))) / fps
    with exact.open(source.path_of(original), video=original) as reader:
        truth = reader.frames(times, short_side_px=None)
        on_grid = reader.frames(grid.tolist(), short_side_px=None)
    with kept.open(manifest.path_of(video), video=video) as reader:
        found = reader.frames(times, short_side_px=None)
        exactly = reader.frames(grid.tolist(), short_side_px=None)
    # By brute force from the definition, with the clock's own rounding.
    stamps = np.unique(on_grid.times_seconds)
    for t, stamp in zip(times, found.times_seconds, strict=True):
        assert stamp == max(s for s in stamps if s <= t + 0.5e-3)
    late = truth.times_seconds - found.times_seconds
    assert (late >= 0).all()
    assert late.max() < 1 / fps
    assert late.max() > 0
    # At the grid's own times it is the exact picture, by the number that is drawn in it.
    np.testing.assert_array_equal(exactly.times_seconds, on_grid.times_seconds)
    ours = [frame_number(p) for p in exactly.pixels]
    assert ours == [frame_number(p) for p in on_grid.pixels]


def test_the_clock_of_the_sound_is_the_originals(numbered: Path, tmp_path: Path) -> None:
    source = read_manifest(numbered)
    (original,) = source.videos
    with choose_decoder("pyav").open(source.path_of(original), video=original) as reader:
        truth = reader.audio(1.0, 2.28, sample_rate_hz=16000).samples
    for audio in ("pcm", "flac"):
        manifest = packed(numbered, tmp_path / audio, audio=audio)
        (video,) = manifest.videos
        assert video.audio_start_seconds == pytest.approx(0.1, abs=1e-3)
        with choose_decoder("pyav", corpus=tmp_path / audio).open(
            manifest.path_of(video), video=video
        ) as reader:
            found = reader.audio(1.0, 2.28, sample_rate_hz=16000)
            assert len(found.samples) == len(truth) == 20480
            # Half a sample of the stored grid, and sixteen bits.
            assert np.abs(found.samples - truth).max() < 2e-2 * np.abs(truth).max() + 2e-5
            slower = reader.audio(1.0, 2.28, sample_rate_hz=8000)
            assert len(slower.samples) == 10240
            with pytest.raises(DecodeError, match="--sample-rate 22050"):
                reader.audio(1.0, 2.0, sample_rate_hz=22050)
            with pytest.raises(DecodeError, match="not all there"):
                reader.audio(3.5, 4.5, sample_rate_hz=16000)


def test_pictures_outside_the_video_are_errors_as_in_every_backend(shards: Path) -> None:
    manifest = read_manifest(shards)
    (video,) = manifest.videos
    with choose_decoder("pyav", corpus=shards).open(manifest.path_of(video), video=video) as reader:
        for seconds, reason in ((0.2, "before_start"), (video.video_end_seconds, "past_end")):
            with pytest.raises(DecodeError) as raised:
                reader.frames([seconds], short_side_px=None)
            assert raised.value.reason == reason
        assert reader.frames([], short_side_px=32).pixels.shape == (0, 1, 1, 3)
        with pytest.raises(ValueError, match="ascend"):
            reader.frames([2.0, 1.0], short_side_px=None)


@pytest.mark.parametrize("short_side", [None, 17, 31, 64, 90])
def test_a_smaller_picture_is_the_stored_one_averaged(shards: Path, short_side: int | None) -> None:
    manifest = read_manifest(shards)
    (video,) = manifest.videos
    with choose_decoder("pyav", corpus=shards).open(manifest.path_of(video), video=video) as reader:
        stored = reader.frames([1.0], short_side_px=None).pixels[0]
        found = reader.frames([1.0], short_side_px=short_side).pixels[0]
    assert min(stored.shape[:2]) == 64
    assert min(found.shape[:2]) == (short_side or 64)
    assert abs(found.mean() - stored.mean()) < 2


def test_small_videos_keep_their_size_and_slow_ones_each_picture_once(tmp_path: Path) -> None:
    make_clip(tmp_path / "slow.mp4", seconds=6, frame_rate=2, size=(64, 48))
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_manifest(corpus, [probed(tmp_path / "slow.mp4", root=tmp_path)], root=tmp_path)
    manifest = packed(corpus, tmp_path / "s", size_px=224)
    (video,) = manifest.videos
    assert (video.width_px, video.height_px) == (64, 48)
    decoder = choose_decoder("pyav", corpus=tmp_path / "s")
    with decoder.open(manifest.path_of(video), video=video) as reader:
        every = reader.every_frame(short_side_px=None)
    np.testing.assert_allclose(every.times_seconds, np.arange(12) / 2)
    # Without a row the sample itself says what it needs.
    with decoder.open(manifest.path_of(video), video=None) as reader:
        assert reader.frames([5.9], short_side_px=None).times_seconds.tolist() == [5.5]
