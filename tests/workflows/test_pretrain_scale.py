"""Runs in chunks, with activations made again, and in bf16 → the curve of a plain run."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from safetensors.torch import load_file

from avmi.training.watching.log import read_metrics
from avmi.workflows.pretrain import pretrain

# Two of the views do not fit into the end of a clip: they are masked, and some chunks have none of them.
VIEWS = {
    "image": {"kind": "frame"},
    "sound": {"kind": "audio", "window_seconds": 0.8},
    "later": {"kind": "audio", "at_seconds": 1.6, "window_seconds": 0.8},
    "late_mid": {"kind": "feature", "of": "later", "layer": "stage3", "grid": 2},
}
SMALL = {"name": "small_conv", "width": 8}


def settings(**optimizer: Any) -> dict[str, Any]:
    return {
        "views": VIEWS,
        "optimizer": {"steps": 2, "accumulation_steps": 2, **optimizer},
        "data": {"batch_clips": 8, "clips_per_video": 2},
        "logging": {"evaluate_every_steps": 2, "evaluate_clips": 2},
    }


@pytest.fixture(scope="module")
def plain(tiny_corpus, tiny_config, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("scale") / "plain"
    pretrain(tiny_config(tiny_corpus, run, **settings()))
    return run


def losses(run: Path) -> list[float]:
    return [r["loss"] for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / "step_00000002" / "weights.safetensors")


def test_a_run_in_chunks_of_three_with_activations_made_again_is_the_run_of_whole_batches(
    plain, tiny_corpus, tiny_config, tmp_path
) -> None:
    again = {"image": {**SMALL, "checkpoint_activations": True}, "audio": SMALL}
    run = tmp_path / "chunks"
    pretrain(tiny_config(tiny_corpus, run, encoders=again, **settings(chunk_clips=3)))
    assert losses(run) == pytest.approx(losses(plain), abs=1e-5)
    torch.testing.assert_close(weights(run), weights(plain), atol=1e-4, rtol=1e-3)
    records = [read_metrics(path / "metrics.jsonl")[0] for path in (run, plain)]
    assert records[0]["clips/image~later"] == records[1]["clips/image~later"] < 2 * 8


@pytest.fixture
def fresh_state() -> Iterator[None]:
    """As in a new process: accelerate holds the precision of the first training in it."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.usefixtures("fresh_state")
def test_bf16_keeps_weights_and_loss_in_single_precision(plain, tiny_corpus, tiny_config, tmp_path) -> None:
    run = tmp_path / "bf16"
    pretrain(tiny_config(tiny_corpus, run, **settings(precision="bf16", chunk_clips=3)))
    found, expected = losses(run), losses(plain)
    assert found != expected
    assert found == pytest.approx(expected, abs=0.05)
    assert {tensor.dtype for tensor in weights(run).values()} <= {torch.float32, torch.int64}
    # A loss in bf16 would have eight bits.
    assert any(torch.tensor(loss).bfloat16().item() != loss for loss in found)
