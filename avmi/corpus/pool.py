"""Files and a probe function → each file's outcome, computed in child processes with a time limit per file.

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
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from avmi.errors import AvmiError, DecodeError

Probe = Callable[[Path], dict[str, Any]]

# decord keeps some memory of every file it opened; a fresh child after that many files bounds it.
FILES_PER_CHILD = 2000
_START_SECONDS = 120.0  # importing av and decord takes 0.3 s; a machine that swaps may take long
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


@dataclass(frozen=True)
class Outcome:
    """What became of one file: facts, or a reason and its detail."""

    facts: dict[str, Any] | None
    reason: str = ""
    detail: str = ""


@dataclass
class _Child:
    process: subprocess.Popen[str]
    ready: bool = False
    path: Path | None = None
    deadline: float = 0.0
    done: int = 0


class ProbePool:
    """Child processes that call one probe function; use it as a context manager.

    The probe is a function of a module (its name is what the child gets), takes an absolute path, returns
    what JSON can carry, and raises `DecodeError` for a file that is unusable.
    """

    def __init__(self, probe: Probe, *, workers: int, time_limit_seconds: float) -> None:
        self._target = f"{probe.__module__}:{probe.__qualname__}"
        self._workers = workers
        self._limit = time_limit_seconds
        self._children: list[_Child] = []
        self._lines: queue.SimpleQueue[tuple[_Child, str | None]] = queue.SimpleQueue()

    def __enter__(self) -> "ProbePool":
        return self

    def __exit__(self, *_: object) -> None:
        for child in list(self._children):
            self._stop(child)

    def run(self, paths: Iterable[Path]) -> Iterator[tuple[Path, Outcome]]:
        """Probe every file, yielding outcomes as they come, in no fixed order."""
        waiting = iter(paths)
        held: Path | None = next(waiting, None)
        while held is not None or any(child.path for child in self._children):
            while held is not None and (child := self._idle()) is not None:
                self._give(child, held)
                held = next(waiting, None)
            found = self._next_outcome()
            if found is not None:
                yield found

    def _idle(self) -> _Child | None:
        for child in self._children:
            if child.path is None:
                return child
        if len(self._children) < self._workers:
            self._children.append(self._start())
            return self._children[-1]
        return None

    def _give(self, child: _Child, path: Path) -> None:
        child.path = path
        child.deadline = time.monotonic() + (self._limit if child.ready else _START_SECONDS)
        with contextlib.suppress(OSError):  # a dead child shows by the end of its output
            assert child.process.stdin is not None
            child.process.stdin.write(json.dumps(str(path)) + "\n")
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
        path = child.path
        assert path is not None
        self._stop(child)
        if not child.ready:
            raise AvmiError(f"the probing process did not start within {_START_SECONDS:.0f} s")
        detail = f"not probed within {self._limit:g} s; --time-limit-seconds allows more"
        return path, Outcome(None, "time_limit", detail)

    def _died(self, child: _Child) -> tuple[Path, Outcome] | None:
        path = child.path
        code = child.process.wait()
        self._stop(child)
        if not child.ready:
            raise AvmiError(f"the probing process ended while it started (exit code {code})")
        how = _signal_name(-code) if code < 0 else f"exit code {code}"
        outcome = Outcome(None, "decoder_crash", f"the decoder ended its process ({how})")
        return (path, outcome) if path is not None else None

    def _start(self) -> _Child:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
            **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
        }
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
        child = _Child(process)
        threading.Thread(target=self._listen, args=(child,), daemon=True).start()
        assert process.stdin is not None
        hello = {"probe": self._target, "limit": self._limit, "parent": os.getpid()}
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
        module, name = hello["probe"].split(":")
        probe: Probe = getattr(importlib.import_module(module), name)
    except Exception as error:
        _answer(answers, {"failed": f"{type(error).__name__}: {error}"})
        return
    _answer(answers, {"ready": True})
    for line in requests:
        _end_after(hello["limit"] + 10)
        _answer(answers, _probed(probe, Path(json.loads(line))))
        _end_after(0)


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
