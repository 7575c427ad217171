import os
import time
from functools import partial

import pytest

from data_prep.processes import Failure, run_jobs


def numbers(first, count):
    yield from range(first, first + count)


def numbers_then(count, *, end):
    yield from range(count)
    match end:
        case "raise":
            raise KeyError("gone")
        case "exit":
            os.write(2, b"  last words\n")
            os._exit(7)
        case "hang":
            time.sleep(60)


def pid_then_sleep():
    yield os.getpid()
    time.sleep(60)


def run(jobs, *, workers=2, stall_seconds=30.0):
    results = []
    failures = run_jobs(jobs, workers=workers, on_result=results.append, stall_seconds=stall_seconds)
    return results, failures


def test_all_results_come_and_those_of_one_job_in_its_order():
    results, failures = run({name: partial(numbers, 10 * i, 3) for i, name in enumerate("abc")})
    assert sorted(results) == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert [r for r in results if r < 10] == [0, 1, 2]
    assert failures == ()


def test_jobs_that_raise_or_die_are_named_and_the_others_go_on():
    jobs = {
        "dies": partial(numbers_then, 2, end="exit"),
        "raises": partial(numbers_then, 3, end="raise"),
        "good": partial(numbers, 100, 4),
    }
    results, failures = run(jobs)
    assert sorted(results) == [0, 0, 1, 1, 2, 100, 101, 102, 103]
    assert failures == (
        Failure("dies", "the process ended with code 7 (last words)"),
        Failure("raises", "KeyError: 'gone'"),
    )


def test_a_job_that_hangs_is_ended_and_the_next_one_begins():
    began = time.monotonic()
    hang = partial(numbers_then, 0, end="hang")
    results, failures = run({"first": hang, "second": hang}, workers=1, stall_seconds=1.0)
    assert results == []
    assert failures == (
        Failure("first", "gave no result for 1 s"),
        Failure("second", "gave no result for 1 s"),
    )
    assert time.monotonic() - began < 50  # each would sleep for 60 s


def test_an_interrupt_leaves_no_process_behind():
    heard = []

    def interrupt(pid):
        heard.append(pid)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_jobs({"one": pid_then_sleep}, workers=1, on_result=interrupt, stall_seconds=30.0)
    with pytest.raises(ProcessLookupError):
        os.kill(heard[0], 0)


def test_no_jobs_are_no_work():
    assert run({}) == ([], ())
