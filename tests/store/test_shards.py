"""Packed shards are read by webdataset, tar and sha256sum; whatever is broken in them is a reject, by name."""

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import webdataset

from avmi.corpus.manifest import Video, read_manifest
from avmi.decode.choose import choose_decoder
from avmi.errors import CorpusError, DecodeError
from avmi.store.index import index_path, read_index, scan_shard
from avmi.store.sample import blocks_crc, facts_from_json, summed_up
from avmi.store.shard import OpenShards
from avmi.store.verify import broken_in
from avmi.store.writer import rebuild_index


@pytest.fixture
def copy(packed: Path, tmp_path: Path) -> Path:
    """Shards that may be damaged."""
    return Path(shutil.copytree(packed, tmp_path / "shards"))


def samples(packed: Path) -> list[dict]:
    urls = [str(path) for path in sorted(packed.glob("*.tar"))]
    return list(webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8"))


def test_plain_webdataset_reads_pictures_sound_and_json(packed: Path) -> None:
    found = samples(packed)
    videos = {video.video_id: video for video in read_manifest(packed)}
    assert {sample["json"]["video_id"] for sample in found} == set(videos)
    for sample in found:
        facts = sample["json"]
        video = videos[facts["video_id"]]
        assert (facts["label"], facts["split"]) == (video.label, video.split)
        times = facts["pictures"]["times_seconds"]
        for place in range(len(times)):
            picture = sample[f"{place:05d}.jpg"]
            assert picture.shape == (48, 72, 3)
            assert picture.dtype == np.uint8
        assert f"{len(times):05d}.jpg" not in sample
        sound, rate = soundfile.read(io.BytesIO(sample["wav"]), dtype="float32")
        assert rate == 16000
        assert len(sound) == facts["sound"]["samples"]


def test_webdataset_and_our_decoder_see_and_hear_the_same(packed: Path) -> None:
    manifest = read_manifest(packed)
    decoder = choose_decoder("pyav", corpus=packed)
    by_id = {sample["json"]["video_id"]: sample for sample in samples(packed)}
    for video in manifest.videos[:4]:
        sample = by_id[video.video_id]
        with decoder.open(manifest.path_of(video), video=video) as reader:
            ours = reader.frames([1.0], short_side_px=None).pixels[0]
            heard = reader.audio(0.5, 1.5, sample_rate_hz=16000).samples
        assert np.abs(ours.astype(int) - sample["00004.jpg"]).mean() < 2.5  # ours decodes the quick way
        sound, _ = soundfile.read(io.BytesIO(sample["wav"]), dtype="float32")
        np.testing.assert_array_equal(heard, sound[8000:24000])


def test_the_checksum_file_is_what_sha256sum_takes(packed: Path) -> None:
    done = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=packed, capture_output=True, text=True, check=True
    )
    assert done.stdout.count(": OK") == len(list(packed.glob("*.tar"))) > 3


def test_an_index_is_made_again_from_the_tar_alone_byte_by_byte(copy: Path) -> None:
    for shard in copy.glob("*.tar"):
        before = index_path(shard).read_bytes()
        index_path(shard).unlink()
        rebuild_index(shard)
        assert index_path(shard).read_bytes() == before


def test_the_index_says_where_tarfile_finds_the_members(packed: Path) -> None:
    shard = next(iter(sorted(packed.glob("train-*.tar"))))
    index = read_index(index_path(shard), check=True)
    with tarfile.open(shard) as tar:
        for key in index.keys:
            sample = OpenShards().get(shard).sample(key)
            for place in range(len(sample.frames)):
                member = tar.extractfile(f"{key}.{place:05d}.jpg")
                assert member is not None
                assert member.read() == bytes(sample.jpeg(place))


def test_every_single_flipped_byte_of_a_sample_is_noticed_where_it_matters(copy: Path) -> None:
    shard = sorted(copy.glob("test-*.tar"))[0]
    whole = shard.read_bytes()
    rng = np.random.default_rng(7)
    for place in rng.integers(0, len(whole) - 1024, 60):
        torn = bytearray(whole)
        torn[place] ^= 1 << int(rng.integers(8))
        shard.write_bytes(torn)
        assert list(broken_in(shard)), f"byte {place} of {shard.name}"
    shard.write_bytes(whole)
    assert list(broken_in(shard)) == []


def test_a_damaged_picture_or_sound_is_a_decode_error_and_the_other_videos_are_read(copy: Path) -> None:
    manifest = read_manifest(copy)
    first, second = [v for v in manifest if v.path.startswith(manifest.videos[0].path.split("/")[0])][:2]
    shard = manifest.path_of(first).parent
    placed = {p.facts.key: p for p in scan_shard(shard)}[Path(first.path).name]
    assert placed.facts.pictures is not None
    torn = bytearray(shard.read_bytes())
    torn[placed.start + placed.facts.pictures.offsets[3] + 50] ^= 255
    torn[placed.start + placed.facts.sound.offset + 44 + 2 * 16000] ^= 1
    shard.write_bytes(torn)
    decoder = choose_decoder("pyav", corpus=copy)
    with decoder.open(manifest.path_of(first), video=first) as reader:
        reader.frames([0.0, 0.5], short_side_px=48)
        reader.audio(1.5, 2.5, sample_rate_hz=16000)
        with pytest.raises(DecodeError, match="picture 3 is damaged") as raised:
            reader.frames([0.8], short_side_px=48)
        assert raised.value.reason == "shard_damaged"
        with pytest.raises(DecodeError, match="its sound is damaged"):
            reader.audio(0.5, 1.5, sample_rate_hz=16000)
    with decoder.open(manifest.path_of(second), video=second) as reader:
        reader.frames([0.8], short_side_px=48)


