import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import read_manifest
from avmi.errors import ConfigError, CorpusError, TrainingError, UsageError
from avmi.models.heads import ProjectionHead
from avmi.training.watching.log import read_metrics
from avmi.workflows.pretrain import pretrain

TIMES = ("clips_per_second", "data_wait_share")


def curve(run: Path) -> list[dict]:
    """The logged curve without what depends on the machine."""
    return [
        {k: v for k, v in record.items() if k not in TIMES} for record in read_metrics(run / "metrics.jsonl")
    ]


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step_{step:08d}" / "weights.safetensors")


def test_a_run_folder_holds_config_curve_tensorboard_and_checkpoints(
    tiny_corpus, tiny_config, tmp_path
) -> None:
    run = tmp_path / "run"
    result = pretrain(tiny_config(tiny_corpus, run))
    assert sorted(p.name for p in run.iterdir()) == [
        "best.txt",
        "checkpoints",
        "config.yaml",
        "metrics.jsonl",
        "tensorboard",
    ]
    assert result.checkpoint.parent == run / "checkpoints"
    records = read_metrics(run / "metrics.jsonl")
    assert [r["step"] for r in records if r["kind"] == "train"] == [1, 2, 3, 4]
    assert [r["step"] for r in records if r["kind"] == "valid"] == [2, 4]
    last = [r for r in records if r["kind"] == "train"][-1]
    assert last["ceiling_nats/image~sound"] == pytest.approx(math.log(6), abs=1e-5)
    assert last["bound_nats/image~sound"] <= last["ceiling_nats/image~sound"]
    assert last["cosine_ceiling_nats/image~sound"] <= last["ceiling_nats/image~sound"]
    assert 0 <= last["data_wait_share"] <= 1
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    tags = board.Tags()["scalars"]
    wanted = ["loss", "temperature", "learning_rate", "clips_per_second", "data_wait_share"]
    assert {f"train/{name}" for name in wanted} <= set(tags)
    assert {"train/bound_nats/image~sound", "train/ceiling_nats/image~sound", "valid/bound_nats"} <= set(tags)
    logged = [event.value for event in board.Scalars("train/loss")]
    assert logged == pytest.approx([r["loss"] for r in records if r["kind"] == "train"])


def test_encoders_learn_which_colour_goes_with_which_tone(tiny_corpus, tiny_config, tmp_path) -> None:
    config = tiny_config(
        tiny_corpus,
        tmp_path / "run",
        optimizer={"steps": 60},
        logging={"log_every_steps": 60, "evaluate_every_steps": 60, "checkpoint_every_steps": 60},
        data={"batch_clips": 12, "clips_per_video": 2},
    )
    valid = pretrain(config).valid
    assert valid["same_label@1"] == 1.0
    assert valid["bound_nats"] > 0.5


