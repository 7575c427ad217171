import json
import os
import signal
from pathlib import Path

import pytest
import torch
from launched import assert_same_run
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avmi.config.schema import FinetuneConfig
from avmi.corpus.manifest import read_manifest, write_manifest
from avmi.embedder import load
from avmi.errors import CorpusError, Preempted, TrainingError, UsageError
from avmi.training import finetune_loop
from avmi.training.classifier import Classifier
from avmi.training.watching.log import read_metrics
from avmi.workflows.evaluate import evaluate_probe
from avmi.workflows.finetune import finetune
from avmi.workflows.pretrain import pretrain


@pytest.fixture(scope="module")
def pretrained(tiny_corpus, tiny_config, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("finetune") / "pretrain"
    pretrain(tiny_config(tiny_corpus, run))
    return run


def settings(pretrained: Path, corpus: Path, run: Path, **changes) -> FinetuneConfig:
    values = {
        "checkpoint": pretrained,
        "corpus": corpus,
        "run": run,
        "data": {"batch_clips": 9, "workers": 0, "evaluation_clips_per_video": 2},
        "optimizer": {"steps": 30, "learning_rate": 3e-3},
        "logging": {
            "log_every_steps": 10,
            "evaluate_every_steps": 10,
            "checkpoint_every_steps": 10,
            "trackers": ["tensorboard"],
        },
    }
    return FinetuneConfig.model_validate({**values, **changes})


@pytest.mark.parametrize("view", ["image", "audio", "both"])
def test_full_fine_tuning_learns_the_labels(view, pretrained, tiny_corpus, tmp_path) -> None:
    run = tmp_path / "run"
    result = finetune(settings(pretrained, tiny_corpus, run, view=view)).as_json()
    assert result["top1"] == 1.0
    assert result["confusion"]["classes"] == ["blue", "green", "red"]
    assert [sum(row) for row in result["confusion"]["counts"]] == [2, 2, 2]
    with Image.open(run / "confusion.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 100
    assert json.loads((run / "results.json").read_text())["top1"] == 1.0
    valid = [r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "valid"]
    assert [r["step"] for r in valid] == [10, 20, 30]
    for folder in (run / "tensorboard", run / "trackers" / "avmi"):
        told = EventAccumulator(str(folder)).Reload().Scalars("valid/top1")
        assert [event.step for event in told] == [10, 20, 30]


def test_a_linear_probe_equals_the_evaluation_of_the_same_name(pretrained, tiny_corpus, tmp_path) -> None:
    run = tmp_path / "run"
    result = finetune(settings(pretrained, tiny_corpus, run, view="audio", train="head")).as_json()
    evaluated = evaluate_probe(pretrained, tiny_corpus, view="audio").as_json()
    assert {k: result[k] for k in evaluated} == evaluated
    assert (run / "probe.safetensors").is_file()


def test_a_linear_probe_leaves_the_encoders_alone_and_fine_tuning_changes_only_what_it_uses(
    pretrained, tiny_corpus, tmp_path
) -> None:
    before = load(pretrained).encoders.state_dict()
    run = tmp_path / "run"
    finetune(settings(pretrained, tiny_corpus, run, view="image"))
    after = load(run).encoders.state_dict()
    changed = {name for name in before if not before[name].equal(after[name])}
    assert any(name.startswith("by_name.image.backbone") for name in changed)
    assert not any(name.startswith("by_name.audio") for name in changed)
    assert not any(".head." in name for name in changed)


def test_training_from_scratch_starts_from_other_weights_of_the_same_shape(
    pretrained, tiny_corpus, tmp_path
) -> None:
    scratch = finetune(settings(pretrained, tiny_corpus, tmp_path / "a", initialize="random", seed=3))
    assert scratch.report.top1 == 1.0
    weights = load(tmp_path / "a").encoders.state_dict()
    kept = load(pretrained).encoders.state_dict()
    assert weights.keys() == kept.keys()
    assert weights["by_name.audio.mean"].equal(kept["by_name.audio.mean"])
    assert not weights["by_name.audio.head.layers.0.weight"].equal(kept["by_name.audio.head.layers.0.weight"])


def test_a_finished_run_is_read_and_a_stopped_one_goes_on_bit_for_bit(
    pretrained, tiny_corpus, tmp_path, monkeypatch
) -> None:
    whole = settings(pretrained, tiny_corpus, tmp_path / "whole")
    first = finetune(whole)
    assert finetune(whole, resume=True).report.as_json() == first.report.as_json()
    with pytest.raises(UsageError, match="already holds a run"):
        finetune(whole)
    take_step, taken = finetune_loop._optimizer_step, []

    def stopping(parts, clock, rejected, *, step):
        if len(taken) == 14:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(parts, clock, rejected, step=step)

    monkeypatch.setattr(finetune_loop, "_optimizer_step", stopping)
    broken = settings(pretrained, tiny_corpus, tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        finetune(broken)
    monkeypatch.undo()
    finetune(broken, resume=True)
    theirs, ours = (
        load(tmp_path / "whole").encoders.state_dict(),
        load(tmp_path / "broken").encoders.state_dict(),
    )
    assert all(theirs[name].equal(ours[name]) for name in theirs)


def test_a_run_that_is_told_to_stop_goes_on_bit_for_bit(
    pretrained, tiny_corpus, tmp_path, monkeypatch
) -> None:
    changes = {
        "optimizer": {"steps": 7, "learning_rate": 3e-3},
        "logging": {"log_every_steps": 1, "evaluate_every_steps": 2, "checkpoint_every_steps": 3},
        "view": "image",
    }
    finetune(settings(pretrained, tiny_corpus, tmp_path / "whole", **changes))
    take_step = finetune_loop._optimizer_step

    def signalled(*arguments, step: int):
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return take_step(*arguments, step=step)

    monkeypatch.setattr(finetune_loop, "_optimizer_step", signalled)
    stopped = settings(pretrained, tiny_corpus, tmp_path / "stopped", **changes)
    with pytest.raises(Preempted, match="stopped by SIGTERM after step 4, which is saved"):
        finetune(stopped)
    monkeypatch.undo()
    finetune(stopped, resume=True)
    assert_same_run(tmp_path / "stopped", tmp_path / "whole", step=7)


def test_a_gradient_that_is_not_finite_names_step_and_clip(
    pretrained, tiny_corpus, tmp_path, monkeypatch
) -> None:
    forward, calls = Classifier.forward, []

    def breaking(self, views):
        scores = forward(self, views)
        calls.append(1)
        spoilt = torch.zeros_like(scores)
        spoilt[2] = float("nan")
        return scores + spoilt if len(calls) == 2 else scores

    monkeypatch.setattr(Classifier, "forward", breaking)
    with pytest.raises(TrainingError, match=r"gradient of step 2 is not finite \(clips [0-9a-f]+@\d+\)"):
        finetune(settings(pretrained, tiny_corpus, tmp_path / "run", view="image"))
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_a_corpus_without_labels_is_refused(pretrained, tiny_corpus, tmp_path) -> None:
    manifest = read_manifest(tiny_corpus)
    bare = [video.__class__(**{**video.__dict__, "label": ""}) for video in manifest]
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    write_manifest(corpus, bare, root=manifest.root)
    for train in ("all", "head"):
        with pytest.raises(CorpusError, match="class"):
            finetune(settings(pretrained, corpus, tmp_path / train, train=train))


def test_a_finished_run_of_another_checkpoint_is_not_taken_for_this_one(
    tiny_corpus, tiny_config, tmp_path
) -> None:
    import shutil

    checkpoint = tmp_path / "pretrain"
    pretrain(tiny_config(tiny_corpus, checkpoint))
    config = settings(checkpoint, tiny_corpus, tmp_path / "run", view="audio", train="head")
    finetune(config)
    shutil.rmtree(checkpoint)
    pretrain(tiny_config(tiny_corpus, checkpoint, seed=8))
    with pytest.raises(UsageError, match=r"was made from model .* is now"):
        finetune(config, resume=True)
