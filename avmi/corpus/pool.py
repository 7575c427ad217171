"""Files and probe functions → each file's outcome, computed in child processes with a time limit per file.

A decoder may hang or crash on a damaged file. Both happen in a child that has one file at a time: the parent
kills it when the time is up, notes which file it was, and starts another. Children are plain interpreters
that import the probe's module by name, so neither the user's main module nor torch is loaded in them.
"""

import contextlib
import ctypes
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, runtime_checkable

from avmi.errors import AvmiError, DecodeError

Probe = Callable[[Path], dict[str, Any]]

# Decoders leak: measured here 10 KB a file. A fresh child after that many files bounds it.
FILES_PER_CHILD = 2000
_START_SECONDS = 120.0  # importing av and decord takes 0.3 s; a machine that swaps may take long
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Outcome:
    """What became of one file: facts, or a reason and its detail."""

    facts: dict[str, Any] | None
    reason: str = ""
    detail: str = ""


@runtime_checkable
class Engine(Protocol):
    """What runs probes over many files: `ProbePool`, or one of the same kind elsewhere."""

    def __enter__(self) -> "Engine":
        """Begin."""
        ...

    def __exit__(self, *error: Any) -> None:
        """End every process that was started."""
        ...

    def run(self, paths: Iterable[Path], *, chain: int = 0) -> Iterator[tuple[Path, Outcome]]:
        """Probe every file with a chain, yielding outcomes as they come, in no fixed order."""
        ...


def probe_name(probe: Probe | str) -> str:
    """Name a probe as a child process imports it."""
    return probe if isinstance(probe, str) else f"{probe.__module__}:{probe.__qualname__}"


@dataclass
class _Child:
    process: subprocess.Popen[str]
    ready: bool = False
    path: Path | None = None
    attempt: int = 0
    deadline: float = 0.0
    done: int = 0


