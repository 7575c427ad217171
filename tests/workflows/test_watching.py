"""A run of pretraining → what TensorBoard and trackers show of it, read back from disk."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import text_format
from PIL import Image
from scipy.io import wavfile
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.projector import ProjectorConfig

from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import read_manifest
from avmi.errors import UsageError
from avmi.training.watching import trackers
from avmi.training.watching.log import read_metrics
from avmi.workflows.pretrain import pretrain

# Tones of the tiny corpus's valid clips, by label: the fourth clip of each is 9 % higher.
TONES_HZ = {"blue": 327.0, "green": 872.0, "red": 2180.0}
CLIPS = 6  # held out: two of each of three videos


def board(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder), size_guidance={"audio": 0, "images": 0, "histograms": 0})
    events.Reload()
    return events


@pytest.fixture(scope="module")
def watched(tiny_corpus: Path, tiny_config: Any, tmp_path_factory: pytest.TempPathFactory) -> PretrainConfig:
    config: PretrainConfig = tiny_config(
        tiny_corpus,
        tmp_path_factory.mktemp("watched") / "run",
        negatives=("other_videos", "same_video"),
        data={"clips_per_video": 2},
        logging={"trackers": ("tensorboard",), "examples": 3, "projector_clips": 5},
    )
    pretrain(config)
    return config


def test_scores_of_positives_and_negatives_are_counted_at_every_evaluation(watched: PretrainConfig) -> None:
    events = board(watched.run / "tensorboard")
    expected = {
        "valid/positive_scores/image~sound": CLIPS,
        "valid/negative_scores/image~sound": CLIPS * (CLIPS - 2),
        "valid/positive_scores/image~sound@same_video": CLIPS,
        "valid/negative_scores/image~sound@same_video": CLIPS,
        "train/positive_scores/image~sound": 6,
        "train/negative_scores/image~sound": 6 * 4,
    }
    for tag, number in expected.items():
        found = events.Histograms(tag)
        assert [event.step for event in found] == [2, 4], tag
        for event in found:
            values = event.histogram_value
            assert (values.num, sum(values.bucket)) == (number, number), tag
            assert -1 <= values.min <= values.max <= 1
            np.testing.assert_allclose(values.bucket_limit, np.linspace(-1, 1, 101)[1:])
    records = [r for r in read_metrics(watched.run / "metrics.jsonl") if r["kind"] == "valid"]
    values = events.Histograms("valid/positive_scores/image~sound")[-1].histogram_value
    assert records[-1]["positive_score/image~sound"] == pytest.approx(values.sum / values.num, abs=1e-9)
    assert 0 <= records[-1]["score_auc/image~sound"] <= 1
    assert "d_prime/image~sound@same_video" in records[-1]


def test_positives_and_negatives_are_drawn_over_the_same_cosines(watched: PretrainConfig) -> None:
    events = board(watched.run / "tensorboard")
    assert [event.step for event in events.Images("valid/scores")] == [2, 4]


def test_fixed_pictures_are_shown_with_the_sounds_that_they_retrieve(watched: PretrainConfig) -> None:
    events = board(watched.run / "tensorboard")
    assert [event.step for event in events.Images("valid/retrieved_examples")] == [2, 4]
    tags = events.Tags()["audio"]
    assert sorted(tags) == sorted(
        f"example_{n}_{label}/{what}"
        for n, label in enumerate(TONES_HZ, start=1)
        for what in ("own_sound", "rank_1", "rank_2", "rank_3")
    )
    heard: dict[str, float] = {}
    for tag in tags:
        found = events.Audio(tag)
        assert [event.step for event in found] == [2, 4]
        rate, samples = wavfile.read(io.BytesIO(found[-1].encoded_audio_string))
        assert (rate, len(samples)) == (16000, 16000)
        heard[tag] = float(np.abs(np.fft.rfft(samples)).argmax())  # of one second: in Hz
    for n, (label, tone_hz) in enumerate(TONES_HZ.items(), start=1):
        assert heard[f"example_{n}_{label}/own_sound"] == pytest.approx(tone_hz, abs=3)
    assert all(min(abs(hz - tone) for tone in TONES_HZ.values()) < 3 for hz in heard.values())


def test_the_projector_holds_the_last_evaluations_points_with_the_pictures_of_the_clips(
    watched: PretrainConfig,
) -> None:
    folder = watched.run / "tensorboard"
    text = (folder / "projector_config.pbtxt").read_text()
    tables = {table.tensor_name: table for table in text_format.Parse(text, ProjectorConfig()).embeddings}
    assert list(tables) == ["image-sound:00004", "image:00004", "sound:00004"]
    assert [path.name for path in folder.iterdir() if path.is_dir()] == ["00004"]
    table = tables["sound:00004"]
    points = np.loadtxt(folder / table.tensor_path, delimiter="\t")
    np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
    header, *facts = [line.split("\t") for line in (folder / table.metadata_path).read_text().splitlines()]
    assert header == ["label", "view", "video", "second"]
    assert len(points) == len(facts) == 5
    valid = {video.path: video.label for video in read_manifest(watched.corpus).split("valid")}
    assert all(valid[video] == label for label, _, video, _ in facts)
    side = table.sprite.single_image_dim[0]
    sprite = np.asarray(Image.open(folder / table.sprite.image_path)).astype(int)
    for n, (label, *_) in enumerate(facts):
        row, column = divmod(n, sprite.shape[1] // side)
        tile = sprite[row * side : (row + 1) * side, column * side : (column + 1) * side]
        # The square in the label's colour is the brightest of the picture.
        assert tile.sum(axis=(0, 1)).argmax() == {"red": 0, "green": 1, "blue": 2}[label]


def test_a_tracker_has_every_scalar_of_the_record_and_the_configuration(watched: PretrainConfig) -> None:
    (events,) = [board(path) for path in (watched.run / "trackers").iterdir() if path.name == "avmi"]
    own = board(watched.run / "tensorboard")
    tags = own.Tags()["scalars"]
    assert set(tags) <= set(events.Tags()["scalars"])
    for tag in tags:
        told = [(event.step, event.value) for event in events.Scalars(tag)]
        assert told == [(event.step, event.value) for event in own.Scalars(tag)], tag
    (settings,) = (watched.run / "trackers").rglob("hparams.yml")
    assert "optimizer.steps: 4\n" in settings.read_text()


def test_nothing_is_shown_where_nothing_is_asked_for_and_the_weights_are_the_same(
    watched: PretrainConfig, tmp_path: Path
) -> None:
    quiet = watched.logging.model_copy(update={"examples": 0, "projector_clips": 0, "trackers": ()})
    config = watched.model_copy(update={"run": tmp_path / "quiet", "logging": quiet})
    pretrain(config)
    events = board(config.run / "tensorboard")
    assert events.Tags()["audio"] == []
    assert "valid/retrieved_examples" not in events.Tags()["images"]
    assert [path for path in (config.run / "tensorboard").iterdir() if path.is_dir()] == []
    assert not (config.run / "trackers").exists()
    losses = [
        [r["loss"] for r in read_metrics(c.run / "metrics.jsonl") if r["kind"] == "train"]
        for c in (watched, config)
    ]
    assert losses[0] == losses[1]


def test_a_tracker_that_is_not_installed_stops_a_run_before_anything_is_written(
    watched: PretrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "get_available_trackers", lambda: ["tensorboard"])
    asked = watched.logging.model_copy(update={"trackers": ("wandb",)})
    with pytest.raises(UsageError, match="pip install wandb"):
        pretrain(watched.model_copy(update={"run": tmp_path / "run", "logging": asked}))
    assert not (tmp_path / "run").exists()
