"""A job → one worker process as the main process sees it: what it was given, how long it may take, how it ended."""

import contextlib
import signal
import time
from collections import deque
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler

from avmi.data.messages import Job, Order
from avmi.data.start import context, start
from avmi.data.transport import PIECES, Receiver
from avmi.data.worker import serve

START_SECONDS = 120.0  # importing takes 3 s here; a machine that swaps, or a network disk, may take long
MOST_GIVEN = PIECES  # orders that a worker holds: one in its hands, one for the moment after it
# A second order must fit into the pipe beside what is there (about 200 KB), or sending it would wait for a worker
# that may hang.
_MOST_AHEAD_BYTES = 32_768
_END_SECONDS = 5.0  # a killed process is gone at once, unless the kernel waits for a disk
_NEVER = float("inf")


@dataclass(eq=False)
class WorkerProcess:
    """One worker: its orders are carried out one after the other, the first may be in its hands."""

    process: BaseProcess
    pipe: Connection
    receiver: Receiver
    deadline: float  # by the monotonic clock: of its start, or of what it has in its hands
    is_ready: bool = False
    given: deque[Order] = field(default_factory=deque)
    has_begun: bool = False  # the first of them
    finished: int = 0

    @classmethod
    def started(cls, job: Job, *, name: str) -> "WorkerProcess":
        """Start a worker; raises `WorkerError` when the system refuses."""
        ours, theirs = context().Pipe()
        process = context().Process(  # type: ignore[attr-defined]  # typeshed's base context has none
            target=serve, args=(theirs, job), daemon=True, name=name
        )
        try:
            start(process)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return cls(process, ours, Receiver(ours), time.monotonic() + START_SECONDS)

    def started_up(self) -> None:
        """Take note that it is ready for orders."""
        self.is_ready, self.deadline = True, _NEVER

    def give(self, order: Order) -> bool:
        """Send an order; False when it must wait until the worker has nothing else."""
        message = ForkingPickler.dumps(order)
        if self.given and len(message) > _MOST_AHEAD_BYTES:
            return False
        self.given.append(order)
        with contextlib.suppress(OSError):  # it is dead; the pipe's end tells so
            self.pipe.send_bytes(message)
        return True

    def begin(self, *, limit_seconds: float) -> None:
        """Take note that it has its first order in its hands."""
        self.has_begun, self.deadline = True, time.monotonic() + limit_seconds

    def finish(self) -> None:
        """Take note that its first order is carried out."""
        self.given.popleft()
        self.has_begun, self.deadline = False, _NEVER
        self.finished += 1

    def kill(self) -> None:
        """Begin to end it, whatever it is doing."""
        self.process.kill()

    def bury(self) -> None:
        """Wait until a killed worker is gone."""
        self.process.join(_END_SECONDS)
        self.pipe.close()

    def manner_of_death(self) -> str:
        """Wait for a worker whose pipe has ended, and say in which way it ended."""
        self.process.join(_END_SECONDS)
        return _manner(self.process.exitcode)


def _manner(code: int | None) -> str:
    if code is None:
        return "in a way that nobody saw"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"{name}, as when memory runs out" if name == "SIGKILL" else name
