import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avmi.corpus.source import read_source
from avmi.errors import CorpusError


def touch(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def listed(source, out="nowhere"):
    return {entry.path: entry.label for entry in read_source(source, out=out).entries}


def test_the_label_is_the_first_subfolder(tmp_path):
    for name in ("a.mp4", "dog/b.MOV", "dog/deep/er/c.webm", "cat/d.wav"):
        touch(tmp_path / name)
    assert listed(tmp_path) == {
        "a.mp4": "",
        "dog/b.MOV": "dog",
        "dog/deep/er/c.webm": "dog",
        "cat/d.wav": "cat",
    }


def test_what_is_no_media_by_name_or_hidden_is_ignored_and_counted(tmp_path):
    for name in ("a.mp4", "notes.txt", "x/photo.jpg", "._b.mp4", "none", ".cache/c.mp4"):
        touch(tmp_path / name)
    source = read_source(tmp_path, out=tmp_path / "out")
    assert [entry.path for entry in source.entries] == ["a.mp4"]
    assert source.ignored == 4


def test_entries_come_in_the_order_of_their_paths_with_size_and_time_of_change(tmp_path):
    for name, size in (("b.mp4", 3), ("a/z.mp4", 2), ("a.mp4", 5)):
        touch(tmp_path / name, b"x" * size)
    os.utime(tmp_path / "b.mp4", ns=(0, 12345678901))
    entries = read_source(tmp_path, out="nowhere").entries
    assert [(e.path, e.size_bytes) for e in entries] == [("a.mp4", 5), ("a/z.mp4", 2), ("b.mp4", 3)]
    assert entries[2].mtime_ns == 12345678901


def test_the_corpus_folder_inside_the_source_is_not_scanned(tmp_path):
    touch(tmp_path / "a.mp4")
    touch(tmp_path / "corpus" / "picture.mp4")
    assert list(listed(tmp_path, out=tmp_path / "corpus")) == ["a.mp4"]


def test_the_source_itself_may_be_the_corpus_folder(tmp_path):
    touch(tmp_path / "a.mp4")
    assert list(listed(tmp_path, out=tmp_path)) == ["a.mp4"]


@pytest.mark.parametrize(
    "name",
    ["with space.mp4", "quo'te\".mp4", "-dash.mp4", "видео 動画.mp4", "new\nline.mp4", "100%.mp4", "a:b.mp4"],
)
def test_odd_names_are_listed_as_they_are(tmp_path, name):
    touch(tmp_path / "cl ass" / name)
    assert listed(tmp_path) == {f"cl ass/{name}": "cl ass"}


def test_a_pipe_an_empty_file_and_a_dead_link_are_rejected_unopened(tmp_path):
    touch(tmp_path / "good.mp4")
    touch(tmp_path / "empty.mp4", b"")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dead.mp4").symlink_to(tmp_path / "gone.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/null")
    source = read_source(tmp_path, out="nowhere")
    assert [entry.path for entry in source.entries] == ["good.mp4"]
    assert {r.path: r.reason for r in source.rejects} == {
        "empty.mp4": "empty_file",
        "pipe.mp4": "not_a_file",
        "dead.mp4": "missing",
        "device.mp4": "not_a_file",
    }
    assert "named pipe" in next(r.detail for r in source.rejects if r.path == "pipe.mp4")


def test_a_name_that_is_not_utf8_is_rejected_in_writing_that_is(tmp_path):
    touch(tmp_path / "good.mp4")
    touch(tmp_path / os.fsdecode(b"caf\xe9.mp4"))
    (reject,) = read_source(tmp_path, out="nowhere").rejects
    assert reject.reason == "name_not_utf8"
    assert reject.path.encode() == b"caf\\udce9.mp4"


def test_linked_folders_are_followed_but_not_in_a_circle(tmp_path):
    touch(tmp_path / "elsewhere" / "b.mp4")
    source = tmp_path / "source"
    touch(source / "a.mp4")
    (source / "dog").symlink_to(tmp_path / "elsewhere")
    (source / "circle").symlink_to(source)
    assert listed(source) == {"a.mp4": "", "dog/b.mp4": "dog"}


def test_a_folder_that_cannot_be_read_is_rejected_by_name(tmp_path, monkeypatch):
    touch(tmp_path / "a.mp4")
    (tmp_path / "locked").mkdir()
    real = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (reject,) = read_source(tmp_path, out="nowhere").rejects
    assert (reject.path, reject.reason, reject.detail) == (
        "locked",
        "unreadable",
        "folder: Permission denied",
    )


@pytest.mark.parametrize("names", [[], ["notes.txt", "photo.jpg"]])
def test_a_folder_without_videos_is_one_clear_error(tmp_path, names):
    for name in names:
        touch(tmp_path / name)
    with pytest.raises(CorpusError, match="holds no video") as error:
        read_source(tmp_path, out="nowhere")
    assert str(tmp_path) in str(error.value)
    assert ("its 2 files" in str(error.value)) == bool(names)


def test_a_source_that_is_missing_or_one_video_is_one_clear_error(tmp_path):
    with pytest.raises(CorpusError, match="does not exist"):
        read_source(tmp_path / "gone", out="nowhere")
    with pytest.raises(CorpusError, match=r"neither a folder nor a \.csv"):
        read_source(touch(tmp_path / "a.mp4"), out="nowhere")


def write_csv(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_a_csv_gives_labels_and_splits_relative_to_its_own_folder(tmp_path):
    for name in ("clips/a.mp4", "clips/b,c.mp4", "far/d.mp4"):
        touch(tmp_path / name)
    table = write_csv(
        tmp_path / "clips" / "list.csv",
        'rating,path,label,split\n5,a.mp4,dog,test\n1,"b,c.mp4","barking, loud",\n'
        f"2,{tmp_path}/far/d.mp4,cat,train\n",
        encoding="utf-8-sig",
    )
    source = read_source(table, out="nowhere")
    assert source.root == tmp_path / "clips"
    assert [(e.path, e.label, e.split) for e in source.entries] == [
        (f"{tmp_path}/far/d.mp4", "cat", "train"),
        ("a.mp4", "dog", "test"),
        ("b,c.mp4", "barking, loud", None),
    ]
    assert all((source.root / e.path).is_file() for e in source.entries)


def test_a_parquet_table_is_read_like_a_csv(tmp_path):
    touch(tmp_path / "a.mp4")
    touch(tmp_path / "b.mp4")
    pq.write_table(
        pa.table({"path": ["a.mp4", "b.mp4"], "label": [0, None], "split": ["valid", None], "x": [1, 2]}),
        tmp_path / "t.parquet",
    )
    entries = read_source(tmp_path / "t.parquet", out="nowhere").entries
    assert [(e.path, e.label, e.split) for e in entries] == [("a.mp4", "0", "valid"), ("b.mp4", "", None)]


def test_files_that_a_table_lists_but_that_are_gone_are_rejects(tmp_path):
    touch(tmp_path / "a.mp4")
    source = read_source(write_csv(tmp_path / "t.csv", "path\na.mp4\ngone.mp4\n"), out="nowhere")
    assert [(r.path, r.reason) for r in source.rejects] == [("gone.mp4", "missing")]


def test_equal_rows_of_a_table_are_one_file(tmp_path):
    touch(tmp_path / "a.mp4")
    table = write_csv(tmp_path / "t.csv", "path,label\na.mp4,x\n./a.mp4,x\n")
    assert len(read_source(table, out="nowhere").entries) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no column named path"),
        ("file,label\na.mp4,x\n", "no column named path (it has: 'file', 'label')"),
        ("path,label\n", "lists no files"),
        ("path,split\na.mp4,train\nb.mp4,validation\n", "line 3: unknown split 'validation'"),
        ("path,label\na.mp4,barking, loud\n", "line 2: more cells than the header"),
        ("path,label\n,x\n", "line 2: the path is empty"),
        ("path,label\na.mp4,x\na.mp4,y\n", "line 3: a.mp4 stands in line 2 too"),
    ],
)
def test_a_wrong_csv_is_one_sentence_with_the_line(tmp_path, text, says):
    table = write_csv(tmp_path / "t.csv", text)
    with pytest.raises(CorpusError) as error:
        read_source(table, out="nowhere")
    assert says in str(error.value)
    assert str(table) in str(error.value)


def test_a_table_in_another_encoding_or_of_garbage_is_one_sentence(tmp_path):
    with pytest.raises(CorpusError, match="CSV in UTF-8"):
        read_source(write_csv(tmp_path / "t.csv", "path\ncafé.mp4\n", "latin-1"), out="nowhere")
    with pytest.raises(CorpusError, match="as Parquet"):
        read_source(touch(tmp_path / "t.parquet", b"no parquet"), out="nowhere")
