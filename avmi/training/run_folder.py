"""A run's settings and state ↔ its folder: config.yaml, checkpoints/step_*, best.txt, metrics.jsonl."""

import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from avmi.checkpoint import (
    META_FILE,
    WEIGHTS_FILE,
    load_tensors,
    read_meta,
    save_checkpoint,
    sha256_of,
    step_folders,
    tensors_of,
)
from avmi.config.load import dump_config
from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.errors import CheckpointError, UsageError
from avmi.models.encoders import Encoders

log = logging.getLogger(__name__)

STATE_FILE = "training_state.pt"  # optimizer, schedule and step; only resuming reads it
OBJECTIVE_FILE = "objective.safetensors"  # temperatures and what bounds learn; a classifier's head


@dataclass(frozen=True)
class Trained:
    """The parts of a run that a checkpoint brings back."""

    encoders: Encoders
    objective: nn.Module  # what turns embeddings or features into a loss, with its parameters
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    density_optimizer: torch.optim.Optimizer | None = (
        None  # of the densities that private parts are told apart by
    )


def claim(run: Path, config: PretrainConfig | FinetuneConfig, *, resume: bool) -> None:
    """Make the run folder and write the resolved config; with `resume`, check that it is the same.

    Raises `UsageError` when the folder holds another run, or one that is not to be resumed.
    """
    written = run / "config.yaml"
    if not written.is_file():
        if run.is_dir() and any(run.iterdir()):
            raise UsageError(f"{run} is not empty and holds no run: choose another `run` folder")
        try:
            run.mkdir(parents=True, exist_ok=True)
            temporary = written.with_suffix(".tmp")
            temporary.write_text(dump_config(config), encoding="utf-8")
            temporary.replace(written)
        except OSError as error:
            raise UsageError(f"run folder {run} cannot be written: {error.strerror}") from error
        return
    if not resume:
        raise UsageError(
            f"{run} already holds a run: add --resume to go on with it, or choose another `run` folder"
        )
    if written.read_text(encoding="utf-8") != dump_config(config):
        raise UsageError(
            f"{run} was begun with other settings than these (compare {written}): "
            "resume with the same ones, or choose another `run` folder"
        )


def save(
    run: Path,
    trained: Trained,
    *,
    config: PretrainConfig,
    step: int,
    metrics: Mapping[str, Any],
    train_videos: Iterable[str],
    is_best: bool,
    keep: int,
) -> None:
    """Write checkpoints/step_*, name the best one, and drop all but it and the `keep` newest."""
    folder = run / "checkpoints" / f"step_{step:08d}"
    state = {
        "optimizer": trained.optimizer.state_dict(),
        "schedule": trained.schedule.state_dict(),
        "step": step,
    }
    if trained.density_optimizer is not None:
        state["density_optimizer"] = trained.density_optimizer.state_dict()

    def write_state(temporary: Path) -> None:
        torch.save(state, temporary / STATE_FILE)
        save_file(tensors_of(trained.objective), temporary / OBJECTIVE_FILE)

    save_checkpoint(
        folder,
        trained.encoders,
        config=config,
        step=step,
        metrics=metrics,
        train_videos=train_videos,
        write_more=write_state,
    )
    best = run / "best.txt"
    if is_best or not best.is_file():
        temporary = best.with_suffix(".tmp")
        temporary.write_text(folder.name + "\n")
        temporary.replace(best)
    kept = {best.read_text().strip(), *(folder.name for folder in step_folders(run)[-keep:])}
    for old in step_folders(run):
        if old.name not in kept:
            shutil.rmtree(old, ignore_errors=True)


def restore(run: Path, trained: Trained) -> int:
    """Bring back the newest checkpoint that is whole, and return its step; 0 when the run has none.

    Raises `CheckpointError` when it has some and none of them is whole.
    """
    broken: list[CheckpointError] = []
    for folder in reversed(step_folders(run)):
        try:
            return _restore_from(folder, trained)
        except CheckpointError as error:
            log.warning("%s; going back to the checkpoint before it", error)
            broken.append(error)
    if broken:
        raise CheckpointError(
            f"no checkpoint of {run} can be resumed ({broken[0]}): begin again in another `run` folder"
        )
    return 0


def _restore_from(folder: Path, trained: Trained) -> int:
    meta, weights = read_meta(folder), folder / WEIGHTS_FILE
    if not weights.is_file() or sha256_of(weights) != meta["model_hash"]:
        raise CheckpointError(f"{weights} is missing or damaged")
    try:  # all of it is read before any of it is used
        state = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
        step, optimizer, schedule = int(state["step"]), state["optimizer"], state["schedule"]
        densities: dict[str, Any] = (
            state["density_optimizer"] if trained.density_optimizer is not None else {}
        )
    except Exception as error:  # whatever the reader stumbles over
        raise CheckpointError(f"{folder / STATE_FILE} is missing or damaged") from error
    load_tensors(trained.objective, folder / OBJECTIVE_FILE)
    load_tensors(trained.encoders, weights)
    trained.optimizer.load_state_dict(optimizer)
    trained.schedule.load_state_dict(schedule)
    if trained.density_optimizer is not None:
        trained.density_optimizer.load_state_dict(densities)
    return step


def best_metrics(run: Path) -> Mapping[str, Any]:
    """Read the metrics of the best checkpoint so far; empty when there is none."""
    best = run / "best.txt"
    folder = run / "checkpoints" / best.read_text().strip() if best.is_file() else None
    if folder is None or not (folder / META_FILE).is_file():
        return {}
    metrics: Mapping[str, Any] = read_meta(folder)["metrics"]
    return metrics
