"""Videos that hang, crash or grow in workers: what comes out, and what is left of the workers."""

import gc
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from decoders_for_tests import FakeDecoder
from streams_for_tests import (
    PAIRS,
    QUICK,
    assert_same,
    cutter_of,
    manifest_of,
    paths_of,
    specs_at,
    steps,
    stream_of,
)

from avmi.corpus.manifest import Reject
from avmi.data import (
    Batch,
    FixedClips,
    Limits,
    Quarantine,
    StreamBatches,
    TrainingStream,
    fixed_loader,
    training_loader,
)
from avmi.data.pool import WorkerTraceback
from avmi.errors import TrainingError, WorkerError

LOST = {
    "hang": ("time_limit", "not decoded within 0.5 s; data.time_limit_seconds allows more"),
    "kill": ("worker_died", "the decoding worker ended (SIGKILL, as when memory runs out)"),
    "crash": ("worker_died", "the decoding worker ended (SIGSEGV)"),
    "exit": ("worker_died", "the decoding worker ended (exit code 3)"),
}


def same_clips(batches: list[Batch], others: list[Batch]) -> bool:
    return [b.specs for b in batches] == [b.specs for b in others] and all(
        torch.equal(one.views[name], other.views[name])
        for one, other in zip(batches, others, strict=True)
        for name in one.views
    )


def decoders_alive() -> set[int]:
    """Give the processes below this one that decode: all but the server that they are forked from, and the tracker."""
    servers = psutil.Process().children()
    return {child.pid for server in servers for child in server.children() if child.is_running()}


