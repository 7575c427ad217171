"""`avmi mi benchmark`: nothing → estimates where the truth is known, and the page that says how they were made."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from avmi.errors import UsageError
from avmi.mi.estimation.of_samples import estimate
from avmi.mi.estimation.protocol import RAMP, TASKS
from avmi.mi.estimation.ramp import (
    CRITIC_ESTIMATORS,
    RampReading,
    Shape,
    read_by_critic,
    read_by_stream_estimator,
)
from avmi.mi.estimation.tasks import Task, published_tasks, unseen_tasks
from avmi.report.mi_benchmark_page import benchmark_page, short_nats
from avmi.report.mi_plots import LevelCurve, TaskPoint, benchmark_png
from avmi.types import StrPath

log = logging.getLogger("avmi.mi_benchmark")

SHAPES: tuple[Shape, ...] = ("gaussian", "cubic")


@dataclass(frozen=True)
class TaskRun:
    """One estimate of one task."""

    task: str
    seed: int
    truth_nats: float
    estimate_nats: float
    interval_nats: tuple[float, float]
    ceiling_nats: float
    chosen: str
    cpu_seconds: float

    @property
    def error_nats(self) -> float:
        """Give by how much the estimate stands above the truth."""
        return self.estimate_nats - self.truth_nats


@dataclass(frozen=True)
class BenchmarkResult:
    """What was estimated; a part that was not asked for is empty."""

    published: tuple[TaskRun, ...]
    unseen: tuple[TaskRun, ...]
    ramp: tuple[tuple[int, RampReading], ...]  # with its seed
    page: Path | None

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "tasks": [_task_json(run) for run in self.published],
            "unseen_tasks": [_task_json(run) for run in self.unseen],
            "tasks_mean_error": _mean_error(self.published),
            "unseen_tasks_mean_error": _mean_error(self.unseen),
            "ramp": [_ramp_json(seed, reading) for seed, reading in self.ramp],
            "ramp_levels": list(RAMP.levels_nats),
            "page": None if self.page is None else str(self.page),
        }

    def as_text(self) -> str:
        """Say it in tables."""
        lines: list[str] = []
        for title, runs in (("tasks", self.published), ("tasks not looked at before", self.unseen)):
            if runs:
                lines += [
                    f"{title} (nats)",
                    f"{'task':44}{'truth':>8}{'estimate':>10}{'error':>8}{'CPU s':>7}",
                ]
                lines += [
                    f"{run.task:44}{run.truth_nats:8.3f}{run.estimate_nats:10.3f}{run.error_nats:+8.3f}{run.cpu_seconds:7.1f}"
                    for run in runs
                ]
                lines.append(f"mean |error| {_mean_error(runs):.3f}")
        if self.ramp:
            truths = "".join(f"{level:8g}" for level in RAMP.levels_nats)
            lines += ["ramp (nats)", f"{'estimator, shape, seed':36}{truths}{'worst':>8}{'CPU s':>7}"]
            for seed, reading in self.ramp:
                means = "".join(f"{short_nats(mean):>8}" for mean in reading.level_means_nats)
                name = f"{reading.estimator}, {reading.shape}, {seed}"
                lines.append(
                    f"{name:36}{means}{short_nats(worst_error(reading), digits=3):>8}{reading.cpu_seconds:7.1f}"
                )
        if self.page is not None:
            lines.append(f"page: {self.page}")
        return "\n".join(lines)


def mi_benchmark(
    out: StrPath, *, only: Literal["ramp", "tasks"] | None = None, seeds: int = TASKS.seeds
) -> BenchmarkResult:
    """Run the estimators where the truth is known and write a page and its plot, unless only one part is asked for.

    Everything is frozen in `avmi/mi/estimation/protocol.py` and `avmi/mi/estimation/tasks.py`. The numbers depend on the seeds, and in the
    last digits on the machine. Raises `UsageError` when the page cannot be written.
    """
    page = Path(out)
    if only is None and not page.parent.is_dir():
        raise UsageError(
            f"cannot write {page}: there is no folder {page.parent}; name another place with --out"
        )
    torch.set_num_threads(1)  # seconds are those of one core, and the same sums in the same order
    published = _task_runs(published_tasks(), seeds) if only != "ramp" else ()
    unseen = _task_runs(unseen_tasks(), seeds) if only != "ramp" else ()
    ramp = _ramp_runs(seeds) if only != "tasks" else ()
    result = BenchmarkResult(published, unseen, ramp, page if only is None else None)
    if only is None:
        _write(result, page)
    return result


def worst_error(reading: RampReading) -> float:
    """Give the largest |error| of a level's window mean."""
    return max(
        abs(mean - level) for mean, level in zip(reading.level_means_nats, RAMP.levels_nats, strict=True)
    )


