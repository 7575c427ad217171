"""Encoders with their configuration ↔ a checkpoint folder that rebuilds them and the preprocessing.

A checkpoint is a folder: weights.safetensors (the encoders, constants of the preprocessing among
them), config.yaml (the resolved pretraining configuration), meta.json (versions, step, hashes of all
files, metrics), train_videos.txt (content ids of the videos it was trained on). Nothing in it is code.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from avmi.config.load import dump_config, load_config
from avmi.config.schema import PretrainConfig
from avmi.errors import CheckpointError, ConfigError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.types import StrPath
from avmi.whole_folder import damaged_files, replace_folder, sha256_of, sync_folder, temporary_beside

FORMAT_VERSION = 1
WEIGHTS_FILE, CONFIG_FILE, META_FILE = "weights.safetensors", "config.yaml", "meta.json"
TRAIN_VIDEOS_FILE = "train_videos.txt"
_LOADED_FILES = (WEIGHTS_FILE, CONFIG_FILE, TRAIN_VIDEOS_FILE)  # the others are for resuming
STEP_FOLDER = re.compile(r"step_\d{8}")


@dataclass(frozen=True)
class Checkpoint:
    """Encoders as they were trained, and what is known of them."""

    encoders: Encoders
    config: PretrainConfig
    folder: Path
    model_hash: str  # sha256 of the weights file
    step: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    train_videos: frozenset[str] = frozenset()


def save_checkpoint(
    folder: StrPath,
    encoders: Encoders,
    *,
    config: PretrainConfig,
    step: int,
    metrics: Mapping[str, Any],
    train_videos: Iterable[str],
    write_more: Callable[[Path], None] | None = None,
) -> str:
    """Write a checkpoint folder whole or not at all, and return the model's hash.

    `write_more` may add files before the folder gets its name (a training state).
    """
    folder = Path(folder)
    temporary = temporary_beside(folder)
    try:
        save_file(tensors_of(encoders), temporary / WEIGHTS_FILE)
        (temporary / CONFIG_FILE).write_text(dump_config(config), encoding="utf-8")
        (temporary / TRAIN_VIDEOS_FILE).write_text("".join(f"{v}\n" for v in sorted(train_videos)))
        if write_more is not None:
            write_more(temporary)
        hashes = {path.name: sha256_of(path) for path in sorted(temporary.iterdir())}
        meta = {
            "format_version": FORMAT_VERSION,
            "model_hash": hashes[WEIGHTS_FILE],
            "step": step,
            "metrics": dict(metrics),
            "files": hashes,
        }
        meta["meta_hash"] = _hash_of(meta)
        (temporary / META_FILE).write_text(json.dumps(meta, indent=2) + "\n", encoding="utf-8")
        sync_folder(temporary)
        replace_folder(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return hashes[WEIGHTS_FILE]


def load_checkpoint(path: StrPath) -> Checkpoint:
    """Rebuild the encoders of a checkpoint folder, or of a run folder's best (else last) checkpoint.

    Raises `CheckpointError` when it is missing, broken, or was written by another version.
    """
    folder = find_checkpoint(path)
    meta = read_meta(folder)
    _require_whole(folder, {n: h for n, h in meta["files"].items() if n in _LOADED_FILES})
    try:
        config = load_config(folder / CONFIG_FILE, [], schema=PretrainConfig)
    except ConfigError as error:
        raise CheckpointError(
            f"{folder / CONFIG_FILE} is missing or damaged ({str(error).splitlines()[0]}): "
            "use another checkpoint of the run"
        ) from error
    settings = config.encoders.without_weights()
    encoders = Encoders(config.views, settings, log_mel=LogMelStatistics(0.0, 1.0))
    load_tensors(encoders, folder / WEIGHTS_FILE)
    videos = folder / TRAIN_VIDEOS_FILE
    return Checkpoint(
        encoders=encoders.eval(),
        config=config,
        folder=folder,
        model_hash=meta["model_hash"],
        step=meta["step"],
        metrics=meta["metrics"],
        train_videos=frozenset(videos.read_text().split()) if videos.is_file() else frozenset(),
    )


def find_checkpoint(path: StrPath) -> Path:
    """Resolve a checkpoint folder or a run folder to the checkpoint to load."""
    path = Path(path)
    if (path / META_FILE).is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"{path}: no such checkpoint or run folder")
    best = path / "best.txt"
    if best.is_file() and (path / "checkpoints" / best.read_text().strip() / META_FILE).is_file():
        return path / "checkpoints" / best.read_text().strip()
    found = step_folders(path)
    if not found:
        raise CheckpointError(
            f"{path} holds no checkpoint: give the run folder of `avmi pretrain`, "
            f"or a folder with {WEIGHTS_FILE}, {CONFIG_FILE} and {META_FILE}"
        )
    return found[-1]


def step_folders(run: Path) -> list[Path]:
    """List the whole checkpoints of a run folder, oldest first."""
    return sorted(
        folder
        for folder in (run / "checkpoints").glob("step_*")
        if STEP_FOLDER.fullmatch(folder.name) and (folder / META_FILE).is_file()
    )


def read_meta(folder: Path) -> dict[str, Any]:
    """Read and check meta.json; raises `CheckpointError` for another version or a damaged file.

    `files` gives the hashes of the others: of the weights alone in checkpoints that were written before there were more.
    """
    try:
        meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
        version = meta["format_version"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / META_FILE} is not a checkpoint's: {error}") from error
    if version != FORMAT_VERSION:
        raise CheckpointError(
            f"{folder} was written in checkpoint format {version}, this avmi reads {FORMAT_VERSION}: "
            "use the avmi that wrote it, or train again"
        )
    if not isinstance(meta.get("model_hash"), str) or not isinstance(meta.get("step"), int):
        raise CheckpointError(f"{folder / META_FILE} lacks model_hash or step: the file is damaged")
    written = meta.pop("meta_hash", None)
    if (written is not None or "files" in meta) and written != _hash_of(meta):
        raise CheckpointError(f"{folder / META_FILE} is damaged: its hash is not the one that stands in it")
    return {"metrics": {}, "files": {WEIGHTS_FILE: meta["model_hash"]}, **meta}


def require_whole(folder: Path) -> dict[str, Any]:
    """Check every file of a checkpoint against its hash and give the meta data; raises `CheckpointError`."""
    meta = read_meta(folder)
    _require_whole(folder, meta["files"])
    return meta


def _require_whole(folder: Path, hashes: Mapping[str, str]) -> None:
    if damaged := damaged_files(folder, hashes):
        names = ", ".join(path.name for path in damaged)
        raise CheckpointError(
            f"{folder}: {names} is missing or damaged (its hash is not the one in {META_FILE}): "
            "use another checkpoint of the run"
        )


def _hash_of(meta: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()


def load_tensors(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into a module; names and shapes must be the module's own."""
    try:
        module.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as error:
        reason = " ".join(
            str(error).split("\n\t")[:2]
        ).strip()  # torch lists every weight on a line of its own
        raise CheckpointError(f"{path} does not fit the model of its config: {reason}") from error


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Copy a module's state to contiguous CPU tensors."""
    return {n: t.detach().cpu().contiguous().clone() for n, t in module.state_dict().items()}
