"""A signal that asks a run to end → an answer that all its processes agree on at the end of a step.

Schedulers send SIGTERM before they kill, torchrun hands it on, SLURM's `--signal` can send SIGUSR1 some time ahead, and
Ctrl-C is SIGINT. Perhaps only one process hears of it, and all must stop at the same step: they ask each other at the
beginning of every step and read the answer at its end, so that nobody waits for it.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import torch

from avmi.distributed import Largest, rank, world_size
from avmi.errors import Preempted

SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name)
)  # Windows has no SIGUSR1
# A terminal sends Ctrl-C to torchrun's processes and torchrun hands it on: that is one, not two.
_SAME_SECONDS = 1.0


class StopSignals:
    """Hears the signals; a context manager that gives them back to whom they belonged.

    Before the loop there is nothing to save, and a signal ends the run at once; inside `at_step_ends` it is kept until
    the end of a step. A second Ctrl-C ends the run at once. Only the main thread of a program can hear signals, and those
    that are ignored, as `nohup` and shells do for programs in the background, stay so.
    """

    def __init__(self) -> None:
        self.heard: signal.Signals | None = None
        self._heard_seconds = 0.0
        self._waits = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                if before is not signal.SIG_IGN and before is not None:
                    self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before = {}

    @contextmanager
    def at_step_ends(self) -> Iterator[None]:
        """Keep what is heard until the loop asks.

        When an error ends the steps, a signal on the way out, such as torchrun's because another process has ended, must
        not take the error's place.
        """
        self._waits = True
        yield
        self._waits = False

    def ask(self, device: torch.device) -> Callable[[], bool]:
        """Ask all processes whether one was told to stop; call what is given at the end of the step for the answer."""
        if world_size() == 1:
            return lambda: self.heard is not None
        largest = Largest(float(self.heard or 0), device=device)
        return lambda: self._learn(int(largest.answer()))

    def preempted(self, step: int) -> Preempted:
        """Say that the run has stopped after a step, whose checkpoint was saved."""
        by = self.heard.name if self.heard is not None else "a signal"
        error = Preempted(
            f"stopped by {by} after step {step}, which is saved: the same command with --resume goes on from there"
        )
        error.is_told = rank() != 0
        return error

    def _learn(self, number: int) -> bool:
        """Take over what another process has heard."""
        if number and self.heard is None:
            self.heard, self._heard_seconds = signal.Signals(number), time.monotonic()
        return number != 0

    def _hear(self, number: int, frame: FrameType | None) -> None:
        since, again = time.monotonic() - self._heard_seconds, self.heard is not None
        if not again:
            self.heard, self._heard_seconds = signal.Signals(number), time.monotonic()
        if number == signal.SIGINT and (not self._waits or (again and since > _SAME_SECONDS)):
            raise KeyboardInterrupt
        if not self._waits:
            raise Preempted(
                f"stopped by {signal.Signals(number).name} outside the steps of training, where there is nothing to save: "
                "the same command with --resume goes on"
            )
