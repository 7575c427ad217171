"""Runs with other bounds, stochastic encoders, a bottleneck and private parts: resumed bit for bit, logged, loaded."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

import avmi
from avmi.checkpoint import load_checkpoint
from avmi.training.watching.log import read_metrics
from avmi.workflows.pretrain import pretrain

TIMES = ("clips_per_second", "data_wait_share")
STOCHASTIC = {"head": {"hidden_dims": (24,), "embedding_dim": 12, "posterior": "gaussian"}}
SMALL = {"name": "small_conv", "width": 8}
KINDS: dict[str, dict[str, Any]] = {
    "donsker_varadhan": {"bound": {"name": "donsker_varadhan", "decay": 0.7}},
    "tuba": {"bound": "tuba"},
    "bottleneck": {
        "encoders": {"image": SMALL, "audio": SMALL, **STOCHASTIC},
        "bottleneck": {"beta": 0.1, "mixture": 3},
    },
    "private": {
        "encoders": {
            "image": SMALL,
            "audio": SMALL,
            "head": {**STOCHASTIC["head"], "private_dim": 5, "dropout": 0.2},
        },
        "private": {"density_steps": 2, "density_hidden": 7},
    },
}


def curve(run: Path) -> list[dict[str, Any]]:
    lines = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k not in TIMES} for record in lines]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stopped_run_resumes_bit_for_bit(
    kind: str, tiny_corpus: Path, tiny_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"optimizer": {"steps": 5}, **KINDS[kind]}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    pretrain(tiny_config(tiny_corpus, whole, **settings))
    from avmi.training import loop

    take_step, taken = loop.optimizer_step, []

    def stopping(*arguments: Any, **more: Any) -> Any:
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(*arguments, **more)

    monkeypatch.setattr(loop, "optimizer_step", stopping)
    config = tiny_config(tiny_corpus, broken, **settings)
    with pytest.raises(KeyboardInterrupt):
        pretrain(config)
    monkeypatch.undo()
    torch.manual_seed(99)  # the random state that a new process would have is another
    pretrain(config, resume=True)
    assert curve(broken) == curve(whole)
    for file in ("weights.safetensors", "objective.safetensors"):
        ours, theirs = (load_file(run / "checkpoints" / "step_00000005" / file) for run in (broken, whole))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), file


def test_every_line_of_a_run_without_a_ceiling_is_plain_json(
    tiny_corpus: Path, tiny_config: Any, tmp_path: Path
) -> None:
    result = pretrain(tiny_config(tiny_corpus, tmp_path / "run", bound="nwj"))

    def refuse(word: str) -> None:
        raise AssertionError(word)

    for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line, parse_constant=refuse)
        assert "bound_nats/image~sound" in record
        assert "ceiling_nats/image~sound" not in record
    json.loads(json.dumps(result.as_json()), parse_constant=refuse)
    assert "image~sound" in result.as_text()


def test_a_bottleneck_is_logged_and_its_checkpoint_embeds_without_noise(
    tiny_corpus: Path, tiny_config: Any, tmp_path: Path
) -> None:
    settings = {**KINDS["bottleneck"], "bottleneck": {"beta": 0.1, "warmup_fraction": 0.5}}
    result = pretrain(tiny_config(tiny_corpus, tmp_path / "run", **settings))
    train = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "train"]
    assert [r["beta"] for r in train] == pytest.approx([0.05, 0.1, 0.1, 0.1])
    for r in train:
        upper = r["upper_nats/image"] + r["upper_nats/sound"]
        assert r["loss"] == pytest.approx(r["loss/image~sound"] + r["beta"] * upper, abs=1e-4)
    encoders = load_checkpoint(result.checkpoint).encoders
    pictures = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    first, second = (encoders({"image": pictures})["image"] for _ in range(2))
    assert torch.equal(first, second)
    assert first.shape == (3, 12)
    assert avmi.load(result.checkpoint).embed_images([pictures[0].permute(1, 2, 0).numpy()]).shape == (1, 12)


def test_private_parts_are_logged_and_stay_out_of_embeddings(
    tiny_corpus: Path, tiny_config: Any, tmp_path: Path
) -> None:
    result = pretrain(tiny_config(tiny_corpus, tmp_path / "run", **KINDS["private"]))
    train = [r for r in read_metrics(tmp_path / "run" / "metrics.jsonl") if r["kind"] == "train"]
    wanted = {"private_lower_nats/image", "private_lower_nats/sound"}
    wanted |= {"private_apart_nats/image~sound", "private_apart_nats/sound~image"}
    assert wanted <= train[-1].keys()
    encoders = load_checkpoint(result.checkpoint).encoders
    assert encoders({"image": torch.zeros(2, 3, 32, 32, dtype=torch.uint8)})["image"].shape == (2, 12)


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["nwj", "donsker_varadhan", "jensen_shannon"])
def test_encoders_learn_which_colour_goes_with_which_tone_by_other_bounds(
    bound: str, tiny_corpus: Path, tiny_config: Any, tmp_path: Path
) -> None:
    config = tiny_config(
        tiny_corpus,
        tmp_path / "run",
        bound=bound,
        optimizer={"steps": 60},
        logging={"log_every_steps": 60, "evaluate_every_steps": 60, "checkpoint_every_steps": 60},
        data={"batch_clips": 12, "clips_per_video": 2},
    )
    assert pretrain(config).valid["same_label@1"] == 1.0


def test_posteriors_pass_through_mixed_precision_and_stay_in_float32(
    tiny_corpus: Path, tiny_config: Any, tmp_path: Path
) -> None:
    settings = {**KINDS["private"], "bottleneck": {"upper": "leave_one_out"}}
    config = tiny_config(
        tiny_corpus, tmp_path / "run", optimizer={"steps": 2, "precision": "bf16"}, **settings
    )
    AcceleratorState._reset_state()  # a process has one precision
    try:
        pretrain(config)
    finally:
        AcceleratorState._reset_state()
    (first, *_) = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert {"upper_nats/image", "private_lower_nats/sound"} <= first.keys()
