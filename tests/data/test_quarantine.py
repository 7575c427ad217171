"""Lost visits, remembered and written down."""

from pathlib import Path

import pytest

from avmi.corpus.manifest import Reject
from avmi.data import Quarantine, quarantined_in

HUNG = Reject("a b.mp4", "time_limit", "not decoded within 3 s")
DIED = Reject("a b.mp4", "worker_died", "SIGKILL")
OTHER = Reject("c.mp4", "time_limit", "")


def struck(file: Path | None) -> Quarantine:
    quarantine = Quarantine(file)
    quarantine.strike(HUNG, position=4, attempt=0, next_position=9)
    quarantine.strike(OTHER, position=6, attempt=2, next_position=12)
    quarantine.strike(DIED, position=8, attempt=1, next_position=17)
    return quarantine


@pytest.mark.parametrize("is_read_again", [False, True])
def test_two_lost_visits_quarantine_a_video_from_the_next_position_on(
    is_read_again: bool, tmp_path: Path
) -> None:
    quarantine = struck(tmp_path / "lost.jsonl")
    if is_read_again:
        quarantine = Quarantine(tmp_path / "lost.jsonl")
    assert [quarantine.holds("a b.mp4", position) for position in (0, 9, 16, 17, 99)] == [
        False, False, False, True, True
    ]  # fmt: skip
    assert not quarantine.holds("c.mp4", 99)
    assert (len(quarantine), quarantine.paths) == (1, {"a b.mp4"})
    assert quarantine.lost(4, 0) == HUNG
    assert quarantine.lost(8, 1) == DIED
    assert quarantine.lost(6, 2) == OTHER
    assert quarantine.lost(4, 1) is None


def test_strikes_of_the_run_before_count_on(tmp_path: Path) -> None:
    struck(tmp_path / "lost.jsonl")
    later = Quarantine(tmp_path / "lost.jsonl")
    later.strike(OTHER, position=31, attempt=0, next_position=40)
    later.strike(DIED, position=20, attempt=0, next_position=40)  # was begun before its quarantine
    assert later.paths == {"a b.mp4", "c.mp4"}
    again = Quarantine(tmp_path / "lost.jsonl")
    assert again.holds("c.mp4", 40)
    assert not again.holds("c.mp4", 39)
    assert again.holds("a b.mp4", 17)  # a third strike moves nothing


def test_a_line_that_a_kill_has_torn_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "lost.jsonl"
    struck(file)
    file.write_text(file.read_text()[:-20])
    assert Quarantine(file).paths == frozenset()
    assert Quarantine(file).lost(6, 2) == OTHER
    Quarantine(file).strike(HUNG, position=50, attempt=0, next_position=60)
    assert Quarantine(file).holds("a b.mp4", 60)


def test_a_run_names_what_all_its_processes_have_quarantined(tmp_path: Path) -> None:
    assert quarantined_in(tmp_path) == {}
    for rank, reject in ((0, HUNG), (1, OTHER)):
        quarantine = Quarantine.of_run(tmp_path, rank=rank)
        for position in (2, 3):
            quarantine.strike(reject, position=position, attempt=0, next_position=5)
    assert quarantined_in(tmp_path) == {"a b.mp4": "time_limit", "c.mp4": "time_limit"}
    assert Quarantine.of_run(tmp_path, rank=1).paths == {"c.mp4"}
    assert Quarantine.of_run(tmp_path, rank=2).paths == frozenset()
