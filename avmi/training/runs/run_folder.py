"""A run's state ↔ its folder: checkpoints/step_* and best.txt."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from avmi.checkpoint import (
    META_FILE,
    WEIGHTS_FILE,
    load_tensors,
    read_meta,
    require_whole,
    save_checkpoint,
    step_folders,
    tensors_of,
)
from avmi.config.schema import PretrainConfig
from avmi.distributed import on_main, world_size
from avmi.errors import CheckpointError
from avmi.models.encoders import Encoders
from avmi.training.runs.progress import Progress
from avmi.training.runs.run_counts import RunCounts
from avmi.whole_folder import remove_folder, replace_text

log = logging.getLogger(__name__)

STATE_FILE = "training_state.pt"  # optimizer, schedule, progress, counts; only resuming reads it
OBJECTIVE_FILE = "objective.safetensors"  # temperatures and what bounds learn; a classifier's head
BEST_FILE = "best.txt"  # name of the best checkpoint


@dataclass(frozen=True)
class Trained:
    """The parts of a run that a checkpoint brings back."""

    encoders: Encoders
    objective: nn.Module  # what turns embeddings or features into a loss, with its parameters
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    # Of the densities that private parts are told apart by.
    density_optimizer: torch.optim.Optimizer | None = None
    scaler: torch.amp.GradScaler | None = None  # of losses in half precision
    counts: RunCounts = field(default_factory=RunCounts)


def save(
    run: Path,
    trained: Trained,
    *,
    config: PretrainConfig,
    progress: Progress,
    train_videos: Iterable[str],
    is_best: bool,
    keep: int,
) -> None:
    """Write checkpoints/step_*, name the best one, and drop all but it and the `keep` newest.

    Those of later steps are dropped, too: they are damaged, and the run has gone back before them.
    """
    folder = _folder_of(run, progress.step)
    state = _state_of(trained, progress)

    def write_state(temporary: Path) -> None:
        torch.save(state, temporary / STATE_FILE)
        save_file(tensors_of(trained.objective), temporary / OBJECTIVE_FILE)

    save_checkpoint(
        folder,
        trained.encoders,
        config=config,
        step=progress.step,
        metrics=progress.metrics,
        train_videos=train_videos,
        write_more=write_state,
    )
    best = run / BEST_FILE
    if is_best or not best.is_file():
        replace_text(best, f"{folder.name}\n")
    until_now = [old.name for old in step_folders(run) if old.name <= folder.name]
    kept = {best.read_text().strip(), *until_now[-keep:]}
    for old in step_folders(run):
        if old.name not in kept:
            remove_folder(old)


def restore(run: Path, trained: Trained, *, visits_per_step: int) -> Progress:
    """Bring back the newest checkpoint that is whole, the same in every process; the beginning when the run has none.

    Of old checkpoints, which do not say how many visits were taken, every step counts `visits_per_step`. Raises `CheckpointError` when it has some and none of them is whole.
    """
    folder = on_main(lambda: _go_back(run))
    if folder is None:
        return Progress(processes=world_size())
    meta, state = read_meta(folder), _read_state(folder)
    load_tensors(trained.objective, folder / OBJECTIVE_FILE)
    load_tensors(trained.encoders, folder / WEIGHTS_FILE)
    trained.optimizer.load_state_dict(state["optimizer"])
    trained.schedule.load_state_dict(state["schedule"])
    if trained.density_optimizer is not None:
        trained.density_optimizer.load_state_dict(state["density_optimizer"])
    if trained.scaler is not None and "scaler" in state:
        trained.scaler.load_state_dict(state["scaler"])
    trained.counts.load(state.get("counts", {}))
    step = int(state["step"])
    return Progress(
        step=step,
        visits=state.get("visits", step * visits_per_step),
        processes=state.get("processes", world_size()),
        corpus=state.get("corpus", ""),
        metrics=meta["metrics"],
    )


def is_finished(run: Path, *, steps: int) -> bool:
    """Tell whether the checkpoint of the last step is there and whole."""
    folder = _folder_of(run, steps)
    try:
        require_whole(folder)
    except CheckpointError:
        return False
    return True


def _folder_of(run: Path, step: int) -> Path:
    return run / "checkpoints" / f"step_{step:08d}"


def _go_back(run: Path) -> Path | None:
    """Find the checkpoint to go on from; a best one after it is damaged, and is the best no more."""
    folder, best = _newest_whole(run), run / BEST_FILE
    if folder is not None and best.is_file() and best.read_text().strip() > folder.name:
        replace_text(best, f"{folder.name}\n")
    return folder


def _newest_whole(run: Path) -> Path | None:
    """Find the newest checkpoint of which every file is whole, with a warning of each that is not; None without any.

    Raises `CheckpointError` when the run has some and none of them is whole.
    """
    broken: list[CheckpointError] = []
    for folder in reversed(step_folders(run)):
        try:
            require_whole(folder)
            _read_state(folder)  # of checkpoints whose other files had no hashes
        except CheckpointError as error:
            log.warning("%s; going back to the checkpoint before it", error)
            broken.append(error)
        else:
            return folder
    if broken:
        raise CheckpointError(
            f"no checkpoint of {run} can be resumed ({broken[0]}): begin again in another `run` folder"
        )
    return None


def _state_of(trained: Trained, progress: Progress) -> dict[str, Any]:
    state: dict[str, Any] = {
        "optimizer": trained.optimizer.state_dict(),
        "schedule": trained.schedule.state_dict(),
        "step": progress.step,
        "visits": progress.visits,
        "processes": progress.processes,
        "corpus": progress.corpus,
        "counts": trained.counts.state(),
    }
    if trained.density_optimizer is not None:
        state["density_optimizer"] = trained.density_optimizer.state_dict()
    if trained.scaler is not None:
        state["scaler"] = trained.scaler.state_dict()
    return state


def _read_state(folder: Path) -> dict[str, Any]:
    """Read what resuming needs, all of it before any of it is used."""
    try:
        state: dict[str, Any] = torch.load(folder / STATE_FILE, map_location="cpu", weights_only=True)
        _ = int(state["step"]), state["optimizer"], state["schedule"]
    except Exception as error:  # whatever the reader stumbles over
        raise CheckpointError(f"{folder / STATE_FILE} is missing or damaged") from error
    try:
        load_file(folder / OBJECTIVE_FILE)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder / OBJECTIVE_FILE} is missing or damaged") from error
    return state


def best_metrics(run: Path) -> Mapping[str, Any]:
    """Read the metrics of the best checkpoint so far; empty when there is none."""
    best = run / BEST_FILE
    folder = run / "checkpoints" / best.read_text().strip() if best.is_file() else None
    if folder is None or not (folder / META_FILE).is_file():
        return {}
    try:
        metrics: Mapping[str, Any] = read_meta(folder)["metrics"]
    except CheckpointError as error:
        log.warning("%s; another checkpoint will be the best one", error)
        return {}
    return metrics
