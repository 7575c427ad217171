from typing import Any

import pytest
from melodies import melody
from rows import content, video_row

from avmi.corpus.findings import with_findings
from avmi.corpus.fingerprint import sound_marks
from avmi.corpus.manifest import Manifest, Video


def prints(seed: int, **changes: Any) -> dict[str, Any]:
    """Facts of a probe, as far as findings read them."""
    return {
        "sound_marks": sound_marks(melody(5.0, seed=seed)).as_text(),
        "picture_hashes": [seed << 40 | 0xFFFF, None],
        "video_start_seconds": 0.0,
        "video_end_seconds": 5.0,
        "audio_start_seconds": 0.0,
    } | changes


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        ({}, ()),
        ({"is_silent": True}, ("silent",)),
        ({"is_still": True}, ("still",)),
        ({"audio_end_seconds": 1.9, "video_end_seconds": 1.95}, ("short",)),
        ({"audio_start_seconds": 0.3}, ("offset",)),
        ({"video_start_seconds": 0.11}, ("offset",)),
        ({"audio_end_seconds": 3.5}, ("length_mismatch",)),
        (
            {"is_silent": True, "is_still": True, "audio_end_seconds": 1.0},
            ("silent", "still", "short", "length_mismatch"),
        ),
        ({"audio_start_seconds": 0.0, "audio_end_seconds": 0.0, "sample_rate_hz": 0, "is_silent": False}, ()),
    ],
)
def test_what_is_questionable_about_a_video_is_named(changes: dict[str, Any], findings: tuple[str, ...]):
    (video,), likenesses = with_findings([video_row("a.mp4", **changes)], {})
    assert video.findings == findings
    assert likenesses == ()


def test_of_near_duplicates_the_one_that_is_tested_on_stays_and_the_others_are_named():
    videos = [
        video_row("a.mp4", split="train"),
        video_row("b.mp4", split="test"),
        video_row("c.mp4", split="train"),
        video_row("other.mp4", split="valid"),
    ]
    facts = {content(v.path): prints(1 if v.path != "other.mp4" else 2) for v in videos}
    found, likenesses = with_findings(videos, facts)
    assert {v.path: v.near_duplicate_of for v in found} == {
        "a.mp4": "b.mp4",
        "b.mp4": "",
        "c.mp4": "b.mp4",
        "other.mp4": "",
    }
    assert [v.findings for v in found] == [("near_duplicate",), (), ("near_duplicate",), ()]
    assert [(x.first.path, x.second.path, x.crosses_splits) for x in likenesses] == [
        ("a.mp4", "b.mp4", True),
        ("a.mp4", "c.mp4", False),
        ("b.mp4", "c.mp4", True),
    ]


def test_parts_of_one_file_are_no_copies_of_each_other_and_all_of_them_are_copies_of_another_file():
    def part(path: str, number: int) -> Video:
        return video_row(path, video_id=f"{content(path)[:16]}_{number}", is_interval=True)

    videos = [part("long.mp4", 0), part("long.mp4", 1), part("a_copy.mp4", 0)]
    found, _ = with_findings(videos[:2], {content("long.mp4"): prints(1)})
    assert [v.findings for v in found] == [(), ()]
    found, _ = with_findings(videos, {content(v.path): prints(1) for v in videos})
    assert [v.near_duplicate_of for v in found] == ["a_copy.mp4", "a_copy.mp4", ""]


def test_sound_over_other_pictures_is_reported_but_is_no_finding():
    videos = [video_row("a.mp4"), video_row("b.mp4")]
    facts = {content("a.mp4"): prints(1), content("b.mp4"): prints(1, picture_hashes=[0xABCDEF << 17, None])}
    found, likenesses = with_findings(videos, facts)
    assert [v.findings for v in found] == [(), ()]
    assert [x.match.likeness for x in likenesses] == ["sound"]


def test_a_manifest_leaves_out_what_is_named(tmp_path):
    videos = (
        video_row("a.mp4", findings=("silent",)),
        video_row("b.mp4", findings=("still", "short")),
        video_row("c.mp4"),
    )
    manifest = Manifest(tmp_path, videos)
    assert [v.path for v in manifest.without("short", "near_duplicate")] == ["a.mp4", "c.mp4"]
    assert [v.path for v in manifest.without("silent", "still")] == ["c.mp4"]
    assert manifest.without().videos == videos