def _task_runs(tasks: Sequence[Task], seeds: int) -> tuple[TaskRun, ...]:
    runs = []
    for task in tasks:
        for seed in range(seeds):
            # Other draws than those that the estimator was developed on (seeds 1000 and more).
            x, y = task.draw(TASKS.rows, torch.Generator().manual_seed(seed))
            begun = time.process_time()
            found = estimate(x, y, seed=seed)
            run = TaskRun(
                task=task.name,
                seed=seed,
                truth_nats=task.truth_nats,
                estimate_nats=found.value_nats,
                interval_nats=found.interval_nats,
                ceiling_nats=found.ceiling_nats,
                chosen=found.chosen,
                cpu_seconds=time.process_time() - begun,
            )
            log.info("%s, seed %d: %.3f of %.3f nats", task.name, seed, run.estimate_nats, run.truth_nats)
            runs.append(run)
    return tuple(runs)


def _ramp_runs(seeds: int) -> tuple[tuple[int, RampReading], ...]:
    """Run the stream estimator with every seed, and those it is compared with once."""
    runs: list[tuple[int, RampReading]] = []
    for shape in SHAPES:
        plans: list[tuple[int, Callable[[], RampReading]]] = [
            (seed, lambda seed=seed, shape=shape: read_by_stream_estimator(shape, seed=seed))  # type: ignore[misc]
            for seed in range(seeds)
        ]
        plans += [
            (0, lambda name=name, shape=shape: read_by_critic(name, shape, seed=0))  # type: ignore[misc]
            for name in CRITIC_ESTIMATORS
        ]
        for seed, read in plans:
            reading = read()
            log.info(
                "%s, %s ramp, seed %d: worst error %.3f nats",
                reading.estimator,
                shape,
                seed,
                worst_error(reading),
            )
            runs.append((seed, reading))
    return tuple(runs)


def _mean_error(runs: Sequence[TaskRun]) -> float:
    return fmean(abs(run.error_nats) for run in runs) if runs else float("nan")


def _task_json(run: TaskRun) -> dict[str, Any]:
    return {
        "task": run.task,
        "seed": run.seed,
        "truth": run.truth_nats,
        "estimate": run.estimate_nats,
        "interval": list(run.interval_nats),
        "ceiling": run.ceiling_nats,
        "error": run.error_nats,
        "chosen": run.chosen,
        "cpu_seconds": run.cpu_seconds,
    }


def _ramp_json(seed: int, reading: RampReading) -> dict[str, Any]:
    return {
        "estimator": reading.estimator,
        "kind": reading.kind,
        "shape": reading.shape,
        "seed": seed,
        "level_means": list(reading.level_means_nats),
        "worst_error": worst_error(reading),
        "chosen": reading.chosen,
        "cpu_seconds": reading.cpu_seconds,
    }


def _write(result: BenchmarkResult, page: Path) -> None:
    plot = page.with_suffix(".png")
    points = [
        TaskPoint(run.truth_nats, run.estimate_nats, is_unseen=is_unseen)
        for is_unseen, runs in ((False, result.published), (True, result.unseen))
        for run in runs
    ]
    curves = [
        LevelCurve(
            reading.estimator, reading.shape, reading.level_means_nats, is_ours=reading.estimator == "stream"
        )
        for seed, reading in result.ramp
        if seed == 0
    ]
    text = benchmark_page(
        result.as_json(),
        plot=plot.name,
        rows=TASKS.rows,
        dim=RAMP.dim,
        batch=RAMP.batch_rows,
        steps=RAMP.steps_per_level,
    )
    try:
        plot.write_bytes(benchmark_png(points, curves, levels_nats=RAMP.levels_nats))
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {page} ({error.strerror or error}): name another place") from error
