"""`avmi pack`: resumable, alike whatever the workers, and clear when a disk is full or gone."""

import dataclasses
import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from avmi.corpus.manifest import read_manifest, read_rejects, write_manifest
from avmi.decode.pack import pack_video, read_job
from avmi.errors import CorpusError, DecodeError, UsageError
from avmi.store.packing import Packing
from avmi.workflows.pack import PackRequest, check, pack

SMALL = Packing(size_px=32, shard_megabytes=0.25)


def packed(corpus: Path, out: Path, **settings: Any) -> Any:
    running = {name: settings.pop(name) for name in ("log", "probe") if name in settings}
    request = PackRequest(corpus, out, **{"packing": SMALL, "workers": 1, **settings})
    return pack(request, **{"log": io.StringIO(), **running})


def sums(folder: Path) -> dict[str, str]:
    """Hashes of all that stands in a folder of shards."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def failing_probe(job_path: Path) -> dict[str, Any]:
    """Fail for the label red, hang for the green, pack the others."""
    label = read_job(job_path).video.label
    if label == "red":
        raise DecodeError("red is not packed", reason="damaged")
    if label == "green":
        time.sleep(60)
    return pack_video(job_path)


def disk_full_probe(job_path: Path) -> dict[str, Any]:
    """Pack a few videos, then behave as a full disk does."""
    parts = read_job(job_path).part.parent
    if len(list(parts.glob("*.part"))) >= 2:
        raise DecodeError(f"{parts}: No space left on device", reason="cannot_write")
    return pack_video(job_path)


def test_the_number_of_workers_changes_no_byte(tiny_corpus: Path, tmp_path: Path) -> None:
    packed(tiny_corpus, tmp_path / "one", workers=1)
    packed(tiny_corpus, tmp_path / "three", workers=3)
    found = sums(tmp_path / "one")
    assert found == sums(tmp_path / "three")
    assert sum(name.endswith(".tar") for name in found) > 5


def test_a_packed_corpus_is_a_corpus_with_the_clock_of_the_original(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    result = packed(tiny_corpus, tmp_path / "s")
    source = {video.video_id: video for video in read_manifest(tiny_corpus)}
    manifest = read_manifest(tmp_path / "s")
    assert manifest.fingerprint == read_manifest(tiny_corpus).fingerprint
    for video in manifest:
        original = source[video.video_id]
        for name in ("label", "split", "content_hash", "duration_seconds", "audio_start_seconds"):
            assert getattr(video, name) == getattr(original, name)
        assert (video.width_px, video.height_px, video.sample_rate_hz) == (48, 32, 16000)
        assert manifest.path_of(video).parent.is_file()
    assert result.as_json()["videos"] == 15
    moved = tmp_path / "elsewhere"
    (tmp_path / "s").rename(moved)
    assert read_manifest(moved).root == moved
    assert check(moved).as_json() == {"shards": result.shards, "videos": 15, "broken": 0}


def test_no_shard_is_larger_than_asked_but_for_one_with_a_single_video(
    tiny_corpus: Path, tmp_path: Path
) -> None:
    packed(tiny_corpus, tmp_path / "s")
    assert max(path.stat().st_size for path in (tmp_path / "s").glob("*.tar")) <= SMALL.shard_bytes
    tiny = dataclasses.replace(SMALL, shard_megabytes=0.001)
    packed(tiny_corpus, tmp_path / "t", packing=tiny)
    assert len(list((tmp_path / "t").glob("*.tar"))) == 15


def test_killed_at_any_time_it_goes_on_to_the_same_bytes(tiny_corpus: Path, tmp_path: Path) -> None:
    packed(tiny_corpus, tmp_path / "whole")
    out = tmp_path / "killed"
    command = [sys.executable, "-m", "avmi", "pack", str(tiny_corpus), "--out", str(out), "--workers", "1"]
    command += ["--size", "32", "--shard-megabytes", "0.25"]
    seen: dict[str, str] = {}
    for files in (2, 8):
        child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 60
        while child.poll() is None and time.monotonic() < deadline:
            parts = list(out.glob(".parts/*.part")) + list(out.glob("*.tar"))
            if len(parts) >= files:
                break
            time.sleep(0.002)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert not (out / "manifest.parquet").exists()
        tars = {name: value for name, value in sums(out).items() if name.endswith(".tar")}
        assert seen.items() <= tars.items()  # what stood there stands there
        seen = tars
    (out / ".parts" / "torso.part").write_bytes(b"half")
    (out / ".parts" / "train-00099.tar.tmp").write_bytes(b"half")
    packed(tiny_corpus, out)
    assert sums(out) == sums(tmp_path / "whole")


def test_a_torn_part_of_a_killed_run_is_packed_again(tiny_corpus: Path, tmp_path: Path) -> None:
    packed(tiny_corpus, tmp_path / "whole")
    out = tmp_path / "torn"
    with pytest.raises(CorpusError, match="cannot be written"):
        packed(tiny_corpus, out, probe=disk_full_probe)
    for part in (out / ".parts").glob("*.part"):
        part.write_bytes(part.read_bytes()[:-700])
    packed(tiny_corpus, out)
    assert sums(out) == sums(tmp_path / "whole")


def test_new_videos_go_into_new_shards(tiny_corpus: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tiny_corpus)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_manifest(corpus, manifest.videos[:9], root=manifest.root)
    packed(corpus, tmp_path / "s")
    before = {name: s for name, s in sums(tmp_path / "s").items() if name.endswith((".tar", ".index"))}
    write_manifest(corpus, manifest.videos, root=manifest.root)
    assert packed(corpus, tmp_path / "s").packed == 6
    assert before.items() <= sums(tmp_path / "s").items()
    assert len(read_manifest(tmp_path / "s")) == 15
    assert packed(corpus, tmp_path / "s").packed == 0


def test_videos_that_fail_or_hang_are_counted_rejects(tiny_corpus: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tiny_corpus)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    few = [v for v in manifest if v.label == "blue"] + [v for v in manifest if v.label == "red"][:2]
    few += [v for v in manifest if v.label == "green"][:1]
    write_manifest(corpus, few, root=manifest.root)
    settings = {"probe": failing_probe, "time_limit_seconds": 3.0}
    result = packed(corpus, tmp_path / "s", **settings)
    assert result.as_json()["rejected"] == {"damaged": 2, "time_limit": 1}
    assert {reject.reason for reject in read_rejects(tmp_path / "s")} == {"damaged", "time_limit"}
    begun = time.monotonic()
    again = packed(corpus, tmp_path / "s", **settings)
    assert time.monotonic() - begun < 2.5  # what hung once is not waited for again
    assert again.as_json()["rejected"] == {"damaged": 2, "time_limit": 1}


def test_a_full_disk_stops_with_one_sentence_and_resumes(tiny_corpus: Path, tmp_path: Path) -> None:
    packed(tiny_corpus, tmp_path / "whole")
    mount = tmp_path / "mount"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1300k", "tmpfs", str(mount)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("no right to mount a small disk")
    try:
        with pytest.raises(CorpusError, match="No space left on device") as raised:
            packed(tiny_corpus, mount / "s", workers=2)
        assert "\n" not in str(raised.value)
        assert "the same command goes on" in str(raised.value)
        whole = sums(tmp_path / "whole")
        standing = {n: s for n, s in sums(mount / "s").items() if n.endswith(".tar")}
        assert standing
        assert standing.items() <= whole.items()
        subprocess.run(["mount", "-o", "remount,size=20m", str(mount)], check=True)
        packed(tiny_corpus, mount / "s")
        assert sums(mount / "s") == whole
    finally:
        subprocess.run(["umount", "-l", str(mount)], check=True)


def test_an_output_that_vanishes_stops_with_one_sentence(tiny_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    with pytest.raises(CorpusError, match="cannot be written"):
        packed(tiny_corpus, out, probe=vanishing_output_probe)


def vanishing_output_probe(job_path: Path) -> dict[str, Any]:
    """Take the folder of shards away, as a lost mount does."""
    shards = read_job(job_path).part.parents[1]
    shards.rename(shards.with_name("gone"))
    return pack_video(job_path)


@pytest.mark.parametrize("how", ["the folder is gone", "the folder is empty", "every file is missing"])
def test_a_source_that_vanishes_stops_the_run_and_rejects_nothing(
    tiny_corpus: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(tiny_corpus)
    root, corpus = tmp_path / "videos", tmp_path / "corpus"
    shutil.copytree(manifest.root, root)
    corpus.mkdir()
    write_manifest(corpus, manifest.videos, root=root)
    first = [v for v in manifest if v.split == "train"]
    few = tmp_path / "few"
    few.mkdir()
    write_manifest(few, first[:3], root=root)
    packed(few, tmp_path / "s")
    root.rename(tmp_path / "away")
    if how != "the folder is gone":
        root.mkdir()
    if how == "every file is missing":
        (root / "lost+found").mkdir()
        monkeypatch.setattr("avmi.decode.pack_run.MOST_UNREADABLE", 5)
    with pytest.raises(CorpusError, match="is the disk still there") as raised:
        packed(corpus, tmp_path / "s")
    assert "\n" not in str(raised.value)
    if root.exists():
        shutil.rmtree(root)
    (tmp_path / "away").rename(root)
    assert packed(corpus, tmp_path / "s").as_json()["rejected"] == {}
    assert len(read_manifest(tmp_path / "s")) == 15


def test_one_missing_file_is_a_reject_that_is_tried_again(tiny_corpus: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tiny_corpus)
    root, corpus = tmp_path / "videos", tmp_path / "corpus"
    shutil.copytree(manifest.root, root)
    corpus.mkdir()
    write_manifest(corpus, manifest.videos, root=root)
    lost = root / manifest.videos[4].path
    kept = lost.read_bytes()
    lost.unlink()
    assert packed(corpus, tmp_path / "s").as_json()["rejected"] == {"unreadable": 1}
    lost.write_bytes(kept)
    assert packed(corpus, tmp_path / "s").as_json()["rejected"] == {}


def test_intervals_of_one_file_are_packed_apart(tiny_corpus: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tiny_corpus)
    whole = manifest.videos[0]
    early = dataclasses.replace(whole, video_id="x_0-1.5", video_end_seconds=1.5, audio_end_seconds=1.5)
    late = dataclasses.replace(whole, video_id="x_1.5-2.5", video_start_seconds=1.5, audio_start_seconds=1.5)
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_manifest(corpus, [early, late], root=manifest.root)
    packed(corpus, tmp_path / "s")
    found = {video.video_id: video for video in read_manifest(tmp_path / "s")}
    assert found["x_0-1.5"].path.endswith("/x_0-1_5")
    assert found["x_1.5-2.5"].audio_start_seconds == 1.5
    assert len({video.path for video in found.values()}) == 2


def test_check_names_what_is_broken(tiny_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    packed(tiny_corpus, out)
    shards = sorted(out.glob("*.tar"))
    shards[0].unlink()
    torn = bytearray(shards[1].read_bytes())
    torn[3000] ^= 4
    shards[1].write_bytes(torn)
    shards[2].write_bytes(shards[2].read_bytes()[:-100])
    with pytest.raises(CorpusError) as raised:
        check(out)
    text = str(raised.value)
    assert f"{shards[0].name}: the shard is missing" in text
    assert f"{shards[1].name}/" in text
    assert shards[2].name in text
    assert shards[3].name not in text
    for shard in shards[:3]:
        shard.unlink(missing_ok=True)
        shard.with_suffix(".index").unlink()
    packed(tiny_corpus, out)
    assert check(out).videos == 15


def test_a_shard_that_is_no_shard_stops_the_run_before_it_packs(tiny_corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "s"
    packed(tiny_corpus, out)
    (out / "train-00000.tar").write_bytes(b"not a tar" * 1000)
    with pytest.raises(CorpusError, match=r"train-00000\.tar"):
        packed(tiny_corpus, out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size_px": 48}, "was packed otherwise .size_px 32, now 48"),
        ({"quality": 0}, "--quality must be between 1 and 100"),
        ({"frames_per_second": 0.0}, "--frames-per-second must be between"),
        ({"shard_megabytes": -1.0}, "--shard-megabytes must be above 0"),
    ],
)
def test_other_or_impossible_settings_are_refused(
    tiny_corpus: Path, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    packed(tiny_corpus, tmp_path / "s", split="valid")
    with pytest.raises((CorpusError, UsageError), match=message):
        packed(tiny_corpus, tmp_path / "s", packing=dataclasses.replace(SMALL, **change))


def test_places_that_cannot_be_are_one_clear_sentence(tiny_corpus: Path, tmp_path: Path) -> None:
    packed(tiny_corpus, tmp_path / "s", split="test")
    with pytest.raises(CorpusError, match="is packed already"):
        packed(tmp_path / "s", tmp_path / "t")
    with pytest.raises(CorpusError, match="is a corpus itself"):
        packed(tiny_corpus, tiny_corpus)
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="a file is in its place"):
        packed(tiny_corpus, tmp_path / "file")
    with pytest.raises(CorpusError, match=r"holds no shards\.json"):
        check(tiny_corpus)
    with pytest.raises(CorpusError, match="does not exist"):
        packed(tmp_path / "nowhere", tmp_path / "t")


@pytest.mark.skipif(os.name != "posix", reason="locks of POSIX")
def test_a_second_run_on_the_same_shards_is_refused(tiny_corpus: Path, tmp_path: Path) -> None:
    import fcntl

    packed(tiny_corpus, tmp_path / "s", split="test")
    with (tmp_path / "s" / ".parts" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(CorpusError, match="another `avmi pack`"):
            packed(tiny_corpus, tmp_path / "s")
