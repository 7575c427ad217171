"""Where the time of training goes, on a clock that stands still unless told otherwise."""

import logging

import pytest

from avmi.config.data import Data
from avmi.training import clock
from avmi.training.clock import StepClock, WaitWatch


class Time:
    seconds = 100.0

    def perf_counter(self) -> float:
        return self.seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(clock, "time", fake)
    return fake


def test_rates_are_counted_since_the_last_record(time: Time) -> None:
    steps = StepClock()
    for _ in range(3):
        with steps.waiting():
            time.seconds += 0.5
        time.seconds += 1.5
        steps.clips += 24
    assert steps.scalars() == {
        "clips_per_second": pytest.approx(72 / 6),
        "data_wait_share": pytest.approx(1.5 / 6),
    }
    time.seconds += 2.0
    steps.clips += 10
    assert steps.scalars()["clips_per_second"] == pytest.approx(5.0)


def test_no_time_at_all_divides_by_nothing(time: Time) -> None:
    assert StepClock().scalars()["clips_per_second"] == 0.0


def waits(*shares: float, data: Data, caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.set_level(logging.WARNING, "avmi")
    watch = WaitWatch(data)
    for share in shares:
        watch.check({"data_wait_share": share})
    return [record.getMessage() for record in caplog.records]


def test_a_loop_that_waits_for_long_is_told_once_what_helps(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = waits(0.9, 0.6, 0.5, 0.4, 0.3, 0.8, 0.8, data=Data(workers=3), caplog=caplog)
    assert line.startswith("training waits for data for 30 % of its time")
    assert all(part in line for part in ("data.workers is 3", "avmi pack", "data.memory_gigabytes"))


def test_a_loop_that_waits_now_and_then_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert waits(*[0.9] * 4, 0.2, *[0.9] * 4, *[0.25] * 9, data=Data(), caplog=caplog) == []


def test_what_is_used_already_is_not_recommended(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = waits(*[0.5] * 5, data=Data(memory_gigabytes=2.0), caplog=caplog)
    assert "memory" not in line
