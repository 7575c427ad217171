"""Intervals of a file, and rows without pictures or sound: from the table to the manifest and to the views."""

import dataclasses
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from making import Encoding, make_clip
from rows import content, entry, usable, video_row

from avmi.config.views import AudioView, FrameView
from avmi.corpus.assemble import assemble
from avmi.corpus.interval import part_of
from avmi.corpus.journal import Journal
from avmi.corpus.manifest import read_earlier, read_manifest, write_manifest
from avmi.corpus.plan import anchors_of_view, cut, evaluation_clips
from avmi.corpus.pool import Outcome
from avmi.corpus.scan import scan
from avmi.corpus.source import read_source
from avmi.errors import CorpusError, DecodeError

FACTS = dataclasses.asdict(video_row(video_start_seconds=0.5, video_end_seconds=20.0, last_frame_seconds=19.96,
                                     audio_start_seconds=0.0, audio_end_seconds=12.0))  # fmt: skip


def part(start, end, needs="both"):
    found = part_of(FACTS, start, end, needs=needs)
    names = ("video_start_seconds", "video_end_seconds", "audio_start_seconds", "audio_end_seconds")
    return tuple(found[name] for name in names)


def test_streams_are_clamped_to_the_interval():
    assert part(3.0, 8.0) == (3.0, 8.0, 3.0, 8.0)
    assert part(None, 8.0) == (0.5, 8.0, 0.0, 8.0)
    assert part(10.0, None) == (10.0, 20.0, 10.0, 12.0)
    assert part(-5.0, 99.0) == (0.5, 20.0, 0.0, 12.0)
    assert part_of(FACTS, 3.0, 8.0, needs="both")["last_frame_seconds"] == pytest.approx(7.96)


def test_an_interval_without_half_a_second_of_what_is_needed_is_refused():
    for start, end, needs, reason in (
        (30.0, 40.0, "both", "interval_outside"),
        (11.7, 14.0, "both", "too_short"),
        (14.0, 16.0, "both", "too_short"),
        (19.8, 22.0, "picture", "too_short"),
        (12.5, 14.0, "sound", "too_short"),
    ):
        with pytest.raises(DecodeError, match=rf"from {start:g} to {end:g} s ") as error:
            part(start, end, needs)
        assert error.value.reason == reason
    assert part(14.0, 16.0, "picture") == (14.0, 16.0, 0.0, 0.0)


def test_parts_of_one_file_are_rows_with_ids_of_their_own_and_one_split():
    long = usable("a.mp4")
    found = [
        (dataclasses.replace(entry("a.mp4", label=label, split=split), start_seconds=start, end_seconds=end), long)
        for label, split, start, end in (
            ("dog", None, 0.0, 1.5), ("cat", "test", 2.0, 9.0), ("cow", "train", 1.0, 2.0), ("elk", None, 7.0, 9.0),
        )
    ]  # fmt: skip
    made = assemble(found, earlier=[], fractions=(1.0, 0.0, 0.0))
    short = content("a.mp4")[:16]
    assert [(v.label, v.split, v.video_id, v.is_interval) for v in made.videos] == [
        ("dog", "test", f"{short}_0_1500", True),
        ("cat", "test", f"{short}_2000_9000", True),
    ]
    assert sorted(r.reason for r in made.rejects) == ["interval_outside", "split_conflict"]
    assert "1 intervals reach beyond their file: the part inside is kept." in made.notes


