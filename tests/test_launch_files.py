"""configs/launch: files that accelerate and bash take, with a header that says how to use them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.utils import DistributedType

from avmi.checkpoint import load_checkpoint
from avmi.config.load import dump_config
from avmi.training.watching.log import read_metrics
from avmi.workflows.pretrain import pretrain

LAUNCH = Path(__file__).resolve().parents[1] / "configs" / "launch"
YAMLS, SCRIPTS = sorted(LAUNCH.glob("*.yaml")), sorted(LAUNCH.glob("*.sh"))


def test_there_is_a_file_for_every_kind_of_machine() -> None:
    names = [path.name for path in sorted(LAUNCH.iterdir())]
    assert names == ["1gpu.yaml", "8gpus.yaml", "cpu_processes.sh", "slurm_4x8gpus.sh"]


@pytest.mark.parametrize("path", [*YAMLS, *SCRIPTS], ids=lambda path: path.name)
def test_the_header_gives_the_command_and_the_machine(path: Path) -> None:
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    assert any(f"configs/launch/{path.name}" in line and "CONFIG" in line for line in header)
    assert any(word in " ".join(header) for word in ("Machine:", "Expects:"))


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.name)
def test_accelerate_loads_it(path: Path) -> None:
    config = load_config_from_file(str(path))
    assert isinstance(config, ClusterConfig)
    processes = int(path.name.partition("gpu")[0])
    assert config.num_processes == processes
    assert config.distributed_type == (DistributedType.MULTI_GPU if processes > 1 else DistributedType.NO)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_reads_it(path: Path) -> None:
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=30)
    assert os.access(path, os.X_OK)


@pytest.mark.parametrize(("code", "requeued"), [(0, False), (1, False), (75, True)])
def test_the_job_gives_every_task_its_rank_and_is_queued_again_after_a_saved_stop(
    tmp_path: Path, code: int, requeued: bool
) -> None:
    commands = {
        "scontrol": 'echo "scontrol $*" >> "$SEEN"; if [[ $1 == show ]]; then printf "node7\\nnode8\\n"; fi',
        # Stands for the fourth of the tasks.
        "srun": 'shift; export SLURM_PROCID=3 SLURM_LOCALID=1; "$@"',
        "python": 'echo "$MASTER_ADDR $RANK $LOCAL_RANK $WORLD_SIZE $LOCAL_WORLD_SIZE: $*" >> "$SEEN"; exit '
        f"{code}",
    }
    for name, text in commands.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    seen = tmp_path / "seen"
    job = {"SLURM_JOB_NODELIST": "node[7-8]", "SLURM_JOB_ID": "41", "SLURM_NTASKS": "4"}
    job |= {
        "SLURM_NTASKS_PER_NODE": "2",
        "SEEN": str(seen),
        "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
    }
    done = subprocess.run(
        [str(LAUNCH / "slurm_4x8gpus.sh"), "my config.yaml", "seed=3"],
        env={**os.environ, **job},
        timeout=30,
    )
    assert done.returncode == code
    lines = seen.read_text().splitlines()
    assert lines[:2] == [
        "scontrol show hostnames node[7-8]",
        "node7 3 1 4 2: -m avmi pretrain my config.yaml seed=3 --resume",
    ]
    assert lines[2:] == (["scontrol requeue 41"] if requeued else [])


@pytest.mark.slow
def test_cpu_processes_begin_a_run_in_chunks_and_with_a_sharded_optimizer_that_one_process_goes_on_with(
    tiny_corpus, tiny_config, tmp_path
) -> None:
    # Every clip has every view, and no pair shares the temperature: no process may wait for a gradient.
    views = {
        "image": {"kind": "frame", "at_seconds": 0.5},
        "sound": {"kind": "audio", "window_seconds": 1.0},
        "image_mid": {"kind": "feature", "of": "image", "layer": "stage3"},
    }
    pairs = [{"views": [name, "sound"], "temperature": {"initial": 0.2}} for name in ("image", "image_mid")]
    run, file = tmp_path / "run", tmp_path / "config.yaml"
    config = tiny_config(
        tiny_corpus,
        run,
        views=views,
        pairs=pairs,
        optimizer={"steps": 3, "chunk_clips": 2, "sharded": True, "accumulation_steps": 2},
        encoders={"image": {"name": "small_conv", "width": 8, "checkpoint_activations": True}},
        data={"batch_clips": 4, "evaluation_clips_per_video": 1},
    )
    file.write_text(dump_config(config))
    folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [str(LAUNCH / "cpu_processes.sh"), str(file), "--json"],
        env={**os.environ, "PATH": folders, "PROCESSES": "2", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["steps"] == 3
    train = [r for r in read_metrics(run / "metrics.jsonl") if r["kind"] == "train"]
    assert [r["step"] for r in train] == [1, 2, 3]
    assert (
        6 < train[0]["k_effective/image~sound"] <= 8
    )  # negatives of both processes' batches, not of a chunk
    assert train[0]["clips/image~sound"] == 16  # of both batches of the step
    folder = run / "checkpoints" / "step_00000002"
    state = torch.load(folder / "training_state.pt", weights_only=True)["optimizer"]
    trained = {number for group in state["param_groups"] for number in group["params"]}
    assert set(state["state"]) == trained  # both processes' shares
    last = run / "checkpoints" / "step_00000003"
    two = load_checkpoint(last).encoders.state_dict()
    shutil.rmtree(last)
    pretrain(config, resume=True)  # from step 2 on, alone
    one, before = (load_checkpoint(f).encoders.state_dict() for f in (last, folder))
    step = {name: (one[name] - before[name]).norm() for name in one}
    assert sum(step.values()) > 0
    # Another number of processes has other batches, but with the same moments no step of another size.
    assert sum(step.values()) < 2 * sum((two[name] - before[name]).norm() for name in two)
