"""Runs of two processes: what happens to one of them happens to the run, and the run goes on afterwards."""

import logging
import shutil
import signal
from pathlib import Path

import pytest
import torch
from launched import MOST_SECONDS, Launch, assert_same_run, last_step

from avmi.checkpoint import read_meta, step_folders
from avmi.data import Batch
from avmi.training import loop
from avmi.workflows.pretrain import pretrain

STEPS = 14
# Batch normalization: each process has running statistics of its own.
BATCH_NORM = {"name": "small_conv", "width": 8, "normalization": "batch"}
SETTINGS = {
    "optimizer": {"steps": STEPS},
    "data": {"batch_clips": 2, "workers": 0},
    "encoders": {"image": BATCH_NORM, "audio": BATCH_NORM},
    "logging": {"evaluate_every_steps": 4, "checkpoint_every_steps": 4},
}


@pytest.mark.slow
def test_two_processes_live_and_die_together_and_resume_bit_for_bit(
    tiny_corpus, tiny_config, tmp_path, caplog, monkeypatch
) -> None:
    Launch(tiny_config(tiny_corpus, tmp_path / "whole", **SETTINGS), tmp_path, processes=2).finish()
    run = tmp_path / "broken"
    launch = Launch(tiny_config(tiny_corpus, run, **SETTINGS), tmp_path, processes=2)

    code, seconds = launch.signal_at(5, signal.SIGKILL, rank=1)
    assert code != 0
    assert seconds < 60
    said = launch.log.read_text()
    assert "avmi: another process of this run has ended" in said
    assert "Signal 9 (SIGKILL)" in said  # by the launcher

    before = last_step(run)
    code, seconds = launch.signal_at(9, signal.SIGTERM, rank=1)
    assert before >= 5
    assert code != 0  # the launcher's own
    assert seconds < 60
    step = read_meta(step_folders(run)[-1])["step"]
    assert 9 <= step <= 11
    said = launch.log.read_text()
    assert said.count(f"stopped by SIGTERM after step {step}, which is saved") == 1
    # When one has ended, the launcher ends the other on its way out, if that is slower.
    assert said.count("exitcode  : 75") >= 1

    shutil.copytree(run, tmp_path / "alone")
    launch.finish()
    assert_same_run(run, tmp_path / "whole", step=STEPS)
    _go_on_alone(tiny_config(tiny_corpus, tmp_path / "alone", **SETTINGS), step, caplog, monkeypatch)


def _go_on_alone(config, step: int, caplog, monkeypatch) -> None:
    """Resume a run of two processes with one: it takes the visits that come next."""
    batches: list[Batch] = []
    take_step = loop.optimizer_step

    def watched(*arguments, **settings):
        taken = take_step(*arguments, **settings)
        batches.extend(taken.batches)
        return taken

    monkeypatch.setattr(loop, "optimizer_step", watched)
    with caplog.at_level(logging.WARNING, logger="avmi"):
        pretrain(config, resume=True)
    told = [r.getMessage() for r in caplog.records if "the batches differ" in r.getMessage()]
    assert len(told) == 1
    assert told[0].startswith(f"resumed at step {step} with 1 process(es), before with 2")
    assert len(batches) == STEPS - step
    state = torch.load(
        config.run / "checkpoints" / f"step_{STEPS:08d}" / "training_state.pt", weights_only=True
    )
    assert (state["visits"], state["processes"]) == (4 * step + 2 * (STEPS - step), 1)
    # Nine videos a pass: with those of two processes before, no video of the pass comes twice, none is left out.
    first_pass_left = [spec.video.path for batch in batches for spec in batch.specs][: -(4 * step) % 9]
    assert len(set(first_pass_left)) == len(first_pass_left)


@pytest.mark.long
def test_an_error_in_one_process_ends_the_other_and_is_the_one_that_is_shown(
    tiny_corpus, tiny_config, tmp_path
) -> None:
    config = tiny_config(tiny_corpus, tmp_path / "run", **SETTINGS)
    program = (str(Path(__file__).parents[1] / "failing_rank.py"),)
    launch = Launch(config, tmp_path, processes=2, program=program)
    with launch.started() as process:
        assert process.wait(MOST_SECONDS) != 0
    said = launch.log.read_text()
    assert said.count("avmi: the disk of this process is gone") == 1
    assert said.count("avmi: another process of this run has ended") == 1
    assert "Traceback" not in said.partition("torch.distributed")[0]  # the launcher has one of its own
    assert last_step(config.run) == 2
