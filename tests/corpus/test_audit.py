import pytest
from rows import video_row

from avmi.corpus.audit import audit
from avmi.corpus.findings import Likeness
from avmi.corpus.manifest import Reject
from avmi.corpus.near_duplicates import Match


def test_videos_and_seconds_are_counted_by_split_and_label():
    numbers = audit(
        [
            video_row("a.mp4", label="dog"),
            video_row("b.mp4", label="dog", split="test", audio_end_seconds=3.0),
            video_row("c.mp4", label="cat", split="test", video_start_seconds=1.5),
            video_row("d.mp4"),
        ],
        [],
        ignored=7,
    )
    assert (numbers.total.videos, numbers.total.seconds, numbers.ignored) == (4, 4.0 + 3.0 + 2.5 + 4.0, 7)
    assert {s: (n.videos, n.seconds) for s, n in numbers.by_split.items()} == {
        "train": (2, 8.0),
        "valid": (0, 0),
        "test": (2, 5.5),
    }
    assert [(row.label, row.by_split, row.seconds) for row in numbers.by_label] == [
        ("", {"train": 1, "valid": 0, "test": 0}, 4.0),
        ("cat", {"train": 0, "valid": 0, "test": 1}, 2.5),
        ("dog", {"train": 1, "valid": 0, "test": 1}, 7.0),
    ]


def test_rejects_are_grouped_by_reason_most_frequent_first_with_a_few_examples():
    rejects = [Reject(f"{i}.mp4", "no_audio", f"detail {i}") for i in range(9)]
    rejects += [Reject("x.mp4", "truncated", "cut"), Reject("y.mp4", "empty_file", "0 bytes")]
    numbers = audit([], rejects, ignored=0)
    assert numbers.rejects == 11
    assert {reason: group.count for reason, group in numbers.rejected.items()} == {
        "no_audio": 9,
        "empty_file": 1,
        "truncated": 1,
    }
    assert list(numbers.rejected) == ["no_audio", "empty_file", "truncated"]
    assert numbers.rejected["no_audio"].examples[:2] == (("0.mp4", "detail 0"), ("1.mp4", "detail 1"))
    assert len(numbers.rejected["no_audio"].examples) == 5


def test_peculiar_videos_are_counted_each_for_what_it_is():
    numbers = audit(
        [
            video_row("plain.mp4"),
            video_row("vfr.mp4", is_variable_frame_rate=True, frame_rate=17.25),
            video_row("turned.mp4", rotation_degrees=270),
        ],
        [],
        ignored=0,
    )
    assert (numbers.variable_frame_rate.count, numbers.variable_frame_rate.examples) == (
        1,
        (("vfr.mp4", "17.25 per second on average"),),
    )
    assert (numbers.rotated.count, numbers.rotated.examples) == (1, (("turned.mp4", "270°"),))


@pytest.mark.parametrize(
    ("finding", "changes", "says"),
    [
        ("silent", {"loudness_dbfs": -120.0}, "-120 dBFS"),
        ("still", {}, "4.0 s"),
        ("short", {"audio_end_seconds": 1.25}, "1.2 s"),
        ("length_mismatch", {"audio_end_seconds": 4.25}, "sound ends 0.25 s after the pictures"),
        ("length_mismatch", {"audio_end_seconds": 2.5}, "sound ends 1.50 s before the pictures"),
        ("offset", {"audio_start_seconds": 1.0}, "sound begins 1.00 s after the pictures"),
        ("offset", {"video_start_seconds": 0.5}, "sound begins 0.50 s before the pictures"),
        ("near_duplicate", {"near_duplicate_of": "b.mp4"}, "like b.mp4"),
    ],
)
def test_each_finding_is_counted_with_examples_that_say_what_makes_it_so(finding, changes, says):
    found = video_row("a.mp4", findings=(finding,), **changes)
    numbers = audit([found, video_row("plain.mp4")], [], ignored=0)
    assert {name: group.count for name, group in numbers.findings.items() if group.count} == {finding: 1}
    assert numbers.findings[finding].examples == (("a.mp4", says),)


def test_pairs_across_splits_come_first_then_those_with_more_agreeing_marks():
    def pair(first: str, second: str, share: float) -> Likeness:
        return Likeness(
            video_row("a.mp4", split=first),
            video_row("b.mp4", split=second),
            Match(0, 1, "recording", 0.0, share),
        )

    numbers = audit(
        [],
        [],
        ignored=0,
        likenesses=[pair("train", "train", 0.9), pair("test", "train", 0.2), pair("test", "test", 0.95)],
    )
    assert [like.match.share for like in numbers.likenesses] == [0.2, 0.95, 0.9]


def test_videos_that_decord_reads_wrongly_are_grouped_by_why():
    videos = [
        video_row(f"{i}.mp4", decord_exact=False, decord_reason=reason)
        for i, reason in enumerate(["edit list", "rotated", "edit list"])
    ]
    numbers = audit([*videos, video_row("good.mp4")], [], ignored=0)
    assert {reason: g.count for reason, g in numbers.decord_inexact.items()} == {"edit list": 2, "rotated": 1}


def test_histograms_reach_from_the_first_filled_bin_to_the_last():
    lengths = [0.6, 4.0, 4.5, 12.0, 7000.0]
    videos = [
        video_row(f"{i}.mp4", video_end_seconds=s, audio_end_seconds=s, loudness_dbfs=-31.0 - i / 2)
        for i, s in enumerate(lengths)
    ]
    numbers = audit(videos, [], ignored=0)
    assert numbers.durations[:4] == (("below 1 s", 1), ("1 to 2 s", 0), ("2 to 5 s", 2), ("5 to 10 s", 0))
    assert numbers.durations[-1] == ("3600 s and more", 1)
    assert numbers.loudness == (("-35 to -30 dBFS", 5),)


def test_formats_are_counted_most_frequent_first():
    videos = [video_row("a.mp4"), video_row("b.mp4"), video_row("c.mkv", container="matroska", channels=6)]
    numbers = audit(videos, [], ignored=0)
    assert numbers.formats == (("mov / h264 / aac", 2), ("matroska / h264 / aac", 1))
    assert numbers.channels == (("2", 2), ("6", 1))
    assert numbers.picture_sizes == (("320 × 240", 3),)


def test_an_empty_corpus_has_an_audit_too():
    numbers = audit([], [], ignored=2, notes=["a note"])
    assert (numbers.total.videos, numbers.durations, numbers.notes) == (0, (), ("a note",))
