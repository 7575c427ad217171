import dataclasses
from pathlib import Path

import pytest
import torch
from corpora import make_corpus

from avmi.corpus.manifest import read_manifest, write_manifest
from avmi.embedder import load
from avmi.errors import CheckpointError, CorpusError
from avmi.metrics import gallery_sha256
from avmi.workflows.evaluate import evaluate_probe, evaluate_retrieval
from avmi.workflows.pretrain import pretrain


@pytest.fixture(scope="module")
def trained(tiny_corpus, tiny_config, tmp_path_factory) -> Path:
    """A run that has learned the colours and tones of the tiny corpus."""
    run = tmp_path_factory.mktemp("evaluate") / "run"
    every = {"log_every_steps": 40, "evaluate_every_steps": 40, "checkpoint_every_steps": 40}
    data = {"batch_clips": 12, "clips_per_video": 2}
    pretrain(tiny_config(tiny_corpus, run, optimizer={"steps": 40}, logging=every, data=data))
    return run


def test_retrieval_prints_the_documented_keys_and_agrees_with_brute_force(trained, tiny_corpus) -> None:
    found = evaluate_retrieval(trained, tiny_corpus).as_json()
    test = read_manifest(tiny_corpus).split("test")
    parts = list(load(trained).embed_manifest(test))
    image, sound = (torch.cat([getattr(part, side) for part in parts]) for side in ("image", "audio"))
    specs = [spec for part in parts for spec in part.specs]
    assert found["gallery"] == len(specs) == 6
    assert found["gallery_sha256"] == gallery_sha256([spec.clip_id for spec in specs])
    for way, scores in (("image_to_audio", image @ sound.T), ("audio_to_image", sound @ image.T)):
        ranks = [1 + int((row > row[i]).sum()) for i, row in enumerate(scores)]
        for k in (1, 5, 10):
            assert found[way][f"recall@{k}"] == pytest.approx(
                sum(r <= k for r in ranks) / len(ranks), abs=0.05
            )
        low, high = found[way]["recall@1_interval"]
        assert 0 <= low <= found[way]["recall@1"] <= high <= 1
    labels = [spec.video.label for spec in specs]
    top = (image @ sound.T).argmax(dim=1).tolist()
    assert found["same_label@1"] == pytest.approx(
        sum(labels[i] == labels[j] for i, j in enumerate(top)) / len(top), abs=0.01
    )
    assert found["within_label"]["chance"] == pytest.approx(0.5)
    assert found["train_overlap"] == 0
    assert found["missing"] == []


def test_a_gallery_seen_in_training_is_counted(trained, tiny_corpus) -> None:
    assert evaluate_retrieval(trained, tiny_corpus, split="train").as_json()["train_overlap"] == 9


def test_an_interval_of_a_file_seen_in_training_is_counted(trained, tiny_corpus, tmp_path) -> None:
    manifest = read_manifest(tiny_corpus)
    rows = [
        dataclasses.replace(video, video_id=f"{video.video_id}-{part}", split="test", is_interval=True)
        for video in manifest.split("train")
        for part in ("a", "b")
    ]
    write_manifest(tmp_path, rows, root=manifest.root)
    found = evaluate_retrieval(trained, tmp_path).as_json()
    assert (found["train_overlap"], found["videos"]) == (9, 9)


def test_probes_of_both_sides_classify_colours_and_tones(trained, tiny_corpus) -> None:
    for view in ("image", "audio", "both"):
        report = evaluate_probe(trained, tiny_corpus, view=view).as_json()
        assert report["top1"] == 1.0, view
        assert report["chance"] == pytest.approx(1 / 3)
        assert report["per_class"] == {"blue": 1.0, "green": 1.0, "red": 1.0}
        assert report["clips"] == 6
        assert report["videos"] == 3


def test_an_empty_split_is_said_to_be_empty(trained, tmp_path) -> None:
    corpus = make_corpus(tmp_path / "made", splits=("train",), seconds=1.5)
    with pytest.raises(CorpusError, match="no video is in the test split"):
        evaluate_retrieval(trained, corpus)
    with pytest.raises(CorpusError, match="test split has no labelled clip"):
        evaluate_probe(trained, corpus)


def test_a_probe_of_one_class_is_refused_with_its_name(trained, tmp_path) -> None:
    corpus = make_corpus(tmp_path / "made", labels=("red",), seconds=1.5)
    with pytest.raises(CorpusError, match=r"two classes.*red"):
        evaluate_probe(trained, corpus)


def test_a_class_without_training_clips_counts_as_wrong_and_is_named(trained, tmp_path) -> None:
    both = make_corpus(tmp_path / "both", labels=("red", "blue"), seconds=1.5)
    three = make_corpus(tmp_path / "three", labels=("green",), splits=("test",), seconds=1.5)
    from avmi.corpus.manifest import write_manifest

    one, other = read_manifest(both), read_manifest(three)
    moved = [
        video.__class__(**{**video.__dict__, "path": str(other.path_of(video))}) for video in other.videos
    ]
    write_manifest(both, [*one.videos, *moved], root=one.root)
    report = evaluate_probe(trained, both, view="image").as_json()
    assert report["classes_without_training"] == ["green"]
    assert report["per_class"]["green"] == 0.0
    assert report["top1"] == pytest.approx(2 / 3, abs=0.01)


def test_a_missing_checkpoint_or_corpus_is_one_sentence(trained, tiny_corpus, tmp_path) -> None:
    with pytest.raises(CheckpointError, match="no such checkpoint"):
        evaluate_retrieval(tmp_path / "nowhere", tiny_corpus)
    with pytest.raises(CorpusError, match="does not exist"):
        evaluate_retrieval(trained, tmp_path / "nowhere")


def test_a_video_deleted_since_preparing_is_listed_as_missing(trained, tmp_path) -> None:
    corpus = make_corpus(tmp_path / "made", splits=("train", "test", "test"), seconds=1.5)
    manifest = read_manifest(corpus)
    lost = next(video for video in manifest if video.split == "test")
    manifest.path_of(lost).unlink()
    found = evaluate_retrieval(trained, corpus).as_json()
    assert found["missing"] == [lost.path]
    assert found["videos"] == 5


def test_same_label_in_other_videos_asks_only_labels_that_have_another(trained, tiny_corpus) -> None:
    # The test split has one video of each label, the train split three.
    assert evaluate_retrieval(trained, tiny_corpus).as_json()["same_label_other_video@1"] is None
    assert (
        evaluate_retrieval(trained, tiny_corpus, split="train").as_json()["same_label_other_video@1"] == 1.0
    )
