"""A process that dies, and another that waits for ever, without a launcher to end it."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from avmi.training.stopping.lifeline import Lifeline

SCRIPT = Path(__file__).parents[2] / "lifeline_ranks.py"


def start(how: str, seconds: float) -> list[tuple[int, str]]:
    """Start two processes as srun does; give exit codes and what they said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    shared = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared |= {"WORLD_SIZE": "2", "PYTHONPATH": str(SCRIPT.parents[1])}
    processes = [
        subprocess.Popen(
            [sys.executable, str(SCRIPT), how, str(seconds)],
            env={**shared, "RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        return [(process.wait(100), process.communicate()[1]) for process in processes]
    finally:
        for process in processes:
            process.kill()


@pytest.mark.slow
def test_a_process_that_waits_for_ever_ends_when_another_has_died() -> None:
    begun = time.monotonic()
    (code, said), (other, _) = start("dies", 1000.0)
    assert time.monotonic() - begun < 60
    assert other == -9
    assert code == 1
    assert "avmi: another process of this run has ended" in said


@pytest.mark.long
def test_a_process_that_has_left_is_not_dead() -> None:
    assert [code for code, _ in start("leaves", 2.0)] == [0, 0]


def test_one_process_watches_nobody() -> None:
    with Lifeline():
        pass
