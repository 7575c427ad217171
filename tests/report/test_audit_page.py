import io

from PIL import Image
from rows import video_row

from avmi.corpus.audit import audit
from avmi.corpus.findings import Likeness
from avmi.corpus.manifest import Reject
from avmi.corpus.near_duplicates import Match
from avmi.report.audit import REASONS, Thumbnail, audit_lines, audit_page
from avmi.report.audit_findings import pictured_paths


def numbers():
    videos = [
        video_row("dog/a <b>.mp4", label="dog"),
        video_row("cat/b.mp4", label="cat", split="valid", findings=("silent",), loudness_dbfs=-120.0),
        video_row("cat/c.mp4", label="cat", split="test", decord_exact=False, decord_reason="edit list"),
    ]
    rejects = [
        Reject("x\ny.mp4", "no_audio", "it has no sound track"),
        Reject("z.mp4", "truncated", "cut off"),
    ]
    return audit(videos, rejects, ignored=4, notes=["a remark on the splits."])


def test_the_page_names_every_count_reason_and_note():
    page = audit_page(numbers(), source="/videos/<mine>")
    for text in (
        "/videos/&lt;mine&gt;",
        "no_audio",
        "truncated",
        "it has no sound track",
        "edit list",
        "a remark on the splits.",
        "mov / h264 / aac",
        "cat/b.mp4 · -120 dBFS",
        "data.exclude=[silent]",
        "2 to 5 s",
    ):
        assert text in page
    assert "a <b>" not in page


def test_thumbnails_stand_in_the_page():
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "JPEG")
    page = audit_page(
        numbers(), source="s", thumbnails=[Thumbnail("dog/a.mp4", "dog", "4.0 s", picture.getvalue())]
    )
    assert page.count('src="data:image/jpeg;base64,') == 1
    assert "dog/a.mp4 · 4.0 s" in page


def test_pairs_across_splits_are_warned_of_with_the_pictures_of_both():
    first, second = video_row("a.mp4", split="test"), video_row("b.mkv", findings=("near_duplicate",))
    pair = Likeness(first, second, Match(0, 1, "recording", 1.375, 0.42))
    found = audit([first, second], [], ignored=0, likenesses=[pair])
    page = audit_page(found, source="s", pictures={"a.mp4": b"one", "b.mkv": b"two"})
    for text in ("1 of 1 pairs lie in different splits", "same recording", "-1.38 s", "42 %"):
        assert text in page
    assert page.count('src="data:image/jpeg;base64,') == 2
    assert "1 pairs of videos that are alike lie in different splits" in audit_lines(found)
    assert pictured_paths(found) == ["a.mp4", "b.mkv"]


def test_the_terminal_shows_counts_splits_reasons_and_notes():
    text = audit_lines(numbers())
    assert text.splitlines()[0] == (
        "3 of 5 files usable (12.0 s with picture and sound), 2 rejected, 4 ignored"
    )
    for part in (
        "train        1 videos",
        "labels       2",
        "no_audio",
        REASONS["truncated"],
        "1 silent",
        "1 not exact",
    ):
        assert part in text
    assert "note: a remark on the splits." in text


def test_an_empty_audit_is_drawn_too():
    empty = audit([], [], ignored=0)
    assert "Corpus audit" in audit_page(empty, source="s")
    assert audit_lines(empty).startswith("0 of 0 files usable")
