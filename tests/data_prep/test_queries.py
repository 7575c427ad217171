import shutil
from pathlib import Path

import numpy as np
from making import frame_number, numbered_picture, write_video
from PIL import Image
from rows import video_row

from avmi.corpus.manifest import Manifest, read_manifest
from data_prep.queries import write_queries


def numbered(path: Path, *, first: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = (numbered_picture(first + n) for n in range(11))
    write_video(path, pictures=pictures, times_seconds=np.arange(11) / 5, frame_rate=5)


def corpus(root: Path, *videos: tuple[str, str, str]) -> Manifest:
    """Videos (path, label, split) of 2.2 s with numbered pictures, from 20 × its place on."""
    rows = []
    for place, (path, label, split) in enumerate(videos):
        numbered(root / path, first=20 * place)
        rows.append(video_row(path, label=label, split=split, video_end_seconds=2.2, last_frame_seconds=2.0))
    return Manifest(root, tuple(rows))


def test_each_label_of_the_test_split_gives_one_picture_from_the_middle_of_a_video(tmp_path: Path) -> None:
    manifest = corpus(
        tmp_path,
        ("b/1.mp4", "b", "test"),
        ("a/9.mp4", "a", "test"),
        ("a/2.mp4", "a", "test"),
        ("c/1.mp4", "c", "train"),
        ("a/1.mp4", "a", "train"),
    )
    queries = write_queries(manifest, tmp_path / "q")
    assert [(q.label, q.video, q.path.name) for q in queries] == [
        ("a", "a/2.mp4", "01.png"),
        ("b", "b/1.mp4", "02.png"),
    ]
    assert [frame_number(np.asarray(Image.open(q.path))) for q in queries] == [40 + 5, 0 + 5]


def test_without_labels_each_video_gives_one_and_the_most_are_spread(tmp_path: Path) -> None:
    manifest = corpus(tmp_path, *((f"{n}.mp4", "", "test") for n in range(5)))
    assert [q.video for q in write_queries(manifest, tmp_path / "q", most=3)] == ["0.mp4", "2.mp4", "4.mp4"]
    assert [q.video for q in write_queries(manifest, tmp_path / "q", most=2)] == ["0.mp4", "4.mp4"]
    assert sorted(path.name for path in (tmp_path / "q").iterdir()) == ["01.png", "02.png"]


def test_a_video_that_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    manifest = corpus(tmp_path, ("a/1.mp4", "a", "test"), ("a/2.mp4", "a", "test"), ("b/1.mp4", "b", "test"))
    (tmp_path / "a" / "1.mp4").write_text("broken")
    (tmp_path / "b" / "1.mp4").unlink()
    assert [q.video for q in write_queries(manifest, tmp_path / "q")] == ["a/2.mp4"]


def test_a_prepared_corpus_is_read(tiny_corpus: Path, tmp_path: Path) -> None:
    queries = write_queries(read_manifest(tiny_corpus), tmp_path / "q")
    assert [q.label for q in queries] == ["blue", "green", "red"]
    # The colours of tests/corpora.py: the channel of the label is the brightest of the three.
    assert [int(q.pixels.reshape(-1, 3).sum(axis=0).argmax()) for q in queries] == [2, 1, 0]
    shutil.rmtree(tmp_path / "q")
