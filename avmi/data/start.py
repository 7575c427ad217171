"""Starting processes that decode: with one thread each, and from a server that has imported everything."""

import contextlib
import multiprocessing
import multiprocessing.context
import multiprocessing.process
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker

import torch

from avmi.errors import WorkerError

# A fork of the main process would copy the threads' locks of torch and FFmpeg in whatever state they are. A
# server that never ran a thread is forked in 20 ms; a fresh interpreter takes 3 s to import torch.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
_PRELOADED = "avmi.data.preload"
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_environment = threading.Lock()
# They ask a run to end, perhaps at the end of its step, and schedulers send them to all of its processes: workers are
# needed until then, and their parent ends them.
_NOT_FOR_WORKERS = {
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
}


def warm_up(workers: int) -> None:
    """Start the server of the workers, unless there are none: it imports while the caller builds a model."""
    if workers and METHOD == "forkserver":
        from multiprocessing import forkserver  # Unix only

        forkserver.set_forkserver_preload([_PRELOADED])
        with _for_workers():
            try:
                forkserver.ensure_running()
            except OSError as error:
                raise WorkerError(_cannot_start(str(error))) from error


def context() -> multiprocessing.context.BaseContext:
    """Give the way in which workers are started."""
    return multiprocessing.get_context(METHOD)


def start(process: multiprocessing.process.BaseProcess) -> None:
    """Start a worker; raises `WorkerError` when the system refuses."""
    warm_up(1)
    with _for_workers():
        try:
            process.start()
        except (OSError, EOFError) as error:
            raise WorkerError(_cannot_start(str(error) or "its server ended")) from error


def _cannot_start(why: str) -> str:
    return f"a decoding worker cannot be started ({why}): use fewer workers, or workers=0 to decode without"


@contextlib.contextmanager
def _for_workers() -> Iterator[None]:
    """Set what a started process must find in its environment: libraries read it when they are loaded."""
    wanted = {
        **dict.fromkeys(_ONE_THREAD, "1"),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        "PYTHONSAFEPATH": "1",  # a file av.py in the current folder must not stand in for the library
    }
    with _environment:
        before = {name: os.environ.get(name) for name in wanted}
        os.environ.update(wanted)
        try:
            with _signals_blocked():
                yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Start processes that never see these signals: what is blocked here stays so in them. Here they come afterwards."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it would be started with the server, and then unblock what it blocks
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _NOT_FOR_WORKERS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def share_cores(workers: int) -> None:
    """Leave one core to each decoding process: threads that wait for each other's core waste both.

    Does nothing where the user or the launcher has set OMP_NUM_THREADS.
    """
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, _cores() - workers))


def _cores() -> int:
    """Count the cores that this process may use: a container or a job has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
