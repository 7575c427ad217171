"""Names of experiment trackers and a run's configuration → accelerate's trackers, and scalars to all of them."""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import accelerate
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker, get_available_trackers
from accelerate.utils import ProjectConfiguration

from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.errors import UsageError

log = logging.getLogger(__name__)

# What MLflow refuses in the name of a metric (mlflow/utils/validation.py): a pair's name has a ~, a pool's an @.
_NOT_MLFLOWS = re.compile(r"[^\w./ -]")
FOLDER = "trackers"  # of a run, for trackers that write files


def check_trackers(names: Sequence[str]) -> None:
    """Find out, before any work, whether trackers can be used; raises `UsageError` with what to install."""
    unknown = [name for name in names if name not in LOGGER_TYPE_TO_CLASS]
    if unknown:
        raise UsageError(
            f"logging.trackers has {', '.join(unknown)}, which the installed accelerate {accelerate.__version__} does "
            f"not know (it knows {', '.join(LOGGER_TYPE_TO_CLASS)}): install a newer accelerate, or remove the name"
        )
    there = {str(name) for name in get_available_trackers()}
    missing = [name for name in names if name not in there]
    if missing:  # accelerate would leave them out without a word
        raise UsageError(
            f"logging.trackers has {', '.join(missing)}, which is not installed: `pip install {' '.join(missing)}`, "
            "or remove the name"
        )


def tracker_folders(run: Path) -> ProjectConfiguration:
    """Say where trackers that write files do so."""
    return ProjectConfiguration(project_dir=str(run), logging_dir=str(run / FOLDER))


class Trackers:
    """Trackers of a run that has begun; on the main process only.

    One that fails on the way, as when its server cannot be reached, is left out with a warning: a run is worth more
    than its record elsewhere, and metrics.jsonl has it all.
    """

    def __init__(self, trackers: Sequence[GeneralTracker] = ()) -> None:
        self._trackers = list(trackers)

    @classmethod
    def start(cls, accelerator: Accelerator, config: PretrainConfig | FinetuneConfig) -> "Trackers":
        """Begin a run in each tracker that the accelerator was made with, and tell it the configuration.

        Raises `UsageError` when one cannot begin, as without a key or a connection.
        """
        folder = config.run / FOLDER
        if accelerator.log_with:
            folder.mkdir(exist_ok=True)
        # The run's own name, and its folder where a tracker would write into the working directory.
        more: dict[str, dict[str, str]] = {
            "wandb": {"name": config.run.name, "dir": str(folder)},
            "mlflow": {"run_name": config.run.name},
            "dvclive": {"dir": str(folder / "dvclive")},
        }
        project = config.logging.tracker_project
        try:
            accelerator.init_trackers(project, config=flat_config(config), init_kwargs=more)
        except Exception as error:  # trackers raise what they like
            cls(accelerator.trackers).finish()
            raise UsageError(
                f"a tracker of logging.trackers ({', '.join(config.logging.trackers)}) cannot begin: {error}; give it "
                "what it asks for, take it offline (wandb: WANDB_MODE=offline), or remove it"
            ) from error
        return cls(accelerator.trackers)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Send scalars to all of them."""
        for tracker in tuple(self._trackers):
            try:
                tracker.log(_named_for(tracker.name, scalars), step=step)
            except Exception as error:  # trackers raise what they like
                log.warning(
                    "tracker %s failed and is left out from step %d on: %s", tracker.name, step, error
                )
                self._trackers.remove(tracker)

    def finish(self) -> None:
        """End the run in each tracker.

        This is `Accelerator.end_training` without its last line, which would take down the process group that the
        ranks still meet in.
        """
        for tracker in self._trackers:
            try:
                tracker.finish()
            except Exception as error:
                log.warning("tracker %s could not be finished: %s", tracker.name, error)
        self._trackers.clear()


def flat_config(config: PretrainConfig | FinetuneConfig) -> dict[str, str | int | float | bool]:
    """Lay the configuration out as one level of `section.key` names; lists are JSON, what is empty is "none"."""
    return dict(_flat("", config.model_dump(mode="json")))


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str | int | float | bool]]:
    match value:
        case dict() if value:
            for key, inner in value.items():
                yield from _flat(f"{prefix}.{key}" if prefix else key, inner)
        case None:
            yield prefix, "none"
        case dict() | list():
            yield prefix, json.dumps(value)
        case _:
            yield prefix, value


def _named_for(tracker: str, scalars: Mapping[str, float]) -> dict[str, float]:
    if tracker != "mlflow":
        return dict(scalars)
    return {_NOT_MLFLOWS.sub("-", name): value for name, value in scalars.items()}