def gone(processes: set[int], *, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while any(psutil.pid_exists(pid) for pid in processes) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(psutil.pid_exists(pid) for pid in processes)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_the_batches_are_those_of_one_process_from_any_step_on(workers: int) -> None:
    settings = {"broken": ["2.mp4"], "clips_per_video": 2}
    alone = steps(stream_of(manifest_of(7), **settings), first=0, until=6, videos=3)
    for first in (0, 4):
        helped = steps(stream_of(manifest_of(7), **settings), first=first, until=6, videos=3, workers=workers)
        assert len(helped) == 6 - first
        for one, other in zip(alone[first:], helped, strict=True):
            assert_same(one, other)
    assert any(batch.rejects for batch in alone)


@pytest.mark.parametrize(("mood", "workers"), [("hang", 2), ("kill", 1), ("crash", 2), ("exit", 1)])
def test_a_video_that_ends_its_worker_is_replaced_as_if_it_could_not_be_read(
    mood: str, workers: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moods, limits = {"3.mp4": mood}, Limits(time_limit_seconds=0.5, prefetch_batches=1)
    refused = steps(stream_of(manifest_of(5), broken=["3.mp4"]), first=0, until=8, videos=2)
    stream = stream_of(manifest_of(5), moods=moods, folder=tmp_path)
    survived = steps(stream, first=0, until=8, videos=2, workers=workers, limits=limits)
    assert same_clips(survived, refused)
    reason, detail = LOST[mood]
    rejects = [reject for batch in survived for reject in batch.rejects]
    assert set(rejects) == {Reject("3.mp4", reason, f"/nowhere/3.mp4: {detail}")}
    # It was drawn three times or more; after the second it is not tried any more.
    assert len([r for batch in refused for r in batch.rejects if r.path == "3.mp4"]) >= 3
    assert len(stream.cutter.decoder.openings("3.mp4")) == len(rejects) == 2
    assert stream.quarantine.paths == {"3.mp4"}
    assert f"quarantined 3.mp4: 2 visits were lost, the last by {reason}" in caplog.text


def test_a_video_that_hangs_once_is_drawn_again(tmp_path: Path) -> None:
    stream = stream_of(manifest_of(3), moods={"1.mp4": "hang_once"}, folder=tmp_path)
    batches = steps(stream, first=0, until=6, videos=3, workers=1)
    rejects = [reject for batch in batches for reject in batch.rejects]
    assert [(reject.path, reject.reason) for reject in rejects] == [("1.mp4", "time_limit")]
    # Six passes; in one of them another video took its place, which may have been the same one.
    assert sum(spec.video.path == "1.mp4" for batch in batches for spec in batch.specs) in (5, 6)
    assert len(stream.quarantine) == 0


def test_a_run_that_goes_on_after_lost_visits_is_the_run_it_goes_on_from(tmp_path: Path) -> None:
    moods = {"1.mp4": "hang", "2.mp4": "hang_once", "4.mp4": "kill_once"}
    file = tmp_path / "quarantine.rank_0.jsonl"

    def go_on(first: int) -> list[Batch]:
        stream = stream_of(
            manifest_of(6), moods=moods, folder=tmp_path, quarantine=Quarantine.of_run(tmp_path, rank=0)
        )
        return steps(stream, first=first, until=9, videos=2, workers=2)

    whole = go_on(0)
    written = file.read_text()
    assert len(written.splitlines()) == sum(len(batch.rejects) for batch in whole) >= 4
    # What hung or died once does so no more, but the visits that were lost stay lost.
    for first in (1, 5):
        rest = go_on(first)
        for one, other in zip(whole[first:], rest, strict=True):
            assert_same(one, other)
    assert file.read_text() == written  # and are not lost a second time
    assert {r.path for batch in whole for r in batch.rejects} == {"1.mp4", "2.mp4", "4.mp4"}


def test_too_much_memory_for_a_video_is_a_reject_with_and_without_workers() -> None:
    moods = {"0.mp4": "greedy"}
    alone = steps(stream_of(manifest_of(4), moods=moods), first=0, until=3, videos=4)
    helped = steps(stream_of(manifest_of(4), moods=moods), first=0, until=3, videos=4, workers=1)
    for one, other in zip(alone, helped, strict=True):
        assert_same(one, other)
    (reject,) = {reject for batch in alone for reject in batch.rejects}
    assert (reject.path, reject.reason) == ("0.mp4", "memory")


def test_a_worker_that_grows_is_replaced_and_no_visit_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "avmi")
    limits = Limits(time_limit_seconds=20.0, worker_memory_gigabytes=2.0)
    stream = stream_of(
        manifest_of(9), moods=dict.fromkeys(("1.mp4", "5.mp4", "7.mp4"), "grow"), folder=tmp_path
    )
    loader = training_loader(
        stream,
        StreamBatches(first_step=0, steps=8, videos_per_batch=3, rank=0, world_size=1),
        workers=1,
        limits=limits,
    )
    batches = iter(loader)
    grown = list(batches)
    for one, other in zip(steps(stream_of(manifest_of(9)), first=0, until=8, videos=3), grown, strict=True):
        assert_same(one, other)
    opened_by = [stream.cutter.decoder.openings(f"{n}.mp4") for n in range(9)]
    processes = {process for of_file in opened_by for process in of_file}
    assert len(processes) == 1 + batches.scalars()["replaced_workers"] > 1
    assert "a decoding worker was replaced: it had grown to" in caplog.text
    # 24 visits, none twice: what waited for the worker that was replaced went to the next one.
    assert sum(map(len, opened_by)) == 24


def test_a_worker_killed_from_outside_costs_at_most_the_clip_in_its_hands(tmp_path: Path) -> None:
    stream = stream_of(manifest_of(5), moods={f"{n}.mp4": "slow" for n in range(5)}, folder=tmp_path)
    order = StreamBatches(first_step=0, steps=10, videos_per_batch=4, rank=0, world_size=1)
    before = decoders_alive()
    batches = iter(training_loader(stream, order, workers=2, limits=QUICK))
    taken = [next(batches)]
    os.kill(min(decoders_alive() - before), signal.SIGKILL)
    taken += list(batches)
    assert [len(batch.specs) for batch in taken] == [4] * 10
    rejects = [reject for batch in taken for reject in batch.rejects]
    assert [reject.reason for reject in rejects] in (["worker_died"], [])
    assert batches.scalars() == {"quarantined_videos": 0.0, "replaced_workers": 1.0}
    assert gone(decoders_alive() - before)


def test_an_error_that_is_no_fault_of_the_video_comes_out_once_with_the_workers_traceback() -> None:
    stream = stream_of(manifest_of(4), moods={"2.mp4": "bug"})
    order = StreamBatches(first_step=0, steps=4, videos_per_batch=4, rank=0, world_size=1)
    batches = iter(training_loader(stream, order, workers=2, limits=QUICK))
    with pytest.raises(ZeroDivisionError, match="a bug in the decoder") as caught:
        list(batches)
    assert isinstance(caught.value.__cause__, WorkerTraceback)
    assert "decoders_for_tests.py" in str(caught.value.__cause__)
    assert list(batches) == []
    assert not decoders_alive()


def test_a_lost_disk_stops_the_run_with_workers_too() -> None:
    stream = stream_of(manifest_of(3), broken=["0.mp4", "1.mp4", "2.mp4"])
    with pytest.raises(TrainingError, match=r"20 videos in a row .* is the disk still there\?"):
        steps(stream, first=0, until=2, videos=2, workers=1)


def test_a_run_of_which_every_video_is_quarantined_stops_and_says_so() -> None:
    stream = stream_of(manifest_of(2), moods=dict.fromkeys(("0.mp4", "1.mp4"), "kill"))
    limits = Limits(time_limit_seconds=5.0, prefetch_batches=1)
    with pytest.raises(TrainingError, match="all 2 videos are quarantined, because they hung or killed"):
        steps(stream, first=0, until=9, videos=1, workers=1, limits=limits)


class Fatal(FakeDecoder):
    """A decoder that ends the process which receives it."""

    def __reduce__(self):
        return os._exit, (7,)


def test_workers_that_cannot_start_are_an_error_that_says_so() -> None:
    stream = stream_of(manifest_of(2))
    object.__setattr__(stream.cutter, "decoder", Fatal())
    with pytest.raises(WorkerError, match=r"ended while it started \(exit code 7\).*workers=0"):
        steps(stream, first=0, until=1, videos=1, workers=1)
    decoder = FakeDecoder()
    decoder.moods = {"0.mp4": lambda: None}
    object.__setattr__(stream.cutter, "decoder", decoder)
    with pytest.raises(AttributeError, match="Can't pickle local object"):
        steps(stream, first=0, until=1, videos=1, workers=1)


# Fixed clips --------------------------------------------------------------------------------------


def test_fixed_clips_come_in_order_and_what_hangs_or_kills_twice_is_a_reject(tmp_path: Path) -> None:
    manifest = manifest_of(7)
    moods = {"1.mp4": "hang", "3.mp4": "kill_once", "4.mp4": "kill", "6.mp4": "slow"}
    cutter = cutter_of(manifest, moods=moods, folder=tmp_path)
    clips = FixedClips(cutter, specs_at(manifest, *((n, n / 10) for n in (6, 5, 4, 3, 2, 1, 0))))
    batches = list(fixed_loader(clips, workers=2, videos_per_batch=3, limits=QUICK))
    assert [[s.video.path for s in b.specs] for b in batches] == [
        ["6.mp4", "5.mp4"], ["3.mp4", "2.mp4"], ["0.mp4"]
    ]  # fmt: skip
    found = [(r.path, r.reason) for batch in batches for r in batch.rejects]
    assert found == [("4.mp4", "worker_died"), ("1.mp4", "time_limit")]
    assert [len(cutter.decoder.openings(f"{n}.mp4")) for n in (0, 1, 3, 4)] == [1, 1, 2, 2]


# What is decoded ahead, and the end ---------------------------------------------------------------


def settled(folder: Path) -> int:
    """Wait until no more files are opened; count the openings."""
    counts = [-1]
    while len(counts) < 5 or len(set(counts[-4:])) > 1:
        time.sleep(0.05)
        counts.append(sum(len(p.read_text().split()) for p in folder.iterdir()))
    return counts[-1]


@pytest.mark.parametrize(("gigabytes", "ahead"), [(1.0, 3), (1e-5, 1)])
def test_no_more_is_decoded_ahead_than_was_asked_for(gigabytes: float, ahead: int, tmp_path: Path) -> None:
    stream = stream_of(manifest_of(9), folder=tmp_path)
    order = StreamBatches(first_step=0, steps=20, videos_per_batch=4, rank=0, world_size=1)
    limits = Limits(time_limit_seconds=5.0, prefetch_batches=3, prefetch_gigabytes=gigabytes)
    batches = iter(training_loader(stream, order, workers=2, limits=limits))
    for taken in (1, 2):
        next(batches)
        assert settled(tmp_path) == 4 * (taken + ahead)
    batches.close()


@pytest.mark.parametrize("how", ["close", "drop", "end"])
def test_no_worker_is_left_when_the_batches_are_closed_dropped_or_at_their_end(how: str) -> None:
    before = decoders_alive()
    order = StreamBatches(first_step=0, steps=3, videos_per_batch=2, rank=0, world_size=1)
    moods = {} if how == "end" else {"0.mp4": "hang"}
    batches = iter(training_loader(stream_of(manifest_of(3), moods=moods), order, workers=2))
    if how == "end":
        assert len(list(batches)) == 3
        with pytest.raises(StopIteration):
            next(batches)
    else:
        time.sleep(0.3)
    mine = decoders_alive() - before
    if how == "close":
        batches.close()
        batches.close()
        assert list(batches) == []
    del batches
    gc.collect()
    assert gone(mine)


def test_descriptors_do_not_grow_with_the_visits_nor_with_those_that_wait() -> None:
    stream = stream_of(manifest_of(5))
    order = StreamBatches(first_step=0, steps=60, videos_per_batch=5, rank=0, world_size=1)
    batches = iter(training_loader(stream, order, workers=1, limits=QUICK))
    counts = []
    for number, _ in enumerate(batches):
        if number in (9, 29, 49):  # not at the end, when the pool is closed
            counts.append(psutil.Process().num_fds())
    assert max(counts) - min(counts) <= 3


PARENT = """
import sys, time
from pathlib import Path
if __name__ == "__main__":  # workers import this script, too, and need nothing of it
    import signal
    import psutil
    from streams_for_tests import *
    # A shell starts what runs in the background with Ctrl-C ignored, and the tests may run there.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder, moods = Path(sys.argv[1]), {"0.mp4": "hang", "3.mp4": "hang"}
    order = StreamBatches(first_step=0, steps=9, videos_per_batch=4, rank=0, world_size=1)
    stream = stream_of(manifest_of(4), moods=moods, folder=folder)
    batches = iter(training_loader(stream, order, workers=3, limits=Limits(time_limit_seconds=90.0)))
    while not all((folder / name).exists() for name in moods):
        time.sleep(0.05)
    servers = psutil.Process().children()
    print(*(p.pid for p in servers), *(c.pid for p in servers for c in p.children()), flush=True)
    next(batches)
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_no_worker_outlives_its_parent(end: signal.Signals, tmp_path: Path) -> None:
    script, folder = tmp_path / "parent.py", tmp_path / "openings"
    folder.mkdir()
    script.write_text(PARENT)
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), str(root / "tests")])}
    parent = subprocess.Popen(
        [sys.executable, str(script), str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip
    assert parent.stdout is not None
    processes = {int(pid) for pid in parent.stdout.readline().split()}
    assert len(processes) >= 4  # two of the workers hang, one waits; their server
    if end == signal.SIGINT:  # as a terminal does: to the whole group
        os.killpg(parent.pid, end)
    else:
        parent.kill()
    _, errors = parent.communicate(timeout=20)
    assert gone(processes)
    if end == signal.SIGINT:
        assert errors.count("Traceback") == 1
        assert "KeyboardInterrupt" in errors


# The order of a pass ------------------------------------------------------------------------------


def test_the_order_of_a_pass_can_be_another_one() -> None:
    asked: list[tuple[tuple[int, ...], int, int]] = []

    def backwards(numbers, seed, this_pass):
        asked.append((tuple(numbers), seed, this_pass))
        return tuple(reversed(numbers)) if this_pass % 2 else tuple(numbers)

    stream = TrainingStream(
        cutter_of(manifest_of(3)), pairs=PAIRS, clips_per_video=1, seed=8, order=backwards
    )
    visited = [paths_of(stream[position])[0] for position in range(6)]
    assert visited == ["0.mp4", "1.mp4", "2.mp4", "2.mp4", "1.mp4", "0.mp4"]
    assert asked == [((0, 1, 2), 8, 0), ((0, 1, 2), 8, 1)]