def test_a_run_stopped_between_checkpoints_resumes_bit_for_bit(
    tiny_corpus, tiny_config, tmp_path, monkeypatch
) -> None:
    settings = {"optimizer": {"steps": 7, "accumulation_steps": 2}, "data": {"clips_per_video": 2}}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pretrain(tiny_config(tiny_corpus, whole, **settings))
    from avmi.training import loop

    take_step, taken = loop.optimizer_step, []

    def stopping(*arguments, **settings):
        if len(taken) == 5:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(*arguments, **settings)

    monkeypatch.setattr(loop, "optimizer_step", stopping)
    config = tiny_config(tiny_corpus, broken, **settings)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config)
    monkeypatch.undo()
    assert [r["step"] for r in read_metrics(broken / "metrics.jsonl") if r["kind"] == "train"] == [
        1,
        2,
        3,
        4,
        5,
    ]
    pretrain(config, resume=True)
    assert curve(broken) == curve(whole)
    ours, theirs = weights(broken, 7), weights(whole, 7)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_finished_run_is_not_trained_again(tiny_corpus, tiny_config, tmp_path) -> None:
    config = tiny_config(tiny_corpus, tmp_path / "run")
    pretrain(config)
    before = (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns
    again = pretrain(config, resume=True)
    assert (tmp_path / "run" / "metrics.jsonl").stat().st_mtime_ns == before
    assert again.valid["bound_nats"] == pytest.approx(pretrain(config, resume=True).valid["bound_nats"])


def test_a_run_folder_in_use_is_not_overwritten(tiny_corpus, tiny_config, tmp_path) -> None:
    run = tmp_path / "run"
    pretrain(tiny_config(tiny_corpus, run))
    with pytest.raises(UsageError, match=r"already holds a run.*--resume"):
        pretrain(tiny_config(tiny_corpus, run))
    with pytest.raises(UsageError, match="other settings"):
        pretrain(tiny_config(tiny_corpus, run, seed=5), resume=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("do not lose me")
    with pytest.raises(UsageError, match="not empty"):
        pretrain(tiny_config(tiny_corpus, other))


def test_a_loss_that_is_not_finite_names_step_and_clips_and_keeps_the_checkpoint(
    tiny_corpus, tiny_config, tmp_path, monkeypatch
) -> None:
    forward, calls = ProjectionHead.forward, []

    def breaking(self, features):
        if self.training:
            calls.append(1)
        return forward(self, features) * (float("nan") if len(calls) > 6 and self.training else 1.0)

    monkeypatch.setattr(ProjectionHead, "forward", breaking)
    with pytest.raises(
        TrainingError,
        match=r"loss of step 4 is not finite \(pairs image~sound; views image, sound; clips .*@\d+",
    ):
        pretrain(tiny_config(tiny_corpus, tmp_path / "run", optimizer={"steps": 9}))
    found = weights(tmp_path / "run", 2)
    assert all(bool(tensor.isfinite().all()) for tensor in found.values())
    assert not (tmp_path / "run" / "checkpoints" / "step_00000004").exists()


def test_a_video_that_was_deleted_is_replaced_and_counted(tiny_config, tmp_path) -> None:
    from corpora import make_corpus

    corpus = make_corpus(tmp_path / "made", seconds=2.0)
    manifest = read_manifest(corpus)
    lost = next(video for video in manifest if video.split == "train")
    manifest.path_of(lost).unlink()
    run = tmp_path / "run"
    pretrain(tiny_config(corpus, run))
    last = [r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"][-1]
    assert last["rejected_videos"] > 0
    assert last["clips/image~sound"] == 6


def test_an_offset_beyond_every_video_is_an_error_before_training(tiny_corpus, tiny_config, tmp_path) -> None:
    views = {
        "image": {"kind": "frame"},
        "sound": {"kind": "audio", "window_seconds": 1.0},
        "late": {"kind": "audio", "at_seconds": 60.0, "window_seconds": 1.0},
    }
    with pytest.raises(ConfigError, match="late"):
        pretrain(tiny_config(tiny_corpus, tmp_path / "run", views=views))
    assert not (tmp_path / "run").exists()


def test_a_corpus_without_training_videos_is_refused(tiny_config, tmp_path) -> None:
    from corpora import make_corpus

    corpus = make_corpus(tmp_path / "made", splits=("valid", "test"), seconds=1.5)
    with pytest.raises(CorpusError, match="train split"):
        pretrain(tiny_config(corpus, tmp_path / "run"))


def test_views_that_only_some_clips_reach_are_masked_and_counted(tiny_corpus, tiny_config, tmp_path) -> None:
    views = {
        "image": {"kind": "frame"},
        "motion": {"kind": "frame", "frames": 3, "spacing_seconds": 0.2, "augment": "light"},
        "sound": {"kind": "audio", "window_seconds": 0.8},
        "later": {"kind": "audio", "at_seconds": 1.6, "window_seconds": 0.8},
    }
    run = tmp_path / "run"
    config: PretrainConfig = tiny_config(
        tiny_corpus, run, views=views, pairs="all", data={"batch_clips": 24, "clips_per_video": 4}
    )
    pretrain(config)
    last = [r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"][-1]
    names = {key.removeprefix("clips/") for key in last if key.startswith("clips/")}
    assert names == {
        "image~motion",
        "image~sound",
        "image~later",
        "motion~sound",
        "motion~later",
        "sound~later",
    }
    assert 0 < last["clips/image~later"] < last["clips/image~sound"] <= 24
    assert math.isfinite(last["loss"])
