import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows import content, entry, usable, video_row

from avmi.corpus.assemble import assemble, choose_splits
from avmi.corpus.manifest import split_of
from avmi.corpus.pool import Outcome

FRACTIONS = (0.8, 0.1, 0.1)


def assembled(found, *, earlier=(), fractions=FRACTIONS):
    return assemble(found, earlier=earlier, fractions=fractions)


def test_usable_files_become_rows_and_others_rejects_with_their_reason():
    made = assembled(
        [
            (entry("b.mp4", label="dog"), usable("b.mp4")),
            (entry("c.mp4"), Outcome(None, "no_audio", "no sound")),
            (entry("a.mp4"), usable("a.mp4")),
        ]
    )
    assert [(v.path, v.label, v.video_id) for v in made.videos] == [
        ("a.mp4", "", content("a.mp4")[:16]),
        ("b.mp4", "dog", content("b.mp4")[:16]),
    ]
    assert [(r.path, r.reason, r.detail) for r in made.rejects] == [("c.mp4", "no_audio", "no sound")]


def test_of_several_files_with_one_content_the_first_path_is_kept():
    found = [(entry(p), usable(p, of="x")) for p in ("b/copy.mp4", "a.mp4", "c.mp4")]
    for order in (found, found[::-1]):
        made = assembled(order)
        assert [v.path for v in made.videos] == ["a.mp4"]
        assert [(r.path, r.reason, r.detail) for r in made.rejects] == [
            ("b/copy.mp4", "duplicate", "same content as a.mp4"),
            ("c.mp4", "duplicate", "same content as a.mp4"),
        ]


def test_a_copy_that_sorts_first_does_not_replace_the_video_of_last_time():
    found = [(entry(p), usable(p, of="x")) for p in ("a copy.mp4", "b.mp4")]
    made = assembled(found, earlier=[video_row("b.mp4", content_hash=content("x"))])
    assert [v.path for v in made.videos] == ["b.mp4"]


def test_a_moved_file_keeps_its_split():
    hashed = content("x")
    split = "test" if split_of(hashed, fractions=FRACTIONS) != "test" else "valid"
    earlier = [video_row("old.mp4", content_hash=hashed, split=split)]
    made = assembled([(entry("new.mp4"), usable("new.mp4", of="x"))], earlier=earlier)
    assert [(v.path, v.split) for v in made.videos] == [("new.mp4", split)]


def test_copies_with_other_labels_or_splits_are_named_as_contradictions():
    made = assembled(
        [
            (entry("a.mp4", label="dog", split="train"), usable("a.mp4", of="x")),
            (entry("b.mp4", label="cat", split="test"), usable("b.mp4", of="x")),
        ]
    )
    assert [(v.path, v.split) for v in made.videos] == [("a.mp4", "train")]
    (reject,) = made.rejects
    assert "label 'dog' (this one 'cat')" in reject.detail
    assert "listed for train (this one for test)" in reject.detail


def test_the_split_asked_for_any_copy_holds():
    made = assembled(
        [
            (entry("a.mp4"), usable("a.mp4", of="x")),
            (entry("b.mp4", split="test"), usable("b.mp4", of="x")),
        ]
    )
    assert [(v.path, v.split) for v in made.videos] == [("a.mp4", "test")]


def contents(count: int) -> dict:
    return {content(f"{i}"): None for i in range(count)}


def test_the_shares_of_many_videos_are_those_asked_for():
    splits, notes = choose_splits(contents(4000), earlier={}, fractions=(0.6, 0.3, 0.1))
    shares = {s: n / 4000 for s, n in Counter(splits.values()).items()}
    assert shares == pytest.approx({"train": 0.6, "valid": 0.3, "test": 0.1}, abs=0.025)
    assert notes == ()


def test_a_split_given_wins_over_an_earlier_one_and_that_over_the_content():
    a, b, *others = contents(80)
    splits, _ = choose_splits(
        {a: "test", b: None, **dict.fromkeys(others)},
        earlier={a: "valid", b: "valid"},
        fractions=FRACTIONS,
    )
    assert (splits[a], splits[b]) == ("test", "valid")
    assert all(splits[c] == split_of(c, fractions=FRACTIONS) for c in others)


@given(st.integers(3, 40), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_three_videos_or_more_fill_every_split_in_whatever_order_they_come(count, seed):
    names = [content(f"{seed} {i}") for i in range(count)]
    splits, _ = choose_splits(dict.fromkeys(names), earlier={}, fractions=FRACTIONS)
    assert set(splits.values()) == {"train", "valid", "test"}
    random.Random(seed).shuffle(names)
    assert choose_splits(dict.fromkeys(names), earlier={}, fractions=FRACTIONS)[0] == splits


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_adding_files_moves_none(first, more, seed):
    names = [content(f"{seed} {i}") for i in range(first + more)]
    before, _ = choose_splits(dict.fromkeys(names[:first]), earlier={}, fractions=FRACTIONS)
    random.Random(seed).shuffle(names)
    after, _ = choose_splits(dict.fromkeys(names), earlier=before, fractions=FRACTIONS)
    assert {name: after[name] for name in before} == before


def test_what_was_moved_into_an_empty_split_is_said():
    names = [c for c in contents(200) if split_of(c, fractions=FRACTIONS) == "train"][:5]
    splits, notes = choose_splits(dict.fromkeys(names), earlier={}, fractions=FRACTIONS)
    assert Counter(splits.values()) == {"train": 3, "valid": 1, "test": 1}
    assert len(notes) == 2
    moved = next(name for name, split in splits.items() if split == "valid")
    assert moved[:16] in notes[0]
    assert "valid" in notes[0]


def test_given_splits_are_never_moved_and_an_empty_split_is_said():
    splits, notes = choose_splits(dict.fromkeys(contents(6), "train"), earlier={}, fractions=FRACTIONS)
    assert set(splits.values()) == {"train"}
    assert len(notes) == 2
    assert "no video is in the split valid" in notes[0]


def test_a_split_with_no_share_stays_empty():
    splits, notes = choose_splits(contents(20), earlier={}, fractions=(0.5, 0.0, 0.5))
    assert set(splits.values()) == {"train", "test"}
    assert notes == ()


def test_two_videos_are_not_torn_apart_but_the_empty_splits_are_said():
    names = [c for c in contents(200) if split_of(c, fractions=FRACTIONS) == "train"][:2]
    splits, notes = choose_splits(dict.fromkeys(names), earlier={}, fractions=FRACTIONS)
    assert set(splits.values()) == {"train"}
    assert notes == ("too few videos for every split: valid and test are empty.",)
