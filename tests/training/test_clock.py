"""Where the time of training goes, on a clock that stands still unless told otherwise."""

import pytest

from avmi.training import clock
from avmi.training.clock import StepClock


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
        "rejected_videos": 0.0,
    }
    time.seconds += 2.0
    steps.clips += 10
    assert steps.scalars()["clips_per_second"] == pytest.approx(5.0)


def test_rejected_videos_are_counted_from_the_start(time: Time) -> None:
    steps = StepClock()
    steps.rejected_videos += 2
    time.seconds += 1
    assert steps.scalars()["rejected_videos"] == 2
    steps.rejected_videos += 1
    assert steps.scalars()["rejected_videos"] == 3


def test_no_time_at_all_divides_by_nothing(time: Time) -> None:
    assert StepClock().scalars()["clips_per_second"] == 0.0
