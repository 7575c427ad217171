"""What to cut → what became of it, in worker processes that may hang, crash or grow without harm to this one."""

import itertools
import logging
import pickle
import time
from collections import deque
from dataclasses import dataclass
from multiprocessing import connection
from multiprocessing.connection import Connection

from torch import Tensor

from avmi.config.data import Data
from avmi.data.cutter import Cutter, Draw
from avmi.data.messages import Begun, Cut, Full, Job, Logged, Order, Raised, Ready, Refused
from avmi.data.worker_process import MOST_GIVEN, START_SECONDS, WorkerProcess
from avmi.errors import WorkerError

log = logging.getLogger(__name__)

_MOST_FAILED_STARTS = 3  # in a row: one may be the kernel's when memory is short


@dataclass(frozen=True)
class Limits:
    """What bounds the workers; see the fields of the same names in `Data`."""

    time_limit_seconds: float = Data().time_limit_seconds
    prefetch_batches: int = Data().prefetch_batches
    prefetch_gigabytes: float = Data().prefetch_gigabytes
    worker_memory_gigabytes: float = Data().worker_memory_gigabytes + Data().memory_gigabytes

    @classmethod
    def of(cls, data: Data) -> "Limits":
        """Take the limits of a configuration; what a worker remembers comes on top of what it needs."""
        return cls(
            data.time_limit_seconds,
            data.prefetch_batches,
            data.prefetch_gigabytes,
            data.worker_memory_gigabytes + data.memory_gigabytes,
        )


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True)
class Views:
    """The views of a draw's clips, in memory that the worker wrote."""

    ticket: int
    clips: list[dict[str, Tensor]]
    size_bytes: int


@dataclass(frozen=True)
class Refusal:
    """The video of a draw cannot be read."""

    ticket: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Loss:
    """A draw hung or ended its worker."""

    ticket: int
    reason: str
    detail: str


Event = Views | Refusal | Loss


class WorkerTraceback(Exception):
    """Where in the worker an error came from."""

    def __str__(self) -> str:
        return f"in a decoding worker:\n{self.args[0]}"


