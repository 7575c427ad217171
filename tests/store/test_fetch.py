"""Shards at an address: fetched once, whole, into a bounded cache; failures are counted rejects and clear errors."""

import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest

from avmi.config.load import load_config
from avmi.config.schema import PretrainConfig
from avmi.corpus.address import address_of, local_folder, read_remote
from avmi.corpus.manifest import read_manifest
from avmi.decode.choose import choose_decoder
from avmi.errors import ConfigError, CorpusError, DecodeError
from avmi.store import fetch

ADDRESS = "memory://bucket/shards"


@pytest.fixture
def bucket(packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A copy of the shards in fsspec's memory, and an empty cache folder."""
    monkeypatch.setenv("AVMI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetch, "_FIRST_PAUSE_SECONDS", 0.0)
    files = fsspec.filesystem("memory")
    for path in packed.iterdir():
        if path.is_file():
            files.pipe_file(f"/bucket/shards/{path.name}", path.read_bytes())
    yield files
    files.rm("/bucket", recursive=True)


def read_all(corpus: Path, **cache: Any) -> dict[str, str]:
    """Read every video; the reasons of those that cannot be."""
    manifest = read_manifest(local_folder(ADDRESS, **cache))
    decoder = choose_decoder("pyav", corpus=manifest.corpus)
    reasons = {}
    for video in manifest:
        try:
            with decoder.open(manifest.path_of(video), video=video) as reader:
                reader.frames([0.5], short_side_px=32)
                reader.audio(0.0, 1.0, sample_rate_hz=16000)
        except DecodeError as error:
            reasons[video.path] = error.reason
    return reasons


def test_what_is_read_from_an_address_is_what_lies_there(bucket: Any, packed: Path) -> None:
    here, there = read_manifest(packed), read_manifest(ADDRESS)
    assert there.videos == here.videos
    assert not list(there.root.glob("*.tar"))  # nothing is fetched before it is read
    video = there.videos[0]
    with choose_decoder("pyav", corpus=there.corpus).open(there.path_of(video), video=video) as reader:
        far = reader.frames([0.5], short_side_px=None)
    with choose_decoder("pyav", corpus=packed).open(here.path_of(video), video=video) as reader:
        near = reader.frames([0.5], short_side_px=None)
    assert (far.pixels == near.pixels).all()
    assert [path.name for path in there.root.glob("*.tar")] == [video.path.split("/")[0]]


def test_each_shard_is_fetched_once(bucket: Any, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []
    original = fetch._copy

    def counted(files: Any, address: str, path: Path, *, sha256: str | None) -> None:
        fetched.append(path.name)
        original(files, address, path, sha256=sha256)

    monkeypatch.setattr(fetch, "_copy", counted)
    assert read_all(packed) == {}
    assert read_all(packed) == {}
    assert sorted(n for n in fetched if n.endswith(".tar")) == sorted(p.name for p in packed.glob("*.tar"))


def test_the_cache_stays_below_its_limit(bucket: Any, packed: Path) -> None:
    largest = max(path.stat().st_size for path in packed.glob("*.tar"))
    limit = 2.5 * largest / 1e9
    assert read_all(packed, cache_gigabytes=limit) == {}
    left = list(local_folder(ADDRESS, cache_gigabytes=limit).glob("*.tar"))
    assert 1 <= len(left) < len(list(packed.glob("*.tar")))
    assert sum(path.stat().st_size for path in left) <= limit * 1e9


def test_a_shard_that_is_gone_or_damaged_rejects_its_videos_only(bucket: Any, packed: Path) -> None:
    shards = sorted(path.name for path in packed.glob("train-*.tar"))
    bucket.rm(f"/bucket/shards/{shards[0]}")
    torn = bytearray(bucket.cat_file(f"/bucket/shards/{shards[1]}"))
    torn[1000] ^= 1
    bucket.pipe_file(f"/bucket/shards/{shards[1]}", bytes(torn))
    reasons = read_all(packed)
    expected = {v.path for v in read_manifest(packed) if v.path.split("/")[0] in shards[:2]}
    assert set(reasons) == expected
    assert set(reasons.values()) == {"shard_unreachable"}


def test_a_failure_that_passes_is_tried_again_and_one_that_stays_is_not_forever(
    bucket: Any, packed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, original = [], fetch._copy

    def shaky(files: Any, address: str, path: Path, *, sha256: str | None) -> None:
        calls.append(address)
        if len(calls) <= failures:
            raise ConnectionError("reset by peer")
        original(files, address, path, sha256=sha256)

    monkeypatch.setattr(fetch, "_copy", shaky)
    failures = 2
    manifest = read_manifest(ADDRESS)
    fetch.Fetcher(manifest.root).have(manifest.path_of(manifest.videos[0]).parent)
    shutil.rmtree(manifest.root)
    calls.clear()
    failures = 10**6
    manifest = read_manifest(ADDRESS)
    fetcher = fetch.Fetcher(manifest.root)
    for _ in range(2):
        with pytest.raises(DecodeError, match="tried 3 times: ConnectionError: reset by peer"):
            fetcher.have(manifest.path_of(manifest.videos[0]).parent)
    assert len(calls) == 3  # the second time at once


def test_another_corpus_at_the_same_address_takes_the_place_of_the_old(bucket: Any, packed: Path) -> None:
    assert read_all(packed) == {}
    folder = local_folder(ADDRESS)
    assert list(folder.glob("*.tar"))
    bucket.pipe_file("/bucket/shards/manifest.parquet", (packed / "manifest.parquet").read_bytes())
    assert not list(local_folder(ADDRESS).glob("*.tar"))
    remote = read_remote(folder)
    assert remote is not None
    assert remote.address == ADDRESS


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("memory://bucket/nothing", "holds no shards.json"),
        ("s3://bucket/x", "needs the package s3fs"),
        ("nosuch://bucket/x", "no such kind of address as nosuch://"),
        ("s3://me:secret@bucket/x", "must hold no user, password or signature"),
        ("https://host/x?X-Amz-Signature=secret", "must hold no user, password or signature"),
    ],
)
def test_bad_addresses_are_one_sentence_without_secrets(bucket: Any, address: str, message: str) -> None:
    if address.startswith("s3://bucket"):
        try:
            import s3fs  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("s3fs is installed")
    with pytest.raises(CorpusError, match=message) as raised:
        read_manifest(address)
    assert "secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_password_in_the_configuration_is_refused_and_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("corpus: s3://me:secret@b/x\nrun: r\nviews: {a: {kind: frame}, b: {kind: audio}}\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:1: corpus: an address must hold no user") as raised:
        load_config(path, (), schema=PretrainConfig)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("file:///data/shards", "file:///data/shards"),
        ("memory://x", "memory://x"),
        ("/data/s3:/x", None),
        ("shards/mine", None),
        ("C:/shards", None),
        ("C:\\shards", None),
    ],
)
def test_an_address_is_told_from_a_path_as_text_and_as_path(text: str, address: str | None) -> None:
    assert address_of(text) == address
    assert address_of(Path(text)) == address