def test_a_truncated_missing_or_foreign_shard_is_a_decode_error(copy: Path) -> None:
    manifest = read_manifest(copy)
    shards = sorted({manifest.path_of(video).parent for video in manifest})
    shards[0].write_bytes(shards[0].read_bytes()[:-5000])
    shards[1].unlink()
    index_path(shards[2]).write_bytes(b"nonsense\n" * 100)
    decoder = choose_decoder("pyav", corpus=copy)
    reasons = {}
    for video in manifest:
        try:
            decoder.open(manifest.path_of(video), video=video).frames([0.5], short_side_px=None)
        except DecodeError as error:
            reasons.setdefault(manifest.path_of(video).parent, set()).add(error.reason)
    assert reasons == {
        shards[0]: {"shard_damaged"},
        shards[1]: {"shard_unreadable"},
        shards[2]: {"shard_damaged"},
    }


def test_a_shard_that_shrinks_while_it_is_mapped_ends_no_process(copy: Path) -> None:
    manifest = read_manifest(copy)
    video = manifest.videos[0]
    decoder = choose_decoder("pyav", corpus=copy)
    with decoder.open(manifest.path_of(video), video=video) as reader:
        reader.frames([0.5], short_side_px=None)
    with manifest.path_of(video).parent.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(DecodeError, match="1,000 bytes"):
        decoder.open(manifest.path_of(video), video=video)


def test_a_shard_that_shrinks_while_a_video_of_it_is_open_ends_no_process(copy: Path) -> None:
    manifest = read_manifest(copy)
    video = manifest.videos[0]
    with choose_decoder("pyav", corpus=copy).open(manifest.path_of(video), video=video) as reader:
        reader.frames([0.5], short_side_px=None)
        with manifest.path_of(video).parent.open("r+b") as file:
            file.truncate(1000)
        with pytest.raises(DecodeError, match="1,000 bytes"):
            reader.frames([1.5], short_side_px=None)
        with pytest.raises(DecodeError, match="1,000 bytes"):
            reader.audio(0.5, 1.5, sample_rate_hz=16000)


def or_lost(read: Callable[[], bytes]) -> bytes:
    """What is read, or "" when the shard is damaged there."""
    try:
        return read()
    except DecodeError as error:
        return b"" if error.reason == "shard_damaged" else error.reason.encode()


def shown_and_heard(shards: Path, video: Video) -> tuple[list[bytes], bytes]:
    """Everything that is packed of a video."""
    with choose_decoder("pyav", corpus=shards).open(shards / video.path, video=video) as reader:

        def picture(seconds: float) -> bytes:
            frames = reader.frames([seconds], short_side_px=None)
            return frames.pixels.tobytes() + frames.times_seconds.tobytes()

        times = np.arange(video.video_start_seconds, video.video_end_seconds - 0.01, 0.25).tolist()
        shown = [or_lost(lambda seconds=seconds: picture(seconds)) for seconds in times]
        heard = or_lost(lambda: reader.audio(0.0, 2.5, sample_rate_hz=16000).samples.tobytes())
    return shown, heard


def test_a_hole_of_zeros_is_never_a_wrong_picture_or_sound(copy: Path) -> None:
    manifest = read_manifest(copy)
    videos = [v for v in manifest if v.path.startswith(manifest.videos[0].path.split("/")[0])]
    shard = manifest.path_of(videos[0]).parent
    whole = shard.read_bytes()
    true = {video: shown_and_heard(copy, video) for video in videos}
    lost = 0
    for start, size in ((len(whole) // 2, 4096), (len(whole) // 3, 50_000), (0, 700), (1536, 512)):
        torn = bytearray(whole)
        torn[start : start + size] = bytes(size)
        shard.write_bytes(torn)
        for video in videos:
            shown, heard = shown_and_heard(copy, video)
            assert all(a in (b"", b) for a, b in zip(shown, true[video][0], strict=True))
            assert heard in (b"", true[video][1])
            lost += shown.count(b"") + (not heard)
    assert lost > 5


def test_an_index_with_any_other_byte_is_refused_or_means_the_same(copy: Path) -> None:
    manifest = read_manifest(copy)
    video = manifest.videos[0]
    index = index_path(manifest.path_of(video).parent)
    whole = index.read_bytes()
    true = shown_and_heard(copy, video)
    rng = np.random.default_rng(3)
    first_line = whole.index(b"\n")
    places = [*range(0, first_line, 3), *rng.integers(first_line, len(whole), 60).tolist()]
    refused = 0
    for place in places:
        torn = bytearray(whole)
        torn[place] ^= 1 << int(rng.integers(8))
        index.write_bytes(torn)
        found = or_lost(lambda: repr(shown_and_heard(copy, video)).encode())
        assert found in (b"", repr(true).encode()), place
        refused += not found
    assert refused >= 60


@pytest.mark.parametrize("sizes", [(), (0,), (8192,), (1, 8191, 3), (30000, 5, 8192, 20001)])
def test_sound_in_pieces_has_the_checksums_of_sound_in_one(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(4)
    pieces = [rng.bytes(size) for size in sizes]
    sums: list[int] = []
    assert b"".join(summed_up(pieces, sums)) == b"".join(pieces)
    assert sums == blocks_crc(b"".join(pieces))


def test_json_with_any_other_byte_is_refused() -> None:
    content = b'{"key":"a","checksum":"00000000"}'
    with pytest.raises(DecodeError, match="JSON is damaged"):
        facts_from_json(content, where="x")


def test_a_tar_that_breaks_off_is_no_shard(copy: Path) -> None:
    shard = sorted(copy.glob("*.tar"))[0]
    shard.write_bytes(shard.read_bytes()[:-1536])
    with pytest.raises(CorpusError, match="no whole shard"):
        list(scan_shard(shard))
