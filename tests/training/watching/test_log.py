"""Scalars of a run → TensorBoard and metrics.jsonl; what a resumed run keeps."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from avmi.config.bounds import BoundName
from avmi.objective import Loss, PairTerm
from avmi.training.watching.log import RunLog, read_metrics
from avmi.training.watching.loss_scalars import scalars_of, scalars_of_terms


def write(run: Path, *steps: int, first_step: int = 0, loss: float = 1.0) -> None:
    with RunLog(run, first_step=first_step) as log:
        for step in steps:
            log.write(step, {"loss": loss + step, "bound_nats/a~b": 0.5}, kind="train")
            if step % 2 == 0:
                log.write(step, {"bound_nats": 0.25 * step}, kind="valid")


def board(run: Path, tag: str) -> dict[int, float]:
    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}


def test_every_record_is_a_line_of_json_and_a_point_on_the_board(tmp_path: Path) -> None:
    write(tmp_path, 1, 2)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == [
        {"step": 1, "kind": "train", "loss": 2.0, "bound_nats/a~b": 0.5},
        {"step": 2, "kind": "train", "loss": 3.0, "bound_nats/a~b": 0.5},
        {"step": 2, "kind": "valid", "bound_nats": 0.5},
    ]
    assert read_metrics(tmp_path / "metrics.jsonl") == lines
    assert board(tmp_path, "train/loss") == {1: 2.0, 2: 3.0}
    assert board(tmp_path, "valid/bound_nats") == {2: 0.5}


def test_a_record_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with RunLog(tmp_path, first_step=0) as log:
        log.write(1, {"loss": 1.0}, kind="train")
        assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 4, 5)
    write(tmp_path, 4, 5, 6, first_step=3, loss=100.0)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert {r["step"]: r["loss"] for r in records if r["kind"] == "train"} == {
        1: 2.0, 2: 3.0, 3: 4.0, 4: 104.0, 5: 105.0, 6: 106.0
    }  # fmt: skip
    assert [r["step"] for r in records if r["kind"] == "valid"] == [2, 4, 6]
    assert board(tmp_path, "train/loss") == {1: 2.0, 2: 3.0, 3: 4.0, 4: 104.0, 5: 105.0, 6: 106.0}
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["metrics.jsonl", "tensorboard"]


def test_a_line_torn_by_a_kill_is_dropped_and_not_written_on(tmp_path: Path) -> None:
    write(tmp_path, 1, 3)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 5, "ki')
    assert [r["step"] for r in read_metrics(path)] == [1, 3]
    write(tmp_path, 7, first_step=5)
    assert [r["step"] for r in read_metrics(path)] == [1, 3, 7]
    assert len(path.read_text().splitlines()) == 3


def test_the_loss_and_every_term_of_every_pair_are_scalars() -> None:
    def term(value: float, temperature: float) -> PairTerm:
        k = 5.0
        return PairTerm(
            loss=torch.tensor(math.log(k) - value, requires_grad=True),
            bound_nats=torch.tensor(value),
            ceiling_nats=torch.tensor(math.log(k)),
            k_effective=torch.tensor(k),
            standard_error_nats=torch.tensor(0.125),
            clips=torch.tensor(6),
            temperature=torch.tensor(temperature),
            kind="lower",
        )

    terms = {"image~sound": term(0.75, 0.5), "image~far": term(-0.25, 0.125)}
    scalars = scalars_of(Loss(torch.tensor(1.5, requires_grad=True), terms, torch.tensor(0.5)))
    assert scalars["loss"] == 1.5
    assert scalars["temperature"] == 0.5
    assert scalars["bound_nats/image~sound"] == 0.75
    assert scalars["loss/image~far"] == pytest.approx(math.log(5) + 0.25)
    assert scalars["ceiling_nats/image~far"] == pytest.approx(math.log(5))
    assert scalars["k_effective/image~far"] == 5.0
    assert scalars["clips/image~sound"] == 6.0
    # At best: cosine 1 for the positive, −1/4 for each of four negatives, over a temperature of 0.5.
    best = 2 - math.log(math.exp(2) + 4 * math.exp(-0.5)) + math.log(5)
    assert scalars["cosine_ceiling_nats/image~sound"] == pytest.approx(best)
    sharper = 8 - math.log(math.exp(8) + 4 * math.exp(-2)) + math.log(5)
    assert scalars["cosine_ceiling_nats/image~far"] == pytest.approx(sharper)
    assert scalars["temperature/image~far"] == 0.125
    assert all(isinstance(value, float) for value in scalars.values())
    assert scalars["standard_error_nats/image~sound"] == 0.125
    assert scalars["saturated/image~sound"] == 0.0
    assert len(scalars) == 2 + 2 * 9


def test_a_saturated_term_is_a_one_and_what_is_infinite_is_no_scalar() -> None:
    def term(value: float, ceiling: float, error: float, bound: BoundName = "info_nce") -> PairTerm:
        return PairTerm(
            loss=torch.tensor(1.0),
            bound_nats=torch.tensor(value),
            ceiling_nats=torch.tensor(ceiling),
            k_effective=torch.tensor(32.0),
            standard_error_nats=torch.tensor(error),
            clips=torch.tensor(32),
            temperature=torch.tensor(0.07),
            kind="lower",
            bound=bound,
        )

    near, free, lone = "near~a", "free~a", "lone~a"
    scalars = scalars_of_terms(
        {
            near: term(math.log(32) - 0.3, math.log(32), 0.01),
            free: term(9.0, math.inf, 0.01, "nwj"),
            lone: term(math.log(32), math.log(32), math.nan),
        }
    )
    assert [scalars[f"saturated/{name}"] for name in (near, free, lone)] == [1.0, 0.0, 0.0]
    assert not {"ceiling_nats/free~a", "cosine_ceiling_nats/free~a", "standard_error_nats/lone~a"} & set(
        scalars
    )
    assert all(math.isfinite(value) for value in scalars.values())


def test_a_picture_stands_on_the_board_at_its_step(tmp_path: Path) -> None:
    with RunLog(tmp_path, first_step=0) as log:
        log.write_picture(3, "valid/matrix", np.zeros((5, 7, 3), np.uint8))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (event,) = events.Images("valid/matrix")
    assert (event.step, event.height, event.width) == (3, 5, 7)