class ProbePool:
    """Child processes that call probe functions; use it as a context manager.

    A probe is a function of a module (its name is what the child gets), takes an absolute path, returns
    what JSON can carry, and raises `DecodeError` for a file that is unusable. Probes come in chains: files
    go to the first probe of a chain; those on which it hangs or crashes go to the next.
    """

    def __init__(self, *chains: Sequence[Probe | str], workers: int, time_limit_seconds: float) -> None:
        self._chains = [[probe_name(probe) for probe in chain] for chain in chains]
        self._chain = 0
        self._workers = workers
        self._limit = time_limit_seconds
        self._children: list[_Child] = []
        self._lines: queue.SimpleQueue[tuple[_Child, str | None]] = queue.SimpleQueue()
        self._again: deque[tuple[Path, int]] = deque()

    def __enter__(self) -> "ProbePool":
        return self

    def __exit__(self, *_: object) -> None:
        for child in list(self._children):
            self._stop(child)

    def run(self, paths: Iterable[Path], *, chain: int = 0) -> Iterator[tuple[Path, Outcome]]:
        """Probe every file with a chain, yielding outcomes as they come, in no fixed order."""
        self._chain = chain
        waiting = iter(paths)
        held = self._next_file(waiting)
        while held is not None or any(child.path for child in self._children):
            while held is not None and (child := self._idle()) is not None:
                self._give(child, *held)
                held = self._next_file(waiting)
            found = self._next_outcome()
            if found is not None:
                yield found
            held = held or self._next_file(waiting)

    def _next_file(self, waiting: Iterator[Path]) -> tuple[Path, int] | None:
        if self._again:
            return self._again.popleft()
        path = next(waiting, None)
        return None if path is None else (path, 0)

    def _idle(self) -> _Child | None:
        for child in self._children:
            if child.path is None:
                return child
        if len(self._children) < self._workers:
            self._children.append(self._start())
            return self._children[-1]
        return None

    def _give(self, child: _Child, path: Path, attempt: int) -> None:
        child.path, child.attempt = path, attempt
        child.deadline = time.monotonic() + (self._limit if child.ready else _START_SECONDS)
        with contextlib.suppress(OSError):  # a dead child shows by the end of its output
            assert child.process.stdin is not None
            request = {"path": str(path), "probe": self._chains[self._chain][attempt]}
            child.process.stdin.write(json.dumps(request) + "\n")
            child.process.stdin.flush()

    def _next_outcome(self) -> tuple[Path, Outcome] | None:
        """Wait for one line, one death or one deadline."""
        busy = [child for child in self._children if child.path is not None]
        first = min(busy, key=lambda child: child.deadline)
        try:
            child, line = self._lines.get(timeout=max(0.0, first.deadline - time.monotonic()))
        except queue.Empty:
            return self._overdue(first)
        if child not in self._children:
            return None  # the last words of one that was stopped
        if line is None:
            return self._died(child)
        message = json.loads(line)
        if "failed" in message:
            raise AvmiError(f"the probing process cannot start: {message['failed']}")
        if "ready" in message:
            child.ready = True
            child.deadline = time.monotonic() + self._limit  # importing is not the file's fault
            return None
        path, child.path = child.path, None
        assert path is not None
        child.done += 1
        if child.done >= FILES_PER_CHILD:
            self._stop(child)
        return path, Outcome(message.get("facts"), message.get("reason", ""), message.get("detail", ""))

    def _overdue(self, child: _Child) -> tuple[Path, Outcome] | None:
        self._stop(child)
        if not child.ready:
            raise AvmiError(f"the probing process did not start within {_START_SECONDS:.0f} s")
        detail = f"not probed within {self._limit:g} s; --time-limit-seconds allows more"
        return self._unfinished(child, Outcome(None, "time_limit", detail))

    def _died(self, child: _Child) -> tuple[Path, Outcome] | None:
        code = child.process.wait()
        self._stop(child)
        if not child.ready:
            raise AvmiError(f"the probing process ended while it started (exit code {code})")
        how = _signal_name(-code) if code < 0 else f"exit code {code}"
        return self._unfinished(
            child, Outcome(None, "decoder_crash", f"the decoder ended its process ({how})")
        )

    def _unfinished(self, child: _Child, outcome: Outcome) -> tuple[Path, Outcome] | None:
        """Pass the file of a child that is gone to the next probe; after the last, the outcome stands."""
        if child.path is None:
            return None
        if child.attempt + 1 < len(self._chains[self._chain]):
            self._again.append((child.path, child.attempt + 1))
            return None
        return child.path, outcome

    def _start(self) -> _Child:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
        try:
            process = subprocess.Popen(
                # -P: a file av.py in the current folder must not stand in for the library.
                [sys.executable, "-P", "-c", "from avmi.corpus.pool import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders complain there about every damaged file
                text=True,
                encoding="utf-8",
                env=environment,
                # Out of the terminal's foreground group: Ctrl-C is for the parent, which stops its children.
                process_group=0 if os.name == "posix" else None,
            )
        except OSError as error:
            raise AvmiError(f"a probing process cannot be started: {error}; use fewer workers") from error
        child = _Child(process)
        threading.Thread(target=self._listen, args=(child,), daemon=True).start()
        assert process.stdin is not None
        probes = sorted({target for chain in self._chains for target in chain})
        hello = {"probes": probes, "limit": self._limit, "parent": os.getpid()}
        with contextlib.suppress(OSError):
            process.stdin.write(json.dumps(hello) + "\n")
            process.stdin.flush()
        return child

    def _listen(self, child: _Child) -> None:
        assert child.process.stdout is not None
        with child.process.stdout as lines:
            for line in lines:
                self._lines.put((child, line))
        self._lines.put((child, None))

    def _stop(self, child: _Child) -> None:
        self._children.remove(child)
        child.process.kill()
        child.process.wait()
        if child.process.stdin is not None:
            with contextlib.suppress(OSError):
                child.process.stdin.close()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def serve() -> None:
    """Be a child: read paths from stdin, write outcomes to stdout, until stdin ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what a library prints is no answer
    requests = os.fdopen(os.dup(sys.stdin.fileno()), encoding="utf-8")
    hello = json.loads(requests.readline())
    _end_with_parent(hello["parent"])
    try:
        probes = {target: _imported(target) for target in hello["probes"]}
    except Exception as error:
        _answer(answers, {"failed": f"{type(error).__name__}: {error}"})
        return
    _answer(answers, {"ready": True})
    for line in requests:
        request = json.loads(line)
        _end_after(hello["limit"] + 10)
        _answer(answers, _probed(probes[request["probe"]], Path(request["path"])))
        _end_after(0)


def _imported(target: str) -> Probe:
    module, name = target.split(":")
    probe: Probe = getattr(importlib.import_module(module), name)
    return probe


def _probed(probe: Probe, path: Path) -> dict[str, Any]:
    try:
        return {"facts": probe(path)}
    except DecodeError as error:
        return {"reason": error.reason, "detail": str(error)}
    except MemoryError:
        return {"reason": "decode_error", "detail": "the decoder asked for more memory than there is"}
    except Exception as error:  # one file must not end the run, whatever a library raises
        return {"reason": "decode_error", "detail": f"{type(error).__name__}: {error}"}


def _end_after(seconds: float) -> None:
    """Let the kernel end this process: nobody else would, were the parent gone when a decoder hangs."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _answer(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(json.dumps(message) + "\n")
    answers.flush()


def _end_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when its parent ends, even in the middle of a hanging decoder."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)
