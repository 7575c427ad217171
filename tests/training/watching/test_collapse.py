"""Records of healthy and of collapsed embeddings → one warning a view, and runs that are made to collapse."""

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from avmi.training.watching.collapse import CollapseWatch
from avmi.training.watching.log import read_metrics
from avmi.workflows.pretrain import pretrain


def record(*, rank: float, deviation: float) -> dict[str, float]:
    return {
        "effective_rank/image": rank,
        "embedding_deviation/image": deviation,
        "effective_rank/sound": 9.0,
        "embedding_deviation/sound": 0.2,
        "uniform_deviation": 0.25,
    }


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if "collapsed" in r.getMessage()]


def test_three_records_in_a_row_are_named_once_with_view_step_and_numbers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = CollapseWatch()
    for step in range(10, 70, 10):
        watch.check(step, record(rank=1.2, deviation=0.005), kind="train")
    (message,) = warned(caplog)
    assert re.match(
        r"view image has collapsed at step 30: effective rank 1\.20 .* 2\.0 % of a uniform", message
    )
    assert "optimizer.learning_rate" in message


@pytest.mark.parametrize(("rank", "deviation"), [(1.2, 0.05), (2.5, 0.005), (float("nan"), float("nan"))])
def test_low_rank_alone_or_low_deviation_alone_is_no_collapse(
    caplog: pytest.LogCaptureFixture, rank: float, deviation: float
) -> None:
    watch = CollapseWatch()
    for step in range(9):
        watch.check(step, record(rank=rank, deviation=deviation), kind="train")
    assert warned(caplog) == []


def test_records_that_are_not_in_a_row_do_not_count(caplog: pytest.LogCaptureFixture) -> None:
    watch = CollapseWatch()
    for step in range(12):
        watch.check(step, record(rank=1.0 if step % 3 else 4.0, deviation=0.0), kind="train")
    assert warned(caplog) == []


def test_records_of_training_and_of_held_out_clips_count_apart(caplog: pytest.LogCaptureFixture) -> None:
    watch = CollapseWatch()
    for step in range(1, 4):
        watch.check(step, record(rank=1.0, deviation=0.0), kind="valid")
        watch.check(step, record(rank=8.0, deviation=0.2), kind="train")
        assert len(warned(caplog)) == (step == 3)


def test_a_run_of_a_huge_learning_rate_warns_and_an_ordinary_one_does_not(
    tiny_corpus: Path, tiny_config: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="avmi")
    steps = {"steps": 8, "warmup_fraction": 0.0, "max_gradient_norm": 1e9}
    logged = {"log_every_steps": 1, "evaluate_every_steps": 8, "checkpoint_every_steps": 8}
    pretrain(tiny_config(tiny_corpus, tmp_path / "healthy", optimizer=steps, logging=logged))
    assert warned(caplog) == []
    fast = steps | {"learning_rate": 1.0}
    pretrain(tiny_config(tiny_corpus, tmp_path / "fast", optimizer=fast, logging=logged))
    assert {re.findall(r"view (\w+) has collapsed", message)[0] for message in warned(caplog)} == {
        "image",
        "sound",
    }
    last = [r for r in read_metrics(tmp_path / "fast" / "metrics.jsonl") if r["kind"] == "train"][-1]
    assert last["effective_rank/image"] < 1.1