class WorkerPool:
    """Worker processes that cut draws; a context manager, for one thread.

    `submit` orders, `wait` gives what became of earlier orders, in no fixed order. A worker that is over time or
    dead is replaced, and only what it had in its hands is lost.
    """

    def __init__(self, cutter: Cutter, *, workers: int, limits: Limits) -> None:
        self.replaced = 0  # workers, since the start
        self._limits = limits
        most_bytes = round(limits.worker_memory_gigabytes * 1e9)
        level = logging.getLogger("avmi").getEffectiveLevel()
        self._job = Job(cutter.maker, cutter.decoder, most_bytes, level)
        self._waiting: deque[Order] = deque()
        self._workers: list[WorkerProcess] = []
        self._names = itertools.count(1)
        self._failed_starts = 0
        try:
            for _ in range(workers):
                self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all workers, whatever they are doing."""
        workers, self._workers = self._workers, []
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.bury()

    def submit(self, ticket: int, draw: Draw) -> None:
        """Order a draw; its outcome comes under this number."""
        self._waiting.append(Order(ticket, draw))
        self._hand_out()

    def wait(self, *others: Connection) -> list[Event]:
        """Wait for outcomes, or until one of the other pipes has something to read.

        Raises `WorkerError` when workers cannot start, and what a worker raised that is no `DecodeError`.
        """
        pipes = {worker.pipe: worker for worker in self._workers}
        first = min((w.deadline for w in self._workers), default=float("inf"))
        begun = time.monotonic()
        timeout = None if first == float("inf") else max(0.0, first - begun)
        ready = connection.wait([*pipes, *others], timeout)
        if timeout is not None and (overslept := time.monotonic() - begun - timeout) > 1.0:
            for worker in self._workers:  # this process was stopped, and so were they
                worker.deadline += overslept
        events: list[Event] = []
        for pipe in ready:
            if pipe in pipes:
                events += self._listen(pipes[pipe])
        now = time.monotonic()
        for worker in [w for w in self._workers if w.deadline <= now and not w.pipe.poll()]:
            events += self._overdue(worker)
        self._hand_out()
        return events

    def _listen(self, worker: WorkerProcess) -> list[Event]:
        events: list[Event] = []
        try:
            while worker in self._workers and worker.pipe.poll():
                events += self._heard(worker, worker.pipe.recv())
        except (EOFError, OSError):
            events += self._died(worker)
        return events

    def _heard(self, worker: WorkerProcess, message: object) -> list[Event]:
        match message:
            case Ready():
                worker.started_up()
                self._failed_starts = 0
            case Begun():
                worker.begin(limit_seconds=self._limits.time_limit_seconds)
            case Cut(ticket, layout, piece):
                clips = worker.receiver.receive(layout, piece)
                worker.finish()
                return [Views(ticket, clips, layout.size_bytes)]
            case Refused(ticket, reason, detail):
                worker.finish()
                return [Refusal(ticket, reason, detail)]
            case Full(size_bytes):
                self._grown(worker, size_bytes)
            case Raised(error, text):
                cause = WorkerTraceback(text)
                raise (pickle.loads(error) if error else RuntimeError(text.splitlines()[-1])) from cause
            case Logged(name, level, text):
                logging.getLogger(name).log(level, "%s", text)
        return []

    def _hand_out(self) -> None:
        """Give orders to workers that have room, to the least busy ones first."""
        for most in range(MOST_GIVEN):
            for worker in self._workers:
                has_room = worker.is_ready and len(worker.given) == most
                if self._waiting and has_room and worker.give(self._waiting[0]):
                    self._waiting.popleft()

    def _overdue(self, worker: WorkerProcess) -> list[Event]:
        if not worker.is_ready:
            raise WorkerError(
                f"a decoding worker did not start within {START_SECONDS:.0f} s; use fewer workers"
            )
        limit = self._limits.time_limit_seconds
        return self._lose(
            worker, "time_limit", f"not decoded within {limit:g} s; data.time_limit_seconds allows more"
        )

    def _died(self, worker: WorkerProcess) -> list[Event]:
        how = worker.manner_of_death()
        if not worker.is_ready:
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise WorkerError(
                    f"a decoding worker ended while it started ({how}): use fewer workers, or workers=0 to decode "
                    'without; a script must keep what it runs under `if __name__ == "__main__":`'
                )
        return self._lose(worker, "worker_died", f"the decoding worker ended ({how})")

    def _lose(self, worker: WorkerProcess, reason: str, detail: str) -> list[Event]:
        """Replace a worker; what it had in its hands is lost, and what waited for it goes to others."""
        events: list[Event] = []
        if worker.has_begun:
            order = worker.given.popleft()
            events.append(Loss(order.ticket, reason, f"{order.draw.path}: {detail}"))
        elif worker.is_ready:
            log.warning("a decoding worker was replaced: %s with nothing in its hands", detail)
        self._replace(worker)
        return events

    def _grown(self, worker: WorkerProcess, size_bytes: int) -> None:
        limit = self._limits.worker_memory_gigabytes
        log.info(
            "a decoding worker was replaced: it had grown to %.2f GB (%.2f allowed)", size_bytes / 1e9, limit
        )
        if worker.finished <= 1:
            log.warning(
                "one visit takes a decoding worker beyond its memory (%.2f of %.2f GB): raise "
                "data.worker_memory_gigabytes, or every visit waits for a fresh worker",
                size_bytes / 1e9,
                limit,
            )
        self._replace(worker)

    def _replace(self, worker: WorkerProcess) -> None:
        self.replaced += 1
        self._workers.remove(worker)
        self._waiting.extendleft(reversed(worker.given))
        worker.kill()
        worker.bury()
        self._start()

    def _start(self) -> None:
        name = f"avmi-decoder-{next(self._names)}"
        self._workers.append(WorkerProcess.started(self._job, name=name))
