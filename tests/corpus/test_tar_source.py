"""Tars of other tools as a corpus: their videos are found, labelled, probed and decoded in place."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from making import make_clip

from avmi.corpus.manifest import read_manifest, read_rejects
from avmi.corpus.members import member_table, open_bytes, size_of
from avmi.corpus.source import read_source
from avmi.decode.choose import choose_decoder
from avmi.errors import CorpusError
from avmi.store.packing import Packing
from avmi.workflows.pack import PackRequest, pack
from avmi.workflows.prepare import prepare


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVMI_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    kinds = ("mp4", "mkv", "webm", "avi")
    return [make_clip(folder / f"{n}.{k}", seconds=2.5, tone_hz=300 + 90 * n) for n, k in enumerate(kinds)]


def shard_of(path: Path, samples: list[dict]) -> Path:
    """Write samples as webdataset itself does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with webdataset.TarWriter(str(path)) as writer:
        for sample in samples:
            writer.write(sample)
    return path


@pytest.fixture
def shards(tmp_path: Path, clips: list[Path]) -> Path:
    """As video2dataset leaves them: JSON, caption, statistics and a table beside."""
    folder = tmp_path / "shards"
    about = {"key": "000000000", "caption": "a square", "status": "success", "label": "squares"}
    first = [
        {"__key__": "000000000", "mp4": clips[0].read_bytes(), "json": about, "txt": "a square"},
        {"__key__": "000000001", "mkv": clips[1].read_bytes(), "json": {"label": ["b", "a"]}},
    ]
    second = [
        {"__key__": "deep/er/000010000", "webm": clips[2].read_bytes(), "cls": 7, "txt": "words"},
        {"__key__": "000010001", "avi": clips[3].read_bytes(), "txt": "words"},
    ]
    shard_of(folder / "00000.tar", first)
    shard_of(folder / "music" / "00001.tar", second)
    (folder / "00000_stats.json").write_text("{}")
    (folder / "00000.parquet").write_bytes(b"")
    return folder


def test_members_are_entries_with_the_labels_beside_them(shards: Path, tmp_path: Path) -> None:
    found = read_source(shards, out=tmp_path / "out")
    assert {entry.path: (entry.label, entry.further_labels) for entry in found.entries} == {
        "00000.tar/000000000.mp4": ("squares", ()),
        "00000.tar/000000001.mkv": ("b", ("a",)),
        "music/00001.tar/000010001.avi": ("music", ()),
        "music/00001.tar/deep/er/000010000.webm": ("7", ()),
    }
    assert found.rejects == ()


def test_a_member_is_measured_and_decoded_as_the_same_file_outside(
    shards: Path, tmp_path: Path, clips: list[Path]
) -> None:
    prepare(shards, out=tmp_path / "in_tars", workers=1, log=io.StringIO())
    prepare(clips[0].parent, out=tmp_path / "files", workers=1, log=io.StringIO())
    inside = {video.content_hash: video for video in read_manifest(tmp_path / "in_tars")}
    outside = {video.content_hash: video for video in read_manifest(tmp_path / "files")}
    assert set(inside) == set(outside)
    assert len(inside) == 4
    decoder = choose_decoder("pyav", corpus=tmp_path / "in_tars")
    plain = choose_decoder("pyav")
    for content, video in inside.items():
        other = outside[content]
        assert not video.decord_exact
        assert "tar" in video.decord_reason
        for name in ("video_end_seconds", "audio_end_seconds", "size_bytes", "loudness_dbfs", "width_px"):
            assert getattr(video, name) == getattr(other, name)
        with decoder.open(shards / video.path, video=video) as reader:
            heard = reader.audio(0.25, 1.25, sample_rate_hz=16000).samples
            seen = reader.frames([0.3, 1.7], short_side_px=None)
        with plain.open(clips[0].parent / other.path, video=None) as reader:
            np.testing.assert_array_equal(reader.audio(0.25, 1.25, sample_rate_hz=16000).samples, heard)
            again = reader.frames([0.3, 1.7], short_side_px=None)
        np.testing.assert_array_equal(seen.pixels, again.pixels)
        np.testing.assert_array_equal(seen.times_seconds, again.times_seconds)


