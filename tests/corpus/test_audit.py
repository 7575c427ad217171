import pytest
from rows import video_row

from avmi.corpus.audit import audit
from avmi.corpus.manifest import Reject


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
            video_row("s.mp4", is_silent=True, loudness_dbfs=-120.0),
            video_row("still.mp4", is_still=True),
            video_row("vfr.mp4", is_variable_frame_rate=True, frame_rate=17.25),
            video_row("turned.mp4", rotation_degrees=270),
        ],
        [],
        ignored=0,
    )
    found = {
        name: (getattr(numbers, name).count, getattr(numbers, name).examples)
        for name in ("silent", "still", "variable_frame_rate", "rotated", "mismatched")
    }
    assert found == {
        "silent": (1, (("s.mp4", "-120 dBFS"),)),
        "still": (1, (("still.mp4", "4.0 s"),)),
        "variable_frame_rate": (1, (("vfr.mp4", "17.25 per second on average"),)),
        "rotated": (1, (("turned.mp4", "270°"),)),
        "mismatched": (0, ()),
    }


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"audio_end_seconds": 4.09}, None),
        ({"audio_end_seconds": 4.25}, "sound ends 0.25 s after the pictures"),
        (
            {"audio_start_seconds": 1.0, "audio_end_seconds": 2.5},
            "sound begins 1.00 s after and ends 1.50 s before the pictures",
        ),
        ({"video_start_seconds": 0.5}, "sound begins 0.50 s before the pictures"),
    ],
)
def test_streams_that_begin_or_end_apart_are_described(changes, says):
    numbers = audit([video_row(**changes)], [], ignored=0)
    assert [text for _, text in numbers.mismatched.examples] == ([says] if says else [])


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
