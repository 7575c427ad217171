import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rows import content, video_row

from avmi.corpus import manifest as manifest_module
from avmi.corpus.manifest import (
    MANIFEST_FILE,
    Reject,
    read_manifest,
    read_rejects,
    split_of,
    write_manifest,
    write_table,
)
from avmi.errors import CorpusError

VIDEOS = (
    video_row("dog/новый 'a'\n.mp4", label="dog", split="test"),
    video_row("b.mp4", is_silent=True, loudness_dbfs=-120.0, rotation_degrees=90),
    video_row("cat/c.mp4", label="cat", split="valid", decord_exact=False, decord_reason="edit list"),
)


def test_rows_come_back_as_they_were_written(tmp_path):
    write_manifest(tmp_path, VIDEOS, root=tmp_path / "videos")
    found = read_manifest(tmp_path)
    assert found.videos == VIDEOS
    assert found.path_of(VIDEOS[1]) == tmp_path / "videos" / "b.mp4"
    assert found.labels == ("cat", "dog")
    assert found.split("test", "valid").videos == (VIDEOS[0], VIDEOS[2])
    assert len(found) == 3


def test_rejects_come_back_as_they_were_written(tmp_path):
    rejects = (Reject("a\nb.mp4", "no_audio", "it's silent"), Reject("c.mp4", "not_media", '"text"'))
    write_table(tmp_path / "rejects.parquet", rejects, row_type=Reject)
    assert read_rejects(tmp_path) == rejects


def test_an_absolute_path_stays_where_it_is(tmp_path):
    write_manifest(tmp_path, [video_row("/far/a.mp4")], root=tmp_path)
    found = read_manifest(tmp_path)
    assert str(found.path_of(found.videos[0])) == "/far/a.mp4"


def test_the_fingerprint_follows_contents_and_splits_but_not_names_or_order(tmp_path):
    def fingerprint(*videos):
        write_manifest(tmp_path, videos, root=tmp_path)
        return read_manifest(tmp_path).fingerprint

    first = fingerprint(*VIDEOS)
    assert fingerprint(*VIDEOS[::-1]) == first
    assert fingerprint(dataclasses.replace(VIDEOS[0], path="moved.mp4"), *VIDEOS[1:]) == first
    assert fingerprint(dataclasses.replace(VIDEOS[0], split="train"), *VIDEOS[1:]) != first
    assert fingerprint(*VIDEOS[1:]) != first


def test_a_failed_write_leaves_the_old_table_and_nothing_else(tmp_path, monkeypatch):
    write_manifest(tmp_path, VIDEOS, root=tmp_path)

    def full(table, path, **_):
        path.write_bytes(b"half a table")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(manifest_module.pq, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        write_manifest(tmp_path, VIDEOS[:1], root=tmp_path)
    monkeypatch.undo()
    assert read_manifest(tmp_path).videos == VIDEOS
    assert [p.name for p in tmp_path.iterdir()] == [MANIFEST_FILE]


def test_a_missing_foreign_or_other_version_manifest_is_one_clear_error(tmp_path):
    with pytest.raises(CorpusError, match="does not exist: give the folder that"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST_FILE).write_bytes(b"PAR1 no table")
    with pytest.raises(CorpusError, match="not a table of avmi"):
        read_manifest(tmp_path)
    pq.write_table(pa.table({"path": ["a.mp4"]}), tmp_path / MANIFEST_FILE)
    with pytest.raises(CorpusError, match="not a table of avmi"):
        read_manifest(tmp_path)


def test_another_format_version_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(manifest_module, "FORMAT_VERSION", 99)
    write_manifest(tmp_path, VIDEOS, root=tmp_path)
    monkeypatch.undo()
    with pytest.raises(CorpusError, match="has format 99, this avmi reads"):
        read_manifest(tmp_path)


def test_the_split_follows_the_content_and_grows_with_its_share():
    hashes = [content(f"{i}") for i in range(500)]
    small = {h for h in hashes if split_of(h, fractions=(0.5, 0.25, 0.25)) == "train"}
    large = {h for h in hashes if split_of(h, fractions=(0.7, 0.2, 0.1)) == "train"}
    assert small < large
