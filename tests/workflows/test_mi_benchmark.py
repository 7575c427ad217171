"""`avmi mi benchmark`: its tables and its page, on a small protocol."""

import json
import math
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from avmi.errors import UsageError
from avmi.mi import estimate
from avmi.mi.estimation.protocol import ESTIMATOR, RAMP, TASKS
from avmi.mi.estimation.ramp import RampReading
from avmi.mi.estimation.tasks import bivariate_normal
from avmi.workflows import mi_benchmark as workflow
from avmi.workflows.mi_benchmark import BenchmarkResult, TaskRun, mi_benchmark


def task_run(seed: int, estimate: float, name: str = "1v1-additive-0.1") -> TaskRun:
    return TaskRun(name, seed, 1.709, estimate, (estimate - 0.05, estimate + 0.05), 6.908, "network", 20.4)


def reading(estimator: str, shape: str, offset: float) -> RampReading:
    means = tuple(level + offset for level in RAMP.levels_nats)
    return RampReading(estimator, "neither", shape, means, means, "", 12.0)  # type: ignore[arg-type]


RESULT = BenchmarkResult(
    published=(task_run(0, 1.69), task_run(1, 1.60)),
    unseen=(task_run(0, 1.75, "other"),),
    ramp=tuple((0, reading(*what)) for what in [("stream", "gaussian", 0.02), ("stream", "cubic", -0.05), ("smile", "cubic", 1.0)]),
    page=None,
)  # fmt: skip


def test_mean_and_worst_errors_are_those_of_the_runs() -> None:
    found = RESULT.as_json()
    assert found["tasks_mean_error"] == pytest.approx((0.019 + 0.109) / 2)
    assert [run["worst_error"] for run in found["ramp"]] == pytest.approx([0.02, 0.05, 1.0])
    text = RESULT.as_text()
    assert "mean |error| 0.064" in text
    assert "smile, cubic, 0" in text


def test_the_page_has_its_numbers_its_picture_and_its_commands(tmp_path: Path) -> None:
    for _ in range(2):
        workflow._write(RESULT, tmp_path / "mi.md")
    page = (tmp_path / "mi.md").read_text(encoding="utf-8")
    assert "| 1v1-additive-0.1 | 1.709 | 1.690 1.600 | -0.064 | 0.064 | 1 of 2 | 20 | network |" in page
    assert "**Mean |error| 0.064 nats**, 20 CPU seconds at most" in page
    assert "**Worst window-mean |error| of the stream estimator: 0.050 nats.**" in page
    assert "avmi mi benchmark" in page
    assert "](mi.png)" in page
    picture = (tmp_path / "mi.png").read_bytes()
    assert picture[:4] == b"\x89PNG"
    assert len(picture) < 150_000


def test_the_same_results_give_the_same_page_and_picture(tmp_path: Path) -> None:
    for name in ("a.md", "b.md"):
        workflow._write(RESULT, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    first, second = ((tmp_path / name).read_text(encoding="utf-8") for name in ("a.md", "b.md"))
    assert first == second.replace("b.png", "a.png")


def test_one_part_alone_leaves_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "published_tasks", lambda: (bivariate_normal(0.5),))
    monkeypatch.setattr(workflow, "unseen_tasks", lambda: ())
    monkeypatch.setattr(workflow, "TASKS", replace(TASKS, rows=300))
    quick = replace(ESTIMATOR, most_steps=50, check_rows=64)
    monkeypatch.setattr(workflow, "estimate", partial(estimate, settings=quick))
    result = mi_benchmark(tmp_path / "no" / "page.md", only="tasks", seeds=2)
    assert result.page is None
    assert not list(tmp_path.iterdir())
    assert [run.seed for run in result.published] == [0, 1]
    assert not result.ramp
    assert all(abs(run.error_nats) < 0.3 for run in result.published)
    assert math.isnan(result.as_json()["unseen_tasks_mean_error"])
    assert json.dumps(result.as_json())


def test_a_page_without_a_folder_is_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        mi_benchmark(tmp_path / "no" / "page.md")
