"""A configuration → `avmi pretrain` in processes of its own, which tests stop, kill and resume; and what a run left.

Import as `from launched import ...`.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from safetensors.torch import load_file

from avmi.config.load import dump_config
from avmi.config.schema import PretrainConfig
from avmi.training.watching.log import read_metrics

# What depends on the machine and not on the run.
TIMES = ("clips_per_second", "data_wait_share", "replaced_workers")
MOST_SECONDS = 200


class Launch:
    """A training run in one process, or in several by torchrun."""

    def __init__(
        self,
        config: PretrainConfig,
        folder: Path,
        *,
        processes: int,
        program: Sequence[str] = ("-m", "avmi"),
    ) -> None:
        file = folder / f"{config.run.name}.yaml"
        file.write_text(dump_config(config))
        command, self.processes = [sys.executable], processes
        if processes > 1:
            command += ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
        self.command = [*command, *program, "pretrain", str(file), "--resume"]
        self.run, self.log = config.run, folder / f"{config.run.name}.log"
        self.environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
        self.environment["PYTHONPATH"] = str(Path(__file__).parents[1])

    @contextlib.contextmanager
    def started(self) -> Iterator[subprocess.Popen[bytes]]:
        """Start it; whatever is left at the end is killed."""
        with self.log.open("wb") as log:
            process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                yield process
            finally:
                with contextlib.suppress(psutil.NoSuchProcess):
                    for child in psutil.Process(process.pid).children(recursive=True):
                        with contextlib.suppress(psutil.NoSuchProcess):
                            child.kill()
                process.kill()
                process.wait(MOST_SECONDS)

    def wait_for_step(self, step: int, process: subprocess.Popen[bytes]) -> None:
        """Wait until the curve has this step."""
        deadline = time.monotonic() + MOST_SECONDS
        while last_step(self.run) < step:
            assert process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, f"no step {step} within {MOST_SECONDS} s"
            time.sleep(0.02)

    def finish(self) -> str:
        """Run it to its end; give what it said."""
        with self.started() as process:
            assert process.wait(MOST_SECONDS) == 0, self.log.read_text()[-3000:]
        return self.log.read_text()

    def signal_at(self, step: int, number: int, *, rank: int | None = None) -> tuple[int, float]:
        """Send a signal after a step, to all processes as schedulers do, or to one rank; give exit code and seconds."""
        with self.started() as process:
            self.wait_for_step(step, process)
            start = time.monotonic()
            if rank is None:
                os.killpg(process.pid, number)
            else:
                os.kill(self._ranks(process)[rank].pid, number)
            return process.wait(MOST_SECONDS), time.monotonic() - start

    def _ranks(self, launcher: subprocess.Popen[bytes]) -> dict[int, psutil.Process]:
        return {int(p.environ()["RANK"]): p for p in psutil.Process(launcher.pid).children()}


def kill_all(launch: Launch, *, step: int) -> None:
    """Kill a run of one process after a step, with its workers, as a machine that goes down does."""
    with launch.started() as process:
        launch.wait_for_step(step, process)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(MOST_SECONDS)


def last_step(run: Path) -> int:
    """Give the last step of the curve; 0 before there is one."""
    path = run / "metrics.jsonl"
    return max((r["step"] for r in read_metrics(path)), default=0) if path.is_file() else 0


def curve(run: Path) -> list[dict[str, Any]]:
    """Read the logged curve without what depends on the machine."""
    records = read_metrics(run / "metrics.jsonl")
    return [{k: v for k, v in record.items() if k not in TIMES} for record in records]


def assert_same_run(one: Path, other: Path, *, step: int) -> None:
    """Compare two runs to the last bit: curves, and at a step weights, what the loss learns, optimizer and counts."""
    assert curve(one) == curve(other)
    assert (one / "best.txt").read_text() == (other / "best.txt").read_text()
    folders = [run / "checkpoints" / f"step_{step:08d}" for run in (one, other)]
    for name in ("weights.safetensors", "objective.safetensors"):
        assert_same(*(load_file(folder / name) for folder in folders))
    assert_same(*(torch.load(folder / "training_state.pt", weights_only=True) for folder in folders))


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Compare nested plain values and tensors to the last bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            assert_same(mine, theirs, f"{where}.{number}")
    else:
        assert one == other, where
