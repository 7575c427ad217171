import json

import pytest

from avmi.corpus.journal import JOURNAL_FILE, Journal
from avmi.corpus.pool import Outcome
from avmi.corpus.source import Entry
from avmi.errors import CorpusError

GOOD = Outcome({"width_px": 96})
BAD = Outcome(None, "truncated", "cut off")


def entry(path="a.mp4", *, size=10, mtime=5) -> Entry:
    return Entry(path, "label", None, size, mtime)


def opened(folder, *, stamp="v1", seconds=30.0) -> Journal:
    return Journal(folder, stamp=stamp, time_limit_seconds=seconds)


def written(folder, *items, **options) -> None:
    with opened(folder, **options) as journal:
        for item, outcome in items:
            journal.add(item, outcome)


def test_outcomes_are_recalled_by_the_next_run(tmp_path):
    written(tmp_path, (entry("a.mp4"), GOOD), (entry("new\nline 'é.mp4"), BAD))
    with opened(tmp_path) as journal:
        assert journal.outcome(entry("a.mp4")) == GOOD
        assert journal.outcome(entry("new\nline 'é.mp4")) == BAD
        assert journal.outcome(entry("c.mp4")) is None


@pytest.mark.parametrize("changed", [{"size": 11}, {"mtime": 6}])
def test_a_changed_file_is_not_recalled(tmp_path, changed):
    written(tmp_path, (entry(), GOOD))
    with opened(tmp_path) as journal:
        assert journal.outcome(entry(**changed)) is None


def test_the_last_word_on_a_file_holds(tmp_path):
    written(tmp_path, (entry(), BAD))
    written(tmp_path, (entry(mtime=7), GOOD))
    with opened(tmp_path) as journal:
        assert journal.outcome(entry(mtime=7)) == GOOD


def test_other_software_is_not_believed(tmp_path):
    written(tmp_path, (entry(), GOOD), stamp="v1")
    with opened(tmp_path, stamp="v2") as journal:
        assert journal.outcome(entry()) is None
        assert journal.is_outdated(entry())
    with opened(tmp_path, stamp="v1") as journal:
        assert not journal.is_outdated(entry())


def test_more_time_gives_a_slow_file_another_chance_and_less_does_not(tmp_path):
    slow = Outcome(None, "time_limit", "too slow")
    written(tmp_path, (entry(), slow), seconds=30.0)
    with opened(tmp_path, seconds=20.0) as journal:
        assert journal.outcome(entry()) == slow
    with opened(tmp_path, seconds=60.0) as journal:
        assert journal.outcome(entry()) is None


def test_what_may_pass_by_itself_is_not_remembered(tmp_path):
    written(tmp_path, (entry(), Outcome(None, "unreadable", "Permission denied")))
    with opened(tmp_path) as journal:
        assert journal.outcome(entry()) is None


@pytest.mark.parametrize("torn", [b'{"path": "b.mp4", "size', b"\x00\xff\xfe", b"[1, 2]", b'"text"', b"{}"])
def test_a_torn_last_line_costs_one_file_only_and_the_next_line_is_whole(tmp_path, torn):
    written(tmp_path, (entry("a.mp4"), GOOD))
    with (tmp_path / JOURNAL_FILE).open("ab") as file:
        file.write(torn)
    written(tmp_path, (entry("c.mp4"), BAD))
    with opened(tmp_path) as journal:
        assert journal.outcome(entry("a.mp4")) == GOOD
        assert journal.outcome(entry("b.mp4")) is None
        assert journal.outcome(entry("c.mp4")) == BAD


def test_a_line_stands_on_the_disk_as_soon_as_the_file_is_done(tmp_path):
    with opened(tmp_path) as journal:
        journal.add(entry(), GOOD)
        (line,) = (tmp_path / JOURNAL_FILE).read_text().splitlines()
    assert json.loads(line)["facts"] == GOOD.facts


def test_two_runs_on_one_corpus_are_one_clear_error(tmp_path):
    with opened(tmp_path), pytest.raises(CorpusError, match="another `avmi prepare` is writing"):
        opened(tmp_path)
    opened(tmp_path).__exit__()  # and the lock is free again
