"""Runs that are killed, stopped, or whose workers are killed → the run that nothing has happened to."""

import logging
import math
import random
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from launched import Launch, assert_same_run, kill_all
from safetensors.torch import load_file

from avmi.checkpoint import read_meta, step_folders
from avmi.store.packing import Packing
from avmi.training import loop
from avmi.training.watching.log import read_metrics
from avmi.workflows.pack import PackRequest, pack
from avmi.workflows.pretrain import pretrain

STEPS = 6


@pytest.fixture
def before_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, Callable[[], None]], None]:
    """Have something happen before an optimizer step, counted from 1."""

    def happen(step: int, what: Callable[[], None]) -> None:
        take_step, begun = loop.optimizer_step, []

        def watched(*arguments, **settings):
            begun.append(1)
            if len(begun) == step:
                what()
            return take_step(*arguments, **settings)

        monkeypatch.setattr(loop, "optimizer_step", watched)

    return happen


def kill_the_workers() -> None:
    workers = [
        process for server in psutil.Process().children() for process in server.children(recursive=True)
    ]
    assert workers, "no worker is running"
    for worker in workers:
        worker.kill()


def stop() -> None:
    raise KeyboardInterrupt


def train_losses(run: Path) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"}


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "checkpoints" / f"step_{STEPS:08d}" / "weights.safetensors")


@pytest.mark.slow
def test_a_run_whose_workers_are_killed_goes_on_with_whole_batches_and_says_so(
    tiny_corpus, tiny_config, tmp_path, before_step, caplog
) -> None:
    before_step(3, kill_the_workers)
    run = tmp_path / "run"
    config = tiny_config(
        tiny_corpus, run, optimizer={"steps": STEPS}, data={"workers": 1, "prefetch_batches": 1}
    )
    with caplog.at_level(logging.WARNING, logger="avmi"):
        result = pretrain(config).as_json()
    assert result["steps"] == STEPS
    losses = train_losses(run)
    assert list(losses) == list(range(1, STEPS + 1))
    assert all(math.isfinite(loss) for loss in losses.values())
    assert any("worker" in record.getMessage() for record in caplog.records)
    lost = [line for file in run.glob("quarantine.rank_*.jsonl") for line in file.read_text().splitlines()]
    assert len(lost) <= 1  # the video in its hands, if there was one


@pytest.mark.slow
def test_a_run_over_an_address_that_was_stopped_resumes_bit_for_bit(
    tiny_corpus, tiny_config, tmp_path, before_step, monkeypatch
) -> None:
    monkeypatch.setenv("AVMI_CACHE", str(tmp_path / "cache"))
    pack(PackRequest(tiny_corpus, tmp_path / "shards", Packing(frames_per_second=6.0, size_px=48)))
    address, data = f"file://{tmp_path / 'shards'}", {"workers": 1, "shards_at_a_time": 1}
    whole, stopped = (
        tiny_config(address, tmp_path / name, optimizer={"steps": STEPS}, data=data)
        for name in ("whole", "stopped")
    )
    pretrain(whole)
    before_step(4, stop)
    with pytest.raises(KeyboardInterrupt):
        pretrain(stopped)
    monkeypatch.undo()
    monkeypatch.setenv("AVMI_CACHE", str(tmp_path / "another cache"))
    pretrain(stopped, resume=True)
    assert train_losses(tmp_path / "stopped") == train_losses(tmp_path / "whole")
    ours, theirs = weights(tmp_path / "stopped"), weights(tmp_path / "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize(
    "workers", [pytest.param(0, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.slow)]
)
def test_a_run_that_is_killed_and_then_told_to_stop_resumes_bit_for_bit(
    tiny_corpus, tiny_config, tmp_path, workers: int
) -> None:
    rng = random.Random(workers)
    killed_at, stopped_at = rng.randrange(2, 6), rng.randrange(8, 14)
    settings = {
        "optimizer": {"steps": 18},
        "data": {"workers": workers, "clips_per_video": 2},
        "logging": {"evaluate_every_steps": 5, "checkpoint_every_steps": 3},
    }
    pretrain(tiny_config(tiny_corpus, tmp_path / "whole", **settings))
    launch = Launch(tiny_config(tiny_corpus, tmp_path / "broken", **settings), tmp_path, processes=1)
    kill_all(launch, step=killed_at)
    code, _ = launch.signal_at(stopped_at, signal.SIGTERM)
    assert code == 75
    saved = step_folders(tmp_path / "broken")[-1]
    step = read_meta(saved)["step"]
    assert stopped_at <= step <= stopped_at + 2
    assert f"stopped by SIGTERM after step {step}, which is saved" in launch.log.read_text()
    lost = [line for file in launch.run.glob("quarantine.*") for line in file.read_text().splitlines()]
    assert lost == []  # no worker has heard the signal of its parent
    launch.finish()
    assert_same_run(tmp_path / "broken", tmp_path / "whole", step=18)
