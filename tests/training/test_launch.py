"""What a launcher has set → an error or a warning where the processes would not train together; simulated GPUs."""

import logging
from functools import partial

import pytest
import torch

from avmi.config.parts import Logging, Optimizer
from avmi.errors import ConfigError, UsageError
from avmi.training.launch import check_joined, check_launch, join_processes, mixed_precision

TORCHRUN = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch):
    def have(number: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: number > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: number)

    return have


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("ACCELERATE_USE_FSDP", "FSDP"),
        ("ACCELERATE_USE_DEEPSPEED", "DeepSpeed"),
        ("ACCELERATE_USE_MEGATRON_LM", "Megatron-LM"),
        ("ACCELERATE_USE_PARALLELISM_CONFIG", "a parallelism_config"),
    ],
)
def test_ways_of_training_that_checkpoints_would_be_wrong_of_are_refused(variable: str, name: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name} is asked for .*optimizer\.sharded=true"):
        check_launch({variable: "true"})
    check_launch({variable: "false"})


@pytest.mark.parametrize(("number", "text"), [(1, "1 GPU:"), (3, "3 GPUs:")])
def test_more_processes_than_gpus_are_refused(gpus, number: int, text: str) -> None:
    gpus(number)
    environment = {**TORCHRUN, "WORLD_SIZE": "5", "LOCAL_WORLD_SIZE": "5"}
    with pytest.raises(UsageError, match=f"^5 processes were started on a machine with {text}"):
        check_launch(environment)
    check_launch({**environment, "ACCELERATE_USE_CPU": "true"})
    check_launch({**environment, "SLURM_PROCID": "0"})  # may show each task one GPU
    check_launch({**environment, "LOCAL_WORLD_SIZE": str(number)})


def test_processes_that_did_not_find_each_other_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^2 processes were started.*ACCELERATE_USE_CPU=true"):
        check_joined(1, TORCHRUN)
    check_joined(2, TORCHRUN)
    check_joined(1, {})


def test_tasks_of_srun_without_ranks_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_launch({"SLURM_STEP_NUM_TASKS": "4"})
    assert "srun started 4 tasks" in caplog.text
    caplog.clear()
    check_launch({"SLURM_STEP_NUM_TASKS": "4", **TORCHRUN})
    check_launch({"SLURM_STEP_NUM_TASKS": "1"})
    assert not caplog.records


def test_a_launcher_that_was_asked_for_several_and_started_one_is_warned_of(caplog) -> None:
    # What `accelerate launch --cpu --num_processes 2` leaves in the environment of its one process.
    left = {"ACCELERATE_MIXED_PRECISION": "no", "MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "True"}
    with caplog.at_level(logging.WARNING):
        check_launch(left)
    assert "started one" in caplog.text
    caplog.clear()
    check_launch({"ACCELERATE_MIXED_PRECISION": "no"})  # of --num_processes 1
    check_launch({**left, "OMPI_COMM_WORLD_SIZE": "2"})
    assert not caplog.records


@pytest.mark.parametrize(
    ("precision", "has_gpu", "has_bf16", "word"),
    [
        ("fp32", True, True, "no"),
        ("bf16", False, False, "bf16"),
        ("fp16", True, True, "fp16"),
        ("by_device", False, False, "no"),
        ("by_device", True, True, "bf16"),
        ("by_device", True, False, "fp16"),
    ],
)
def test_precision_follows_the_device_unless_it_is_named(
    monkeypatch: pytest.MonkeyPatch, precision, has_gpu: bool, has_bf16: bool, word: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: has_bf16)
    assert mixed_precision(precision) == word


def test_cpu_processes_on_a_machine_with_gpus_take_the_precision_of_cpus(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    assert mixed_precision("by_device") == "no"


def test_half_precision_without_a_gpu_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"optimizer\.precision: fp16 needs a GPU"):
        mixed_precision("fp16")


def test_one_python_process_trains_in_one_precision(tmp_path, monkeypatch) -> None:
    join = partial(join_processes, record=Logging(), run=tmp_path, some_without_gradient=False)
    join(Optimizer(precision="fp32"))
    with pytest.raises(UsageError, match=r"another precision than bf16.*start Python anew"):
        join(Optimizer(precision="bf16"))
    assert join(Optimizer(precision="fp32", accumulation_steps=3)).gradient_accumulation_steps == 3
