"""Damaged files: no hang, no crash, no short sound, and no picture that a plain decode of the file does not give."""

import pytest
from mutating import judged_files, mistakes, small_files, write_mutants


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    return small_files(tmp_path_factory.mktemp("sound"))


def check(sources, seeds, folder, *, least_usable):
    said = write_mutants(sources, seeds, folder)
    outcomes = dict(judged_files(list(said), workers=2))
    assert len(outcomes) == len(said)
    bad = {f"{path.name} ({said[path]})": m for path, o in outcomes.items() if (m := mistakes(o))}
    assert not bad
    # The damage must not be so great that nothing is left to be wrong.
    assert sum(o.facts is not None for o in outcomes.values()) >= least_usable
    assert all(o.reason and o.detail for o in outcomes.values() if o.facts is None)


def test_files_without_damage_are_judged_right(sources):
    for path, outcome in judged_files(sources, workers=2):
        assert outcome.facts is not None, (path.name, outcome.detail)
        assert not outcome.facts["wrong"], path.name
        assert outcome.facts["counts"]["pyav picture"] == 9
        assert outcome.facts["counts"]["sound"] == 5


def test_100_damaged_files_are_read_right_or_refused(sources, tmp_path):
    check(sources, range(200, 300), tmp_path, least_usable=30)  # 244 was wrong once


@pytest.mark.long
def test_3000_damaged_files_are_read_right_or_refused(sources, tmp_path):
    check(sources, range(3000), tmp_path, least_usable=800)


@pytest.mark.long
def test_damaged_real_clips_are_read_right_or_refused(real_clips, tmp_path):
    files = (
        sorted((real_clips / "ucf101").rglob("*.mp4"))[::130]
        + sorted((real_clips / "ucf101_raw").rglob("*.avi"))[:3]
    )
    check(files, range(100), tmp_path, least_usable=20)
