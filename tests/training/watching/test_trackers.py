"""Names of trackers and a configuration → accelerate's trackers: what they are told, and what their failures do."""

from pathlib import Path
from typing import Any

import pytest
from accelerate import Accelerator
from accelerate.tracking import GeneralTracker

from avmi.errors import UsageError
from avmi.training.watching import trackers as module
from avmi.training.watching.log import RunLog, read_metrics
from avmi.training.watching.trackers import Trackers, check_trackers, flat_config


class Notebook(GeneralTracker):
    """A tracker that remembers what it is told."""

    requires_logging_directory = False

    def __init__(self, name: str = "notebook", *, fails_at: int | None = None, starts: bool = True) -> None:
        self.name, self.fails_at, self.starts = name, fails_at, starts
        self.config: dict[str, Any] = {}
        self.told: list[tuple[int | None, dict[str, float]]] = []
        self.finished = 0
        super().__init__()

    @property
    def tracker(self) -> "Notebook":
        return self

    def start(self) -> None:
        if not self.starts:
            raise ConnectionError("no API key")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self.config = values

    def log(self, values: dict[str, float], step: int | None = None, **more: Any) -> None:
        if step == self.fails_at:
            raise ConnectionError("no route to the server")
        self.told.append((step, values))

    def finish(self) -> None:
        self.finished += 1


def test_trackers_get_every_scalar_with_its_kind_and_step_and_the_whole_configuration(
    tiny_config: Any, tmp_path: Path
) -> None:
    config = tiny_config(tmp_path, tmp_path, seed=13, logging={"tracker_project": "barks"})
    notebook = Notebook()
    accelerator = Accelerator(log_with=[notebook], cpu=True)
    with RunLog.begin(accelerator, config, first_step=0) as log:
        log.write(1, {"loss": 2.5, "bound_nats/a~b": 0.5}, kind="train")
        log.write(1, {"bound_nats": 0.25}, kind="valid")
        assert notebook.finished == 0
    assert notebook.told == [
        (1, {"train/loss": 2.5, "train/bound_nats/a~b": 0.5}),
        (1, {"valid/bound_nats": 0.25}),
    ]
    assert notebook.finished == 1
    assert notebook.config == flat_config(config)
    assert notebook.config["seed"] == 13
    assert notebook.config["views.sound.window_seconds"] == 1.0
    assert notebook.config["encoders.head.hidden_dims"] == "[24]"
    assert notebook.config["bottleneck"] == "none"
    assert all(isinstance(value, str | int | float | bool) for value in notebook.config.values())


def test_an_error_of_the_run_finishes_its_trackers(tmp_path: Path) -> None:
    notebook = Notebook()
    with (
        pytest.raises(RuntimeError, match="out of memory"),
        RunLog(tmp_path, first_step=0, trackers=Trackers([notebook])),
    ):
        raise RuntimeError("out of memory")
    assert notebook.finished == 1


def test_a_tracker_that_fails_is_left_out_with_a_warning_and_the_run_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken, whole = Notebook("broken", fails_at=2), Notebook("whole")
    with RunLog(tmp_path, first_step=0, trackers=Trackers([broken, whole])) as log:
        for step in (1, 2, 3):
            log.write(step, {"loss": 1.0}, kind="train")
    assert [step for step, _ in broken.told] == [1]
    assert [step for step, _ in whole.told] == [1, 2, 3]
    assert caplog.text.count("broken failed and is left out from step 2 on: no route to the server") == 1
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_a_tracker_that_cannot_begin_is_an_error_at_once(tiny_config: Any, tmp_path: Path) -> None:
    whole = Notebook("whole")
    accelerator = Accelerator(log_with=[whole, Notebook("broken", starts=False)], cpu=True)
    with pytest.raises(UsageError, match="cannot begin: no API key"):
        RunLog.begin(accelerator, tiny_config(tmp_path, tmp_path), first_step=0)
    assert whole.finished == 1


def test_mlflow_gets_names_that_it_takes() -> None:
    mlflow = Notebook("mlflow")
    names = [
        "valid/bound_nats/image~sound@same_video",
        "valid/image_to_audio/recall@1",
        "train/learning_rate",
    ]
    Trackers([mlflow]).write(4, dict.fromkeys(names, 1.0))
    assert list(mlflow.told[0][1]) == [
        "valid/bound_nats/image-sound-same_video",
        "valid/image_to_audio/recall-1",
        "train/learning_rate",
    ]


def test_a_tracker_that_is_not_installed_or_not_known_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "get_available_trackers", lambda: ["tensorboard"])
    check_trackers([])
    check_trackers(["tensorboard"])
    with pytest.raises(UsageError, match="mlflow, wandb, which is not installed: `pip install mlflow wandb`"):
        check_trackers(["mlflow", "tensorboard", "wandb"])
    monkeypatch.setattr(module, "LOGGER_TYPE_TO_CLASS", {"tensorboard": None})
    with pytest.raises(UsageError, match=r"trackio, which the installed accelerate .* does not know"):
        check_trackers(["trackio"])
