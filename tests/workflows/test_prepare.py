import csv
import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import probes_for_tests
import pytest
from making import Encoding, make_clip, noise, numbered_picture, write_video

from avmi.corpus.journal import JOURNAL_FILE
from avmi.corpus.manifest import MANIFEST_FILE, REJECTS_FILE, read_manifest, read_rejects
from avmi.decode.probe import Probes
from avmi.errors import CorpusError, UsageError
from avmi.workflows import prepare as workflow
from avmi.workflows.prepare import AUDIT_FILE, Prepared, prepare


def run(source: Path, out: Path, **options) -> Prepared:
    return prepare(source, out=out, **{"log": io.StringIO(), "workers": 2, **options})


def reasons(prepared: Prepared) -> dict[str, str]:
    return {reject.path: reject.reason for reject in prepared.rejects}


def clips(folder: Path, *names: str) -> Path:
    """Write clips of different content, quickly."""
    for i, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        make_clip(folder / name, seconds=1.0, tone_hz=300.0 + 40 * i + 7 * len(name))
    return folder


CANNED = Probes(
    first=probes_for_tests.canned,
    second=probes_for_tests.canned_second,
    thumbnail=probes_for_tests.no_thumbnail,
)
"""Quick probes for tests of the bookkeeping: a file's text is its content, its name may say to hang or crash."""


