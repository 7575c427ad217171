"""A model and labelled videos → frozen features with classes and videos."""

import dataclasses
from pathlib import Path

import pytest
import torch

from avmi.corpus.manifest import Manifest, read_manifest
from avmi.embedder import ClipVectors, Embedder, load
from avmi.training.features import features_of


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Embedder:
    return load(tiny_checkpoint)


@pytest.fixture(scope="module")
def test_split(tiny_corpus: Path) -> Manifest:
    return read_manifest(tiny_corpus).split("test")


@pytest.mark.parametrize(("view", "dim"), [("image", 128), ("audio", 128), ("both", 256)])
def test_features_are_the_outputs_of_the_backbones(model: Embedder, test_split: Manifest, view, dim) -> None:
    found = features_of(model, test_split, test_split.labels, view=view)
    assert found is not None
    vectors = ClipVectors.join(model.embed_manifest(test_split, output="feature"))
    wanted = {
        "image": vectors.image,
        "audio": vectors.audio,
        "both": torch.cat([vectors.image, vectors.audio], dim=1),
    }[view]
    assert found.features.shape == (6, dim)
    torch.testing.assert_close(found.features, wanted)
    assert found.classes.tolist() == [0, 0, 1, 1, 2, 2]
    assert found.videos.tolist() == [0, 0, 1, 1, 2, 2]


def test_classes_are_numbered_by_the_names_given(model: Embedder, test_split: Manifest) -> None:
    found = features_of(model, test_split, ("red", "other", "blue", "green"), view="audio")
    assert found is not None
    assert found.classes.tolist() == [2, 2, 3, 3, 0, 0]


def test_videos_without_a_label_are_left_out(model: Embedder, test_split: Manifest) -> None:
    first, second, third = test_split.videos
    videos = (dataclasses.replace(first, label=""), second, third)
    found = features_of(model, dataclasses.replace(test_split, videos=videos), ("green", "red"), view="image")
    assert found is not None
    assert found.classes.tolist() == [0, 0, 1, 1]
    assert found.videos.tolist() == [0, 0, 1, 1]


def test_nothing_labelled_or_nothing_long_enough_gives_none(model: Embedder, test_split: Manifest) -> None:
    unlabelled = tuple(dataclasses.replace(video, label="") for video in test_split)
    short = tuple(dataclasses.replace(video, audio_end_seconds=0.5) for video in test_split)
    for videos in (unlabelled, short):
        manifest = dataclasses.replace(test_split, videos=videos)
        assert features_of(model, manifest, test_split.labels, view="both") is None
