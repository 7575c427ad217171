"""Named jobs → their results as they come; each job in a process of its own, which may die or hang."""

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TypeVar

from avmi.errors import AvmiError

Result = TypeVar("Result")

_POLL_SECONDS = 1.0  # how often hanging jobs are looked for


@dataclass(frozen=True)
class Failure:
    """A job that did not come to its end, and why."""

    name: str
    reason: str


@dataclass
class _Running:
    name: str
    process: SpawnProcess
    log: Path  # what the process writes to stderr
    heard_at: float  # of the monotonic clock
    reason: str = ""  # why it failed, in its own words


def run_jobs(
    jobs: Mapping[str, Callable[[], Iterator[Result]]],
    *,
    workers: int,
    on_result: Callable[[Result], None],
    stall_seconds: float,
) -> tuple[Failure, ...]:
    """Run the jobs, at most `workers` at a time, and hand over each result as it comes.

    Jobs and results are pickled. A job fails when it raises, when its process ends from within, and
    when `stall_seconds` pass without a result; the others go on. When this call is interrupted, no
    process is left behind. Failures come in the order of the jobs.
    """
    waiting = list(jobs.items())
    running: dict[Connection, _Running] = {}
    failures: dict[str, Failure] = {}
    with tempfile.TemporaryDirectory(prefix="data_prep_") as logs:
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    name, job = waiting.pop(0)
                    connection, child = _start(name, job, Path(logs) / f"{len(waiting)}.log")
                    running[connection] = child
                ready = set(wait(list(running), timeout=_POLL_SECONDS))
                for connection in [known for known in running if known in ready]:
                    if not _hear(connection, running[connection], on_result):
                        child = running.pop(connection)
                        if failure := _ended(connection, child):
                            failures[child.name] = failure
                for child in running.values():
                    if time.monotonic() - child.heard_at > stall_seconds:
                        child.reason = f"gave no result for {stall_seconds:.0f} s"
                        child.process.kill()
        finally:
            for child in running.values():
                child.process.kill()
                child.process.join()
    return tuple(failures[name] for name in jobs if name in failures)


def _start(name: str, job: Callable[[], Iterator[Result]], log: Path) -> tuple[Connection, _Running]:
    # Spawned, not forked: a forked child inherits the threads' locks of numeric libraries.
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(job, theirs, log), name=name, daemon=True)
    process.start()
    theirs.close()  # so that the end of the child is the end of the pipe
    return ours, _Running(name, process, log, heard_at=time.monotonic())


def _child(job: Callable[[], Iterator[Result]], connection: Connection, log: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and ends its children
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    try:
        for result in job():
            connection.send(result)
    except AvmiError as error:
        connection.send(Failure("", str(error)))
    except Exception as error:  # whatever it is, it ends this job and no other
        connection.send(Failure("", f"{type(error).__name__}: {error}"))


def _hear(connection: Connection, child: _Running, on_result: Callable[[Result], None]) -> bool:
    """Take one message of a child; False when there will be no more."""
    try:
        message = connection.recv()
    except (EOFError, OSError):
        return False
    child.heard_at = time.monotonic()
    if isinstance(message, Failure):
        child.reason = message.reason
    else:
        on_result(message)
    return True


def _ended(connection: Connection, child: _Running) -> Failure | None:
    connection.close()
    child.process.join()
    if child.reason:
        return Failure(child.name, child.reason)
    if child.process.exitcode == 0:
        return None
    lines = child.log.read_text(errors="replace").splitlines() if child.log.exists() else []
    said = next((line.strip() for line in lines if line.strip()), "")
    return Failure(
        child.name,
        f"the process ended with code {child.process.exitcode}" + (f" ({said})" if said else ""),
    )