def named(folder: Path, *names: str) -> Path:
    """Write files for the canned probes."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


@pytest.fixture
def ten_texts(tmp_path) -> Path:
    return named(tmp_path / "videos", *(f"{'dog' if i % 3 else 'cat'}/{i}.mp4" for i in range(10)))


@pytest.fixture(scope="module")
def ten_clips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ten")
    return clips(folder, *(f"{'dog' if i % 3 else 'cat'}/{i}.mp4" for i in range(10)))


def test_a_folder_becomes_a_corpus_that_can_be_read(ten_clips, tmp_path):
    prepared = run(ten_clips, tmp_path / "corpus")
    manifest = read_manifest(tmp_path / "corpus")
    assert manifest.videos == prepared.videos
    assert prepared.corpus == tmp_path / "corpus"
    assert manifest.root == ten_clips
    assert [v.path for v in manifest] == sorted(f"{'dog' if i % 3 else 'cat'}/{i}.mp4" for i in range(10))
    assert all(v.label == v.path.split("/")[0] for v in manifest)
    assert {v.split for v in manifest} == {"train", "valid", "test"}
    assert all(v.decord_exact for v in manifest)
    assert all(manifest.path_of(v).is_file() for v in manifest)
    assert read_rejects(tmp_path / "corpus") == ()


def test_the_json_counts_what_the_tables_hold(ten_clips, tmp_path):
    shutil.copytree(ten_clips, tmp_path / "videos")
    (tmp_path / "videos" / "notes.txt").write_text("x")
    (tmp_path / "videos" / "fake.mp4").write_text("x")
    (tmp_path / "videos" / "empty.mp4").touch()
    found = run(tmp_path / "videos", tmp_path / "corpus").as_json()
    assert found.pop("seconds") > 0
    splits = found.pop("splits")
    assert sum(splits.values()) == 10
    assert found == {
        "usable": 10,
        "rejected": {"empty_file": 1, "not_media": 1},
        "ignored": 1,
        "labels": 2,
        "probed": 11,
    }


def test_progress_and_audit_go_to_the_log_and_nothing_to_stdout(ten_clips, tmp_path, capfd):
    log = io.StringIO()
    prepared = prepare(ten_clips, out=tmp_path / "corpus", workers=2, log=log)
    assert capfd.readouterr() == ("", "")
    assert "10/10" in log.getvalue()
    assert "files/s" in log.getvalue()
    assert "10 of 10 files usable" in log.getvalue()
    assert str(tmp_path / "corpus" / AUDIT_FILE) in prepared.as_text()
    page = (tmp_path / "corpus" / AUDIT_FILE).read_text()
    # One of each video, and again of those that something is found of: the clips of a label sound alike.
    assert page.count("data:image/jpeg;base64,") >= 10
    assert all(f"a picture from {video.path}" in page for video in prepared)


NAMES = [
    "with space.mp4",
    "quo'te\".mp4",
    "-dash.mp4",
    "видео 動画.mp4",
    "new\nline.mp4",
    "%d.mp4",
    "a:b.mp4",
]


def test_odd_names_go_through_whole(tmp_path):
    clips(tmp_path / "videos", *(f"cl ass/{name}" for name in NAMES))
    prepared = run(tmp_path / "videos", tmp_path / "corpus")
    assert {v.path for v in prepared} == {f"cl ass/{name}" for name in NAMES}
    assert {v.path for v in read_manifest(tmp_path / "corpus")} == {f"cl ass/{name}" for name in NAMES}
    assert {v.label for v in prepared} == {"cl ass"}
    assert reasons(prepared) == {}


def test_every_kind_of_bad_file_is_a_reject_with_its_true_reason(tmp_path):
    videos = clips(tmp_path / "videos", "good.mp4")
    make_clip(videos / "mute.mp4", tone_hz=None)
    make_clip(videos / "song.mp4", colour=None)
    make_clip(videos / "blink.mp4", seconds=0.25)
    (videos / "text.mp4").write_text("this is a text\n" * 20)
    (videos / "zero.mp4").touch()
    whole = make_clip(videos / "cut.mp4", tone_hz=500.0).read_bytes()
    (videos / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    shutil.copy(videos / "good.mp4", videos / "the same.mp4")
    os.mkfifo(videos / "pipe.mp4")
    (videos / "dead link.mp4").symlink_to("nowhere.mp4")
    prepared = run(videos, tmp_path / "corpus")
    assert [v.path for v in prepared] == ["good.mp4"]
    assert reasons(prepared) == {
        "mute.mp4": "no_audio",
        "song.mp4": "no_video",
        "blink.mp4": "too_short",
        "text.mp4": "not_media",
        "zero.mp4": "empty_file",
        "cut.mp4": "truncated",
        "the same.mp4": "duplicate",
        "pipe.mp4": "not_a_file",
        "dead link.mp4": "missing",
    }
    assert {r.path: r.reason for r in read_rejects(tmp_path / "corpus")} == reasons(prepared)
    assert all(reject.detail for reject in prepared.rejects)


def test_a_second_run_probes_nothing_and_finds_the_same(ten_clips, tmp_path):
    first = run(ten_clips, tmp_path / "corpus")
    second = run(ten_clips, tmp_path / "corpus")
    assert (first.probed, second.probed) == (10, 0)
    assert second.videos == first.videos


def test_files_that_another_version_probed_are_probed_again_and_that_is_said(
    ten_texts, tmp_path, monkeypatch
):
    run(ten_texts, tmp_path / "corpus", probes=CANNED)
    monkeypatch.setattr("avmi.workflows.prepare.stamp", lambda: "a probe of tomorrow")
    log = io.StringIO()
    assert run(ten_texts, tmp_path / "corpus", probes=CANNED, log=log).probed == 10
    assert "10 files were probed by another version" in log.getvalue()


def test_added_changed_and_removed_files_are_noticed_and_nothing_else_is_probed(ten_texts, tmp_path):
    videos = ten_texts
    first = run(videos, tmp_path / "corpus", probes=CANNED)
    named(videos, "bird/new.mp4")
    (videos / "dog" / "1.mp4").write_text("another content")
    (videos / "dog" / "2.mp4").unlink()
    second = run(videos, tmp_path / "corpus", probes=CANNED)
    assert second.probed == 2
    assert {v.path for v in second} == {v.path for v in first} - {"dog/2.mp4"} | {"bird/new.mp4"}
    before, after = ({v.path: v for v in found}["dog/1.mp4"] for found in (first, second))
    assert before.video_id != after.video_id


def test_adding_files_moves_no_video_to_another_split(ten_texts, tmp_path):
    videos = ten_texts
    first = {v.video_id: v.split for v in run(videos, tmp_path / "corpus", probes=CANNED)}
    named(videos, *(f"more/{i}.mp4" for i in range(6)))
    (videos / "dog" / "1.mp4").rename(videos / "moved.mp4")
    second = {v.video_id: v.split for v in run(videos, tmp_path / "corpus", probes=CANNED)}
    assert len(second) == 16
    assert {video: second[video] for video in first} == first


def test_other_fractions_keep_earlier_splits_and_say_so(ten_texts, tmp_path):
    first = run(ten_texts, tmp_path / "corpus", probes=CANNED)
    log = io.StringIO()
    second = run(ten_texts, tmp_path / "corpus", probes=CANNED, fractions=(0.1, 0.8, 0.1), log=log)
    assert second.videos == first.videos
    assert "splits of the earlier run" in log.getvalue()
    (tmp_path / "corpus" / MANIFEST_FILE).unlink()
    anew = run(ten_texts, tmp_path / "corpus", probes=CANNED, fractions=(0.1, 0.8, 0.1))
    assert anew.as_json()["splits"]["valid"] > first.as_json()["splits"]["valid"]


def test_a_manifest_of_another_version_is_replaced(ten_texts, tmp_path):
    run(ten_texts, tmp_path / "corpus", probes=CANNED)
    (tmp_path / "corpus" / MANIFEST_FILE).write_bytes(b"something else")
    log = io.StringIO()
    assert len(run(ten_texts, tmp_path / "corpus", probes=CANNED, log=log)) == 10
    assert "splits are chosen anew" in log.getvalue()


def test_a_csv_gives_labels_and_splits(ten_clips, tmp_path):
    table = tmp_path / "list.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "split", "label"])
        writer.writerows(
            [
                [ten_clips / f"cat/{i}.mp4", split, "a, b"]
                for i, split in ((0, "test"), (3, "train"), (6, "valid"))
            ]
        )
        writer.writerow(["gone.mp4", "train", "c"])
    prepared = run(table, tmp_path / "corpus")
    assert [(Path(v.path).name, v.split, v.label) for v in prepared] == [
        ("0.mp4", "test", "a, b"),
        ("3.mp4", "train", "a, b"),
        ("6.mp4", "valid", "a, b"),
    ]
    assert reasons(prepared) == {"gone.mp4": "missing"}


def test_labels_that_look_like_splits_are_pointed_out(tmp_path):
    log = io.StringIO()
    videos = named(tmp_path / "videos", *(f"{label}/{i}.mp4" for label in ("train", "val") for i in range(3)))
    run(videos, tmp_path / "corpus", probes=CANNED, log=log)
    assert "the labels (train, val) look like splits" in log.getvalue()


def test_the_corpus_may_lie_inside_the_source_and_is_not_scanned(tmp_path):
    videos = clips(tmp_path / "videos", "a.mp4", "b.mp4")
    for _ in range(2):
        prepared = run(videos, videos / "corpus")
        assert [v.path for v in prepared] == ["a.mp4", "b.mp4"]
        assert prepared.ignored == 0


def test_a_folder_without_sound_says_how_many_files_and_why_and_leaves_the_audit(tmp_path):
    for i in range(3):
        make_clip(tmp_path / f"{i}.mp4", seconds=1.0, tone_hz=None)
    (tmp_path / "x.mp4").touch()
    with pytest.raises(CorpusError) as error:
        run(tmp_path, tmp_path / "corpus")
    assert "no usable video: all 4 files were rejected (no_audio 3, empty_file 1)" in str(error.value)
    assert str(tmp_path / "corpus" / AUDIT_FILE) in str(error.value)
    assert "it has no sound track" in (tmp_path / "corpus" / AUDIT_FILE).read_text()
    assert len(read_rejects(tmp_path / "corpus")) == 4
    assert not (tmp_path / "corpus" / MANIFEST_FILE).exists()


@pytest.mark.parametrize("name", ["gone", "empty", "file.mp4"])
def test_a_source_that_gives_nothing_is_an_error_and_writes_nothing(tmp_path, name):
    (tmp_path / "empty").mkdir()
    make_clip(tmp_path / "file.mp4", seconds=1.0)
    with pytest.raises(CorpusError) as error:
        run(tmp_path / name, tmp_path / "corpus")
    assert str(tmp_path / name) in str(error.value)
    assert not (tmp_path / "corpus").exists()


def test_an_out_folder_that_is_a_file_is_one_clear_error(ten_clips, tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CorpusError, match="a file is in its place"):
            run(ten_clips, out)
    assert (tmp_path / "file").read_text() == "mine"


def test_an_out_folder_that_cannot_be_written_is_one_clear_error(ten_clips, tmp_path, monkeypatch):
    real = Path.open

    def read_only(self, mode="r", *args, **more):
        if self.is_relative_to(tmp_path) and mode.strip("b") != "r":
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, mode, *args, **more)

    monkeypatch.setattr(Path, "open", read_only)
    with pytest.raises(CorpusError) as error:
        run(ten_clips, tmp_path / "corpus")
    assert str(error.value) == f"{tmp_path / 'corpus'} cannot be written: Permission denied"


@pytest.mark.parametrize(
    "options",
    [
        {"fractions": (0.8, 0.1, 0.2)},
        {"fractions": (1.2, -0.1, -0.1)},
        {"fractions": (0.5, 0.5)},
        {"fractions": (float("nan"), 0.5, 0.5)},
        {"workers": 0},
        {"time_limit_seconds": 0.0},
        {"time_limit_seconds": float("nan")},
    ],
)
def test_senseless_numbers_are_usage_errors(ten_clips, tmp_path, options):
    with pytest.raises(UsageError):
        run(ten_clips, tmp_path / "corpus", **options)
    assert not (tmp_path / "corpus").exists()


def test_a_video_on_which_only_the_first_probe_hangs_or_crashes_stays_usable(tmp_path):
    videos = named(tmp_path / "videos", "hang.mp4", "crash.mp4")
    prepared = run(videos, tmp_path / "corpus", probes=CANNED, time_limit_seconds=1.0)
    assert [v.path for v in prepared] == ["crash.mp4", "hang.mp4"]


def test_files_on_which_everything_hangs_or_crashes_are_rejects_and_stay_so(tmp_path):
    videos = named(tmp_path / "videos", "good.mp4", "hang.mp4", "crash.mp4")
    stubborn = dataclasses.replace(CANNED, second=probes_for_tests.canned)
    prepared = run(videos, tmp_path / "corpus", probes=stubborn, time_limit_seconds=1.0)
    assert reasons(prepared) == {"hang.mp4": "time_limit", "crash.mp4": "decoder_crash"}
    assert [v.path for v in prepared] == ["good.mp4"]
    assert run(videos, tmp_path / "corpus", probes=stubborn, time_limit_seconds=1.0).probed == 0
    # More time is another chance for the slow one, and for no other.
    second = dataclasses.replace(CANNED, first=probes_for_tests.canned_second)
    patient = run(videos, tmp_path / "corpus", probes=second, time_limit_seconds=20.0)
    assert patient.probed == 1
    assert reasons(patient) == {"crash.mp4": "decoder_crash"}


def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path):
    videos = named(tmp_path / "videos", *(f"{i}.mp4" for i in range(8)))
    program = (
        "import sys, time, pathlib, avmi.workflows.prepare as w, probes_for_tests as p\n"
        f"w.prepare({str(videos)!r}, out={str(tmp_path / 'corpus')!r}, workers=1, "
        "probes=w.Probes(p.slow_canned, p.canned_second, p.no_thumbnail))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    journal = tmp_path / "corpus" / JOURNAL_FILE
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.DEVNULL
    ) as process:
        while not (journal.exists() and journal.read_bytes().count(b"\n") >= 3):
            assert process.poll() is None, "it ended too soon"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    known = {json.loads(line)["path"] for line in journal.read_text().splitlines()}
    assert not (tmp_path / "corpus" / MANIFEST_FILE).exists()
    assert 3 <= len(known) < 8
    prepared = run(videos, tmp_path / "corpus", probes=CANNED)
    assert prepared.probed == 8 - len(known)
    assert len(prepared) == 8


def test_ctrl_c_says_one_line_and_the_next_run_goes_on(ten_texts, tmp_path, monkeypatch):
    real = workflow.Journal.add
    done = []

    def add(self, entry, outcome):
        real(self, entry, outcome)
        done.append(entry.path)
        if len(done) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(workflow.Journal, "add", add)
    log = io.StringIO()
    with pytest.raises(KeyboardInterrupt):
        run(ten_texts, tmp_path / "corpus", probes=CANNED, log=log)
    monkeypatch.undo()
    last = log.getvalue().splitlines()[-1]
    assert last == "stopped after 3 of 10 files; the same command goes on from there"
    assert sorted(p.name for p in (tmp_path / "corpus").iterdir()) == [JOURNAL_FILE]
    assert run(ten_texts, tmp_path / "corpus", probes=CANNED).probed == 6


def test_the_tables_are_whole_at_any_time(ten_texts, tmp_path, monkeypatch):
    first = run(ten_texts, tmp_path / "corpus", probes=CANNED)
    before = (tmp_path / "corpus" / MANIFEST_FILE).read_bytes()

    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("avmi.corpus.manifest.pq.write_table", full)
    with pytest.raises(CorpusError, match="cannot be written: No space left"):
        run(ten_texts, tmp_path / "corpus", probes=CANNED)
    monkeypatch.undo()
    assert (tmp_path / "corpus" / MANIFEST_FILE).read_bytes() == before
    assert not [p for p in (tmp_path / "corpus").iterdir() if p.name.endswith(".tmp")]
    assert read_manifest(tmp_path / "corpus").videos == first.videos


def test_the_source_is_not_touched(tmp_path):
    videos = clips(tmp_path / "videos", "a.mp4")
    (videos / "b.mp4").write_text("x")
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in videos.iterdir()}
    run(videos, tmp_path / "corpus")
    assert {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in videos.iterdir()} == before


def test_a_late_start_reaches_the_manifest_and_keeps_decord_out(tmp_path):
    write_video(
        tmp_path / "a.mp4",
        pictures=(numbered_picture(i) for i in range(50)),
        times_seconds=[0.5 + i / 25 for i in range(50)],
        samples=noise(2.5, sample_rate_hz=48000),
        encoding=Encoding(),
    )
    (video,) = run(tmp_path, tmp_path / "corpus")
    assert video.video_start_seconds == pytest.approx(0.5)
    assert video.duration_seconds == pytest.approx(2.0, abs=0.01)
    assert (video.decord_exact, video.decord_reason) == (False, "starts late")


def expected_reason(kind: str) -> str:
    if "audio_only" in kind:
        return "no_video"
    return "no_audio" if "no_audio" in kind else ""


# What the list of real clips does not say of these: too little time, or timestamps that are wrong.
OTHER_REASONS = {
    "sample-with-large-length.avi": "bad_timestamps",
    "sample_with_pgs_subtitles.mkv": "too_short",
    "8k24fps_300ms.mp4": "too_short",
    "dolbyVision-hdr.MOV": "too_short",
}


@pytest.mark.slow
def test_every_real_clip_is_usable_or_rejected_for_its_true_reason(real_clips, tmp_path):
    with (real_clips / "manifest.csv").open(newline="") as file:
        kinds = {row["path"]: row["kind"] for row in csv.DictReader(file)}
    plain = sorted(path for path in kinds if path.split("/")[0] in ("ucf101", "grid", "atari"))
    chosen = [path for path in kinds if path.split("/")[0] in ("edge", "real", "ucf101_raw", "grid_raw")]
    chosen += plain[:: len(plain) // 40]
    table = tmp_path / "list.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([["path"], *[[real_clips / path] for path in chosen]])
    prepared = run(table, tmp_path / "corpus", time_limit_seconds=60.0)
    found = {**{v.path: "" for v in prepared}, **reasons(prepared)}
    wanted = {}
    for path in chosen:
        other = next((reason for end, reason in OTHER_REASONS.items() if path.endswith(end)), None)
        wanted[str(real_clips / path)] = other or expected_reason(kinds[path])
    assert found == wanted
    by_name = {Path(v.path).name: v for v in prepared}
    for path in chosen:
        video = by_name.get(Path(path).name)
        if video is not None and "rot-" in kinds[path]:
            assert video.rotation_degrees != 0
    assert REJECTS_FILE in {p.name for p in (tmp_path / "corpus").iterdir()}
