"""A Ray cluster of this machine that several tests share; processes that tests start and end themselves."""

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

_CLUSTER = """
import os, sys, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import ray
context = ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="session")
def ray_environment() -> Iterator[dict[str, str]]:
    """Environment of commands that work on a cluster of 2 CPUs; the cluster ends with the tests."""
    pytest.importorskip("ray")
    # Ray lets in only who has the cluster's token: this one has a token of its own.
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with subprocess.Popen(
        [sys.executable, "-c", _CLUSTER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as head:
        started = [psutil.Process(head.pid)]
        assert head.stdout is not None
        address = head.stdout.readline().strip()
        started += started[0].children(recursive=True)
        yield {**environment, "RAY_ADDRESS": address}
        started += started[0].children(recursive=True)
        end(started)


def end(started: list[psutil.Process]) -> None:
    """Kill exactly these processes."""
    for process in started:
        if process.is_running():
            process.kill()
    psutil.wait_procs(started, timeout=10)


@pytest.fixture
def killed_when(tmp_path: Path) -> Callable[..., None]:
    """`killed_when(condition, command, environment)`: run a command, and kill it when the condition holds."""

    def run(condition: Callable[[], bool], command: list[str], environment: dict[str, str]) -> None:
        with (
            (tmp_path / "stderr").open("w+b") as told,
            subprocess.Popen(command, env=environment, stdout=told, stderr=told) as driver,
        ):
            process = psutil.Process(driver.pid)
            deadline = time.monotonic() + 120  # Ray takes ten seconds on an idle machine
            try:
                while not condition():
                    assert driver.poll() is None, (tmp_path / "stderr").read_text()
                    assert time.monotonic() < deadline
                    time.sleep(0.01)
            finally:
                end([process, *(process.children(recursive=True) if process.is_running() else ())])

    return run


@pytest.fixture
def finished() -> Callable[[list[str], dict[str, str]], None]:
    """Run a command to its end."""

    def run(command: list[str], environment: dict[str, str]) -> None:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr

    return run