def test_videos_in_tars_can_be_packed(shards: Path, tmp_path: Path) -> None:
    prepare(shards, out=tmp_path / "corpus", workers=1, log=io.StringIO())
    request = PackRequest(tmp_path / "corpus", tmp_path / "s", packing=Packing(size_px=32), workers=1)
    made = pack(request, log=io.StringIO())
    assert made.as_json()["videos"] == 4
    assert made.as_json()["rejected"] == {}


def test_packed_shards_are_no_source(shards: Path, tmp_path: Path) -> None:
    prepare(shards, out=tmp_path / "corpus", workers=1, log=io.StringIO())
    request = PackRequest(tmp_path / "corpus", tmp_path / "s", packing=Packing(size_px=32), workers=1)
    pack(request, log=io.StringIO())
    with pytest.raises(CorpusError, match="is a corpus already"):
        read_source(tmp_path / "s", out=tmp_path / "t")


def test_compressed_and_broken_tars_are_rejects_with_their_reason(tmp_path: Path, clips: list[Path]) -> None:
    folder = tmp_path / "bad"
    samples = [{"__key__": f"k{n}", "mp4": clips[0].read_bytes() + bytes(n)} for n in range(3)]
    whole = shard_of(folder / "cut.tar", samples).read_bytes()
    (folder / "cut.tar").write_bytes(whole[: len(whole) // 2])
    (folder / "text.tar").write_text("no tar at all\n" * 300)
    (folder / "empty.tar").touch()
    with tarfile.open(folder / "small.tar.gz", "w:gz") as tar:
        tar.add(clips[0], "a.mp4")
    found = read_source(folder, out=tmp_path / "out")
    assert [entry.path for entry in found.entries] == ["cut.tar/k0.mp4"]
    assert {reject.path: reject.reason for reject in found.rejects} == {
        "cut.tar": "broken_tar",
        "text.tar": "broken_tar",
        "empty.tar": "broken_tar",
        "small.tar.gz": "compressed_tar",
    }


def test_odd_members_are_no_videos_that_crash(tmp_path: Path, clips: list[Path]) -> None:
    path = tmp_path / "odd" / "0.tar"
    path.parent.mkdir()
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(clips[0], "long/" * 40 + "name.mp4")
        tar.add(clips[1], "../outside.mkv")
        for name, kind in (
            ("link.mp4", tarfile.SYMTYPE),
            ("pipe.mp4", tarfile.FIFOTYPE),
            ("d.mp4", tarfile.DIRTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("empty.mp4"))
        for name, content in (("bad.json", b"{"), ("bad.mp4", b"no video"), ("num.json", b"3")):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    prepared = prepare(path.parent, out=tmp_path / "c", workers=1, log=io.StringIO())
    assert [video.path for video in prepared.videos] == ["0.tar/" + "long/" * 40 + "name.mp4"]
    reasons = {reject.path: reject.reason for reject in read_rejects(tmp_path / "c")}
    assert set(reasons) == {"0.tar/../outside.mkv", "0.tar/empty.mp4", "0.tar/bad.mp4"}
    assert reasons["0.tar/empty.mp4"] == "empty_file"


def test_the_table_of_a_tar_is_read_once_while_it_is_the_same(shards: Path, tmp_path: Path) -> None:
    tar = shards / "00000.tar"
    names = [name for name, _, _ in member_table(tar)]
    with tarfile.open(tar) as peer:
        assert names == sorted(peer.getnames())
        for name, start, size in member_table(tar):
            member = peer.getmember(name)
            assert (start, size) == (member.offset_data, member.size)
    assert len(list((tmp_path / "cache" / "members").iterdir())) == 1
    shard_of(tar, [{"__key__": "other", "json": json.dumps({}).encode(), "mp4": b"x" * 700}])
    assert [name for name, _, _ in member_table(tar)] == ["other.json", "other.mp4"]


def test_a_member_is_read_like_a_file(shards: Path, clips: list[Path]) -> None:
    path = shards / "00000.tar" / "000000000.mp4"
    content = clips[0].read_bytes()
    assert size_of(path) == len(content)
    with open_bytes(path) as file:
        assert file.read() == content
        file.seek(-100, io.SEEK_END)
        assert file.read() == content[-100:]
        file.seek(7)
        assert file.read(9) == content[7:16]