def table(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_table_gives_intervals_and_several_labels(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    text = "path,labels,start_seconds,end_seconds\na.mp4,dog|barking | dog,1.5,\na.mp4,,,2\na.mp4,cat,,\n"
    first, second, third = read_source(table(tmp_path / "t.csv", text), out="nowhere").entries
    assert (first.start_seconds, first.end_seconds, first.label) == (None, 2.0, "")
    assert (second.label, second.is_interval) == ("cat", False)
    assert (third.label, third.further_labels, third.start_seconds) == ("dog", ("barking",), 1.5)
    pq.write_table(pa.table({"path": ["a.mp4"], "labels": [["x|y", "z"]], "start_seconds": [0.25]}),
                   tmp_path / "t.parquet")  # fmt: skip
    (only,) = read_source(tmp_path / "t.parquet", out="nowhere").entries
    assert (only.label, only.further_labels, only.start_seconds) == ("x|y", ("z",), 0.25)


def test_seconds_that_are_no_interval_are_counted_and_text_is_a_mistake_of_the_table(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    text = "path,start_seconds,end_seconds\na.mp4,2,2\na.mp4,3,1\na.mp4,nan,1\na.mp4,0,inf\na.mp4,0,1\n"
    source = read_source(table(tmp_path / "t.csv", text), out="nowhere")
    assert [r.reason for r in source.rejects] == ["bad_interval"] * 4
    assert len(source.entries) == 1
    with pytest.raises(CorpusError, match="line 2: start_seconds is 'soon'"):
        read_source(table(tmp_path / "t.csv", "path,start_seconds\na.mp4,soon\n"), out="nowhere")
    with pytest.raises(CorpusError, match="has both columns, label and labels"):
        read_source(table(tmp_path / "t.csv", "path,label,labels\na.mp4,a,b\n"), out="nowhere")


def test_paths_of_a_table_may_start_from_another_folder(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"x")
    source = read_source(table(tmp_path / "t.csv", "path\na.mp4\n"), out="nowhere", root=tmp_path / "videos")
    assert (source.root, [e.path for e in source.entries]) == (tmp_path / "videos", ["a.mp4"])


def test_a_file_without_sound_or_pictures_is_usable_when_they_are_not_needed(tmp_path):
    mute = make_clip(tmp_path / "mute.mp4", seconds=1.5, tone_hz=None)
    pcm = Encoding(audio_codec="pcm_s16le")
    song = make_clip(tmp_path / "song.wav", seconds=1.25, colour=None, encoding=pcm)
    seen = scan(mute, needs="picture").facts
    assert (seen.video_end_seconds, seen.width_px) == (1.5, 96)
    assert (seen.audio_end_seconds, seen.sample_rate_hz, seen.channels, seen.audio_codec) == (0, 0, 0, "")
    heard = scan(song, needs="sound").facts
    assert (heard.audio_end_seconds, heard.sample_rate_hz) == (1.25, 16000)
    assert (heard.video_end_seconds, heard.frame_rate, heard.width_px, heard.video_codec) == (0, 0, 0, "")
    for path, needs, reason in ((mute, "sound", "no_audio"), (song, "picture", "no_video"),
                                (mute, "both", "no_audio"), (song, "both", "no_video")):  # fmt: skip
        with pytest.raises(DecodeError) as error:
            scan(path, needs=needs)
        assert error.value.reason == reason


def test_what_is_there_though_not_needed_is_kept(tmp_path):
    both = make_clip(tmp_path / "a.mp4", seconds=1.0)
    assert scan(both, needs="picture").facts == scan(both, needs="sound").facts == scan(both).facts


NO_SOUND = {"audio_start_seconds": 0.0, "audio_end_seconds": 0.0, "sample_rate_hz": 0, "audio_codec": ""}


@pytest.mark.parametrize("at_seconds", [0.0, 0.5, 3.0, -2.0])
def test_no_view_of_what_a_row_lacks_is_reached(at_seconds):
    mute = video_row(**NO_SOUND)
    song = video_row(video_start_seconds=0.0, video_end_seconds=0.0, last_frame_seconds=0.0, frame_rate=0.0)
    picture = FrameView(kind="frame", at_seconds=at_seconds)
    sound = AudioView(kind="audio", at_seconds=at_seconds, window_seconds=0.1)
    assert anchors_of_view(mute, sound) is None
    assert anchors_of_view(song, picture) is None
    assert cut(mute, {"image": picture, "sound": sound}, 2.0 - at_seconds).views == ("image",)
    assert evaluation_clips([mute, song], {"image": picture, "sound": sound}, required=("image", "sound"),
                            hop_seconds=1.0, most_per_video=5) == ()  # fmt: skip
    assert (mute.duration_seconds, song.duration_seconds) == (4.0, 4.0)


def test_the_journal_knows_for_which_needs_an_outcome_holds(tmp_path):
    mute, whole = entry("mute.mp4"), entry("whole.mp4")
    with Journal(tmp_path, stamp="s", time_limit_seconds=1.0) as journal:
        journal.add(mute, Outcome(None, "no_audio", "no sound"))
        journal.add(whole, usable("whole.mp4"))
    with Journal(tmp_path, stamp="s", time_limit_seconds=1.0, needs="picture") as journal:
        assert journal.outcome(mute) is None
        assert journal.outcome(whole) is not None
        journal.add(mute, usable("mute.mp4"))
    with Journal(tmp_path, stamp="s", time_limit_seconds=1.0) as journal:
        assert journal.outcome(mute) is None


def test_splits_of_a_manifest_of_format_1_are_read(tmp_path):
    write_manifest(tmp_path, [video_row("a.mp4", split="valid", further_labels=("x", "y"))], root=tmp_path)
    assert read_manifest(tmp_path).videos[0].further_labels == ("x", "y")
    path = tmp_path / "manifest.parquet"
    old = pq.read_table(path).drop_columns(["further_labels", "is_interval"])
    about = {"avmi": json.dumps({"format_version": 1, "root": "/"})}
    pq.write_table(old.replace_schema_metadata(about), path)
    with pytest.raises(CorpusError, match="run `avmi prepare` again"):
        read_manifest(tmp_path)
    (row,) = read_earlier(tmp_path)
    assert (row.path, row.content_hash, row.split) == ("a.mp4", content("a.mp4"), "valid")
