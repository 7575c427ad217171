"""Two processes with gradients in chunks and with a sharded optimizer → one process on the joined batch, without."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import scaled_ranks
import torch
from accelerate import Accelerator
from scaled_ranks import BATCHES, CLIPS, HEADS, assert_equal_gradients, gradients, steps

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out, script = tmp_path_factory.mktemp("ranks") / "ranks.pt", Path(scaled_ranks.__file__)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = str(script.parents[1])
    done = subprocess.run(
        [*command, str(script), str(out)], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = torch.load(out, weights_only=True)
    assert found["world_size"] == 2
    return found


@pytest.mark.parametrize("kind", HEADS)
def test_chunks_of_two_processes_give_the_gradients_of_one_on_the_joined_batch(two_ranks, kind: str) -> None:
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=BATCHES)
    alone = gradients(0, CLIPS, accelerator, head=HEADS[kind], chunk_clips=None)
    assert_equal_gradients(two_ranks[kind], alone)


def test_running_statistics_come_from_the_main_process_as_without_chunks(two_ranks) -> None:
    whole, chunked = two_ranks["buffers"]  # the only chunk is the whole batch
    torch.testing.assert_close(chunked, whole, atol=0, rtol=0)
    name = "encoders.by_name.image.backbone.stage1.1.running_mean"
    assert not torch.equal(whole[0][name], whole[1][name])  # each process has its own clips since


def test_a_sharded_optimizer_takes_the_steps_of_a_whole_one_with_half_the_moments(two_ranks) -> None:
    sharded, whole = two_ranks["sharded"], two_ranks["whole"]
    torch.testing.assert_close(sharded["weights"], whole["weights"], atol=0, rtol=0)
    assert sharded["state"]["state"].keys() == whole["state"]["state"].keys()
    torch.testing.assert_close(sharded["state"]["state"], whole["state"]["state"], atol=0, rtol=0)
    assert sharded["state"]["param_groups"] == whole["state"]["param_groups"]
    assert sum(sharded["kept"]) == whole["kept"][0] == whole["kept"][1]
    assert max(sharded["kept"]) < 0.8 * whole["kept"][0]  # tensors are not divided


def test_steps_of_two_processes_are_those_of_one_on_the_joined_batch(two_ranks) -> None:
    alone = steps(0, CLIPS, Accelerator(cpu=True, gradient_accumulation_steps=1), sharded=False)
    torch.testing.assert_close(two_ranks["sharded"]["weights"], alone["weights"], atol=1e-4, rtol=1e-4)
