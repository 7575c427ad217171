"""How this process was started, and settings → the accelerator through which the processes train together."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import DistributedDataParallelKwargs

from avmi.config.parts import Logging, Optimizer, Precision
from avmi.errors import ConfigError, UsageError
from avmi.training.watching.trackers import tracker_folders

log = logging.getLogger(__name__)

# What accelerate's launcher sets for ways of training that hold no whole weights in any process: their checkpoints would
# hold a share of the model, or none.
_UNKNOWN = {
    "ACCELERATE_USE_FSDP": "FSDP",
    "ACCELERATE_USE_DEEPSPEED": "DeepSpeed",
    "ACCELERATE_USE_MEGATRON_LM": "Megatron-LM",
    "ACCELERATE_USE_PARALLELISM_CONFIG": "a parallelism_config",
}
# Sizes that MPI's launchers give; accelerate joins such processes without a WORLD_SIZE.
_SIZES = ("WORLD_SIZE", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")


def join_processes(
    optimizer: Optimizer, record: Logging, *, run: Path, some_without_gradient: bool
) -> Accelerator:
    """Join the processes of the launch, or train alone when there is no launcher.

    `some_without_gradient` says that a batch may leave parameters without a gradient, for which others would wait.
    Raises `UsageError` for a launch that would not train as it seems to, `ConfigError` for a precision that is not to be had.
    """
    check_launch()
    precision = mixed_precision(optimizer.precision)
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        raise UsageError(
            f"this process has trained in another precision than {precision} before (accelerate's word): start Python anew"
        )
    accelerator = Accelerator(
        mixed_precision=precision,
        gradient_accumulation_steps=optimizer.accumulation_steps,
        log_with=list(record.trackers) or None,
        project_config=tracker_folders(run),
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=some_without_gradient)],
    )
    check_joined(accelerator.num_processes)
    return accelerator


def check_launch(environment: Mapping[str, str] = os.environ) -> None:
    """Look at what a launcher has set, before the processes join.

    Raises `UsageError` for a way of training that is not known here and for more processes than GPUs; warns of
    launchers that started processes which do not know of each other.
    """
    asked = [name for variable, name in _UNKNOWN.items() if _is_on(environment, variable)]
    if asked:
        raise UsageError(
            f"{asked[0]} is asked for by accelerate's configuration, but avmi trains with whole weights in every process: "
            "take configs/launch/8gpus.yaml, and for less memory optimizer.sharded=true, optimizer.chunk_clips or "
            "encoders.image.checkpoint_activations=true"
        )
    here = int(environment.get("LOCAL_WORLD_SIZE", "1"))
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # SLURM may show each task a GPU of its own, which is then the only one.
    is_shown_all = "SLURM_PROCID" not in environment and not _is_on(environment, "ACCELERATE_USE_CPU")
    if is_shown_all and 0 < gpus < here:
        raise UsageError(
            f"{here} processes were started on a machine with {gpus} GPU{'s' if gpus > 1 else ''}: start at most one for "
            "each, or set ACCELERATE_USE_CPU=true to train on CPUs"
        )
    if any(name in environment for name in _SIZES):
        return
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1:
        log.warning(
            "srun started %s tasks of this command, which do not know of each other: each trains alone, with its own "
            "negatives; give every task its RANK and WORLD_SIZE as configs/launch/slurm_4x8gpus.sh does",
            environment["SLURM_STEP_NUM_TASKS"],
        )
    elif "ACCELERATE_MIXED_PRECISION" in environment and "MASTER_ADDR" in environment:
        log.warning(
            "accelerate was asked for several processes, it seems, and started one, as `accelerate launch --cpu` does: "
            "start CPU processes with torchrun (configs/launch/cpu_processes.sh)"
        )


def check_joined(processes: int, environment: Mapping[str, str] = os.environ) -> None:
    """Raise `UsageError` when more processes were started than have joined: each of them would train alone."""
    started = int(environment.get("WORLD_SIZE", "1"))
    if started > processes:
        raise UsageError(
            f"{started} processes were started, but this one trains with {processes - 1} others, because there is no GPU: "
            "set ACCELERATE_USE_CPU=true to train on CPUs"
        )


def mixed_precision(precision: Precision) -> str:
    """Translate to accelerate's word; by_device takes what the device is fast at.

    bf16 autocast is 5-11 times slower than fp32 on CPUs without bf16 units. Raises `ConfigError` for fp16 without a GPU.
    """
    if precision == "fp32":
        return "no"
    if precision == "fp16" and not (trains_on_gpu() or torch.backends.mps.is_available()):
        raise ConfigError("optimizer.precision: fp16 needs a GPU; take by_device, bf16 or fp32")
    if precision != "by_device":
        return precision
    if not trains_on_gpu():
        return "no"
    return "bf16" if torch.cuda.is_bf16_supported() else "fp16"


def trains_on_gpu(environment: Mapping[str, str] = os.environ) -> bool:
    """Tell whether accelerate will take a GPU: there is one, and the launch does not ask for CPUs."""
    return torch.cuda.is_available() and not _is_on(environment, "ACCELERATE_USE_CPU")


def _is_on(environment: Mapping[str, str], variable: str) -> bool:
    return environment.get(variable, "false").lower() in ("true", "1", "yes")
