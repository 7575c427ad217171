"""Signals that ask a run to end, sent to this process itself."""

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest
import torch

from avmi.errors import Preempted
from avmi.training.stopping import preemption
from avmi.training.stopping.preemption import SIGNALS, StopSignals

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def handlers_of_a_terminal() -> Iterator[None]:
    """Hear Ctrl-C as in a terminal: a shell in the background ignores it, and programs inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.001)  # the handler runs between two instructions


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_inside_the_steps_a_signal_waits_for_the_end_of_the_step(number: signal.Signals) -> None:
    with StopSignals() as stop, stop.at_step_ends():
        asked_before = stop.ask(CPU)
        assert not asked_before()
        send(number)
        assert asked_before()  # one process needs no answer of others
    error = stop.preempted(7)
    assert error.exit_code == 75
    assert not error.is_told
    assert str(error) == (
        f"stopped by {number.name} after step 7, which is saved: the same command with --resume goes on from there"
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_outside_the_steps_a_signal_ends_the_run_at_once(number: signal.Signals) -> None:
    with StopSignals(), pytest.raises(Preempted, match=f"stopped by {number.name} outside the steps"):
        send(number)


def test_outside_the_steps_ctrl_c_is_what_it_always_is() -> None:
    with StopSignals(), pytest.raises(KeyboardInterrupt):
        send(signal.SIGINT)


def test_a_second_ctrl_c_stops_at_once_but_not_that_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    with StopSignals() as stop, stop.at_step_ends():
        send(signal.SIGINT)
        send(signal.SIGINT)  # at once after the first: handed on by the launcher
        assert stop.ask(CPU)()
        monkeypatch.setattr(preemption, "_SAME_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)


def test_sigterm_after_sigusr1_changes_nothing() -> None:
    with StopSignals() as stop, stop.at_step_ends():
        send(signal.SIGUSR1)
        send(signal.SIGTERM)
    assert "stopped by SIGUSR1" in str(stop.preempted(1))


def test_an_error_on_the_way_out_is_not_replaced_by_a_signal() -> None:
    def fail_and_be_told_to_stop(stop: StopSignals) -> None:
        try:
            with stop.at_step_ends():
                raise ZeroDivisionError
        finally:
            send(signal.SIGTERM)

    with StopSignals() as stop, pytest.raises(ZeroDivisionError):
        fail_and_be_told_to_stop(stop)


def test_signals_go_back_to_whom_they_belonged() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    handlers = [signal.getsignal(number) for number in SIGNALS]
    try:
        with StopSignals():
            assert signal.getsignal(signal.SIGUSR1) is not handlers[-1]
        assert [signal.getsignal(number) for number in SIGNALS] == handlers
        send(signal.SIGUSR1)
        assert heard == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as shells do for programs in the background
    try:
        with StopSignals() as stop, stop.at_step_ends():
            send(signal.SIGINT)
            assert not stop.ask(CPU)()
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_heard_and_nothing_fails() -> None:
    found: list[bool] = []

    def train() -> None:
        with StopSignals() as stop, stop.at_step_ends():
            found.append(stop.ask(CPU)())

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert found == [False]
