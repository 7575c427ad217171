"""Small annotation files in the published form, and tiny files under names found in the wild → corpora."""

import csv
import json
import re
import sys
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from making import Encoding, make_clip

from avmi.corpus.manifest import read_manifest
from avmi.errors import CorpusError, UsageError
from data_prep.audioset import read_audioset
from data_prep.ave import read_ave
from data_prep.cli import main
from data_prep.corpus import Settings, prepare_corpus
from data_prep.esc50 import read_esc50
from data_prep.hmdb51 import read_hmdb51
from data_prep.kinetics import read_kinetics
from data_prep.listing import Clip, with_valid
from data_prep.split_files import SplitFile, split_files
from data_prep.table import read_table
from data_prep.ucf101 import read_ucf101
from data_prep.vggsound import read_vggsound

VGGSOUND = """\
--0PQM4-hqg,30,waterfall burbling,train
_8JT9YvkS9s,0,"people eating, crisps",test
---g-f_I2yQ,1,people marching,test
abcdefghijk,20,people marching,train
gone_gone_x,110,zebra braying,train
--0PQM4-hqg,30,waterfall burbling,train
"""

AUDIOSET = """\
# Segments csv created Sun Mar  5 10:54:31 2017
# num_ytids=5, num_segs=5, num_unique_labels=3, num_positive_labels=6
# YTID, start_seconds, end_seconds, positive_labels
-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"
--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_,/m/0bt9lr"
_1oN9l0ohXk, 2.500, 12.500, "/m/0bt9lr"
-missing-00, 30.000, 40.000, "/m/0bt9lr"
"""
CLASS_LABELS = """\
index,mid,display_name
0,/m/03v3yw,"Keys jangling"
1,/m/0k4j,"Car"
2,/m/068hy,"Domestic animals, pets"
3,/m/07q6cd_,"Squeak"
4,/m/0bt9lr,"Dog"
"""

KINETICS = """\
label,youtube_id,time_start,time_end,split
playing accordion,-0aaaaaaaaa,3,13,{split}
tap dancing,_0bbbbbbbbb,10,20,{split}
"ripping, paper",0ccccccccc0,5,15,{split}
"""

ESC50 = """\
filename,fold,target,category,esc10,src_file,take
1-100032-A-0.wav,1,0,dog,True,100032,A
1-100038-A-14.wav,1,14,chirping_birds,False,100038,A
2-100648-A-43.wav,2,43,car_horn,False,100648,A
3-100018-A-18.wav,3,18,toilet_flush,False,100018,A
3-100018-B-18.wav,3,18,toilet_flush,False,100018,B
5-9032-A-0.wav,5,0,dog,True,9032,A
"""


def write(path: Path, text: str, *, encoding: str = "utf-8", newline: str = "\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding=encoding, newline=newline)
    return path


def clip(path: Path, *, seconds: float = 1.0, tone_hz: float | None = None, **more) -> Path:
    """Write a clip whose content follows from its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sounds = {".wav": "pcm_s16le", ".flac": "flac"}
    if path.suffix in sounds:
        more |= {"encoding": Encoding(audio_codec=sounds[path.suffix]), "colour": None}
    return make_clip(path, seconds=seconds, tone_hz=tone_hz or 200 + sum(path.name.encode()) % 997, **more)


def prepared(listing, folder: Path, **options):
    return prepare_corpus(listing, Settings(folder / "videos", folder / "corpus", workers=1, **options))


def rows(folder: Path) -> dict[str, tuple]:
    return {v.path: (v.split, v.label, *v.further_labels) for v in read_manifest(folder / "corpus")}


def missing(folder: Path) -> list[dict[str, str]]:
    with (folder / "corpus" / "missing.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_byte_order_mark_and_windows_line_ends_change_nothing(tmp_path):
    plain = write(tmp_path / "vggsound.csv", VGGSOUND)
    marked = write(tmp_path / "b" / "vggsound.csv", VGGSOUND, encoding="utf-8-sig", newline="\r\n")
    assert read_vggsound([SplitFile(marked)]).clips == read_vggsound([SplitFile(plain)]).clips


def test_vggsound_is_matched_under_names_of_the_wild_with_its_splits(tmp_path):
    file = write(tmp_path / "vggsound.csv", VGGSOUND)
    clip(tmp_path / "videos" / "--0PQM4-hqg_000030.mp4")
    clip(tmp_path / "videos" / "test" / "_8JT9YvkS9s_0_10.mkv")
    clip(tmp_path / "videos" / "Y---g-f_I2yQ_1.mp4")
    clip(tmp_path / "videos" / "abcdefghijk.mp4", seconds=24.0, frame_rate=4)
    result = prepared(read_vggsound([SplitFile(file)]), tmp_path)
    assert rows(tmp_path) == {
        "--0PQM4-hqg_000030.mp4": ("train", "waterfall burbling"),
        "test/_8JT9YvkS9s_0_10.mkv": ("test", "people eating, crisps"),
        "Y---g-f_I2yQ_1.mp4": ("test", "people marching"),
        "abcdefghijk.mp4": ("train", "people marching"),
    }
    (whole,) = (v for v in read_manifest(tmp_path / "corpus") if v.is_interval)
    assert whole.path == "abcdefghijk.mp4"  # 24 s long: the clip is its part from 20 s on
    assert (whole.video_start_seconds, whole.video_id[16:]) == (20.0, "_20000_30000")
    assert whole.video_end_seconds == pytest.approx(24.0)
    assert result.splits["train"] == {
        "listed": 4, "found": 2, "missing": 1, "ambiguous": 0, "duplicate": 1, "unusable": 0, "usable": 2,
    }  # fmt: skip
    assert result.as_json()["classes"] == {"listed": 4, "usable": 3, "official": 309}
    lost, repeat = missing(tmp_path)
    assert (lost["name"], lost["reason"], lost["labels"]) == ("gone_gone_x", "missing", "zebra braying")
    assert lost["detail"].startswith("gone_gone_x_000110")
    assert lost["detail"].endswith("; gone_gone_x; Ygone_gone_x")
    assert (repeat["reason"], repeat["listed_in"]) == ("duplicate", "vggsound.csv, line 6")


def test_lists_of_file_and_class_take_their_split_from_the_command_line(tmp_path):
    train = write(tmp_path / "train.csv", "--0PQM4-hqg_000030.mp4,waterfall burbling\n")
    listing = read_vggsound(split_files([f"train={train}"]))
    assert [(c.key, c.split, c.labels) for c in listing.clips] == [
        ("--0PQM4-hqg_000030", "train", ("waterfall burbling",))
    ]
    with pytest.raises(CorpusError, match="line 1: a list of file and class does not say its split"):
        read_vggsound([SplitFile(train)])
    with pytest.raises(UsageError, match="'trian' is no split"):
        split_files([f"trian={train}"])


def test_audioset_segments_keep_all_their_classes_and_cut_files_start_at_zero(tmp_path):
    file = write(tmp_path / "balanced_train_segments.csv", AUDIOSET)
    write(tmp_path / "class_labels_indices.csv", CLASS_LABELS)
    clip(tmp_path / "videos" / "Y-0RWZT-miFs.wav")
    clip(tmp_path / "videos" / "--4gqARaEJE-0-10.flac")
    clip(tmp_path / "videos" / "_1oN9l0ohXk.mp4", seconds=16.0, frame_rate=4)
    result = prepared(read_audioset([SplitFile(file)]), tmp_path, needs="sound")
    assert rows(tmp_path) == {
        "Y-0RWZT-miFs.wav": ("train", "Keys jangling", "Car"),
        "--4gqARaEJE-0-10.flac": ("train", "Domestic animals, pets", "Squeak", "Dog"),
        "_1oN9l0ohXk.mp4": ("train", "Dog"),
    }
    by_path = {v.path: v for v in read_manifest(tmp_path / "corpus")}
    whole = by_path["_1oN9l0ohXk.mp4"]
    assert (whole.audio_start_seconds, whole.audio_end_seconds) == (2.5, 12.5)
    sound = by_path["Y-0RWZT-miFs.wav"]
    assert (sound.has_pictures, sound.audio_start_seconds, sound.width_px) == (False, 0.0, 0)
    assert result.splits["train"]["missing"] == 1


def test_audioset_says_which_file_gives_the_names_of_classes_and_which_the_split(tmp_path):
    file = write(tmp_path / "mine.csv", AUDIOSET)
    with pytest.raises(CorpusError, match=r"class_labels_indices\.csv, which is not beside"):
        read_audioset([SplitFile(file)])
    write(tmp_path / "class_labels_indices.csv", CLASS_LABELS)
    with pytest.raises(CorpusError, match="does not say its split: give it as --annotations train="):
        read_audioset([SplitFile(file)])
    assert Counter(c.split for c in read_audioset([SplitFile(file, "test")]).clips) == {"test": 4}


def test_ave_events_are_intervals_of_one_file_in_one_split(tmp_path):
    folder = tmp_path / "AVE_Dataset"
    write(folder / "trainSet.txt", "Church bell&RUhOCu3LNXM&good&0&10\nTruck&-twoevents-1&good&1&3\n"
          "Truck&-twoevents-1&good&5&5\nMale speech, man speaking&-twoevents-1&good&3&6\n"
          "Bark&leaks-in-te&good&0&2\n")  # fmt: skip
    write(
        folder / "valSet.txt", "Category&VideoID&Quality&StartTime&EndTime\r\nHorn&valvalvalva&good&0&9\r\n"
    )
    write(folder / "testSet.txt", "Bark&leaks-in-te&good&4&7\n")
    for name in ("RUhOCu3LNXM", "-twoevents-1", "leaks-in-te"):
        clip(tmp_path / "videos" / f"{name}.mp4", seconds=10.0, frame_rate=4)
    clip(tmp_path / "videos" / "Horn&valvalvalva&good&0&9.mp4", seconds=9.0, frame_rate=4)
    result = prepared(read_ave(folder), tmp_path)
    found = [
        (v.path, v.label, v.split, v.video_start_seconds, round(v.video_end_seconds, 2))
        for v in read_manifest(tmp_path / "corpus")
    ]
    assert found == [
        ("-twoevents-1.mp4", "Truck", "train", 1.0, 3.0),
        ("-twoevents-1.mp4", "Male speech, man speaking", "train", 3.0, 6.0),
        ("Horn&valvalvalva&good&0&9.mp4", "Horn", "valid", 0.0, 9.0),
        ("RUhOCu3LNXM.mp4", "Church bell", "train", 0.0, 10.0),
        ("leaks-in-te.mp4", "Bark", "test", 4.0, 7.0),
    ]
    assert result.crossing == ("leaks-in-te",)
    assert result.left_out == (("events of zero length", 1),)
    assert result.prepared.as_json()["rejected"] == {"split_conflict": 1}
    assert result.splits["train"]["unusable"] == 1


def test_kinetics_sounds_is_the_classes_of_a_list(tmp_path):
    files = [write(tmp_path / f"{name}.csv", KINETICS.format(split=name)) for name in ("train", "validate")]
    files.append(
        write(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\nddddddddddd,1,11,test\n")
    )
    listing = read_kinetics([SplitFile(file) for file in files])
    assert Counter(c.split for c in listing.clips) == {"train": 3, "valid": 3, "test": 1}
    assert listing.clips[-1].labels == ()
    sounds = write(tmp_path / "sounds.txt", "Playing_Accordion\nripping, paper\n")
    kept = read_kinetics([SplitFile(file) for file in files], classes=sounds)
    assert [c.labels[0] for c in kept.clips] == ["playing accordion", "ripping, paper"] * 2
    assert kept.left_out == (("classes that sounds.txt does not list", 3),)
    write(sounds, "tap dancin\n")
    with pytest.raises(CorpusError, match=r"line 1: no class .*'tap dancin': did you mean 'tap dancing'\?"):
        read_kinetics([SplitFile(file) for file in files], classes=sounds)


def test_kinetics_in_class_folders_is_told_apart_by_them(tmp_path):
    text = "label,youtube_id,time_start,time_end,split,is_cc\n" + "".join(
        f"{label},_0bbbbbbbbb,10,20,train,0\n" for label in ("tap dancing", "salsa dancing")
    )
    text += "krumping,ambiguousxx,4,14,train,1\n"
    for place in ("tap dancing", "salsa_dancing"):
        clip(tmp_path / "videos" / place / "_0bbbbbbbbb_000010_000020.mp4", tone_hz=300 + len(place))
    for place in ("one", "two"):
        clip(tmp_path / "videos" / place / "ambiguousxx_000004_000014.mp4")
    result = prepared(read_kinetics([SplitFile(write(tmp_path / "k700.csv", text))]), tmp_path)
    assert {path.split("/")[0]: row[1] for path, row in rows(tmp_path).items()} == {
        "tap dancing": "tap dancing",
        "salsa_dancing": "salsa dancing",
    }
    assert result.splits["train"]["ambiguous"] == 1
    (lost,) = missing(tmp_path)
    assert lost["detail"] == "one/ambiguousxx_000004_000014.mp4; two/ambiguousxx_000004_000014.mp4"


def test_hmdb51_reads_names_with_any_sign_and_leaves_unused_clips_out(tmp_path):
    folder = tmp_path / "splits"
    odd = "#122_Cleaning_Up_The_Beach_In_Chennai_wash_up_shoot_ball_u_cm_np1_ba_med_0"
    write(folder / "shoot_ball_test_split2.txt", f"{odd}.avi 1 \n(Rad)Schlag_shoot_ball_f_cm_np1_le_med_0.avi 2 \n"
          "Trick_'n_&_Go_shoot_ball_f_nm_np1_ri_bad_7.avi 0 \n")  # fmt: skip
    write(folder / "shoot_ball_test_split1.txt", f"{odd}.avi 2 \n")
    write(
        folder / "wave_test_split2.txt", "A_wave_u_nm_np1_fr_goo_12.avi 1 \nB_wave_u_nm_np1_fr_goo_0.avi 2 \n"
    )
    names = [odd, "(Rad)Schlag_shoot_ball_f_cm_np1_le_med_0"]
    for name in names:
        clip(tmp_path / "videos" / "shoot_ball" / f"{name}.avi", tone_hz=300 + len(name))
    make_clip(tmp_path / "videos" / "A_wave_u_nm_np1_fr_goo_12.avi", seconds=1.0, tone_hz=None)
    listing = read_hmdb51(folder, fold=2)
    assert listing.left_out == (("not used by fold 2", 1),)
    assert listing.clips[2].source == "wave/A"
    result = prepared(listing, tmp_path)
    assert {Path(path).stem: row for path, row in rows(tmp_path).items()} == {
        names[0]: ("train", "shoot_ball"),
        names[1]: ("test", "shoot_ball"),
        "A_wave_u_nm_np1_fr_goo_12": ("train", "wave"),
    }
    assert result.splits["test"]["missing"] == 1
    (silent,) = (v for v in read_manifest(tmp_path / "corpus") if not v.has_sound)
    assert (silent.label, silent.sample_rate_hz, silent.audio_codec) == ("wave", 0, "")


def test_esc50_tests_on_one_fold_and_needs_no_pictures(tmp_path):
    file = write(tmp_path / "esc50.csv", ESC50)
    for line in ESC50.splitlines()[1:]:
        clip(tmp_path / "videos" / line.split(",")[0], tone_hz=200 + sum(line.encode()) % 799)
    result = prepared(read_esc50(file, fold=3), tmp_path)
    assert {path: row[0] for path, row in rows(tmp_path).items()} == {
        line.split(",")[0]: "test" if line.split(",")[1] == "3" else "train"
        for line in ESC50.splitlines()[1:]
    }
    assert result.as_json()["classes"] == {"listed": 4, "usable": 4, "official": 50}
    assert "4 of 50 listed" in result.as_text()
    with pytest.raises(UsageError, match="1 to 5, got 6"):
        read_esc50(file, fold=6)


def test_a_valid_split_is_made_by_recording_and_only_when_asked_for():
    clips = [Clip(f"{i}", f"{i}", "train", (), group=f"g{i // 4}") for i in range(400)]
    clips += [Clip("t", "t", "test", ())]
    made = with_valid(clips, fraction=0.25)
    by_group = {}
    for one in made[:-1]:
        by_group.setdefault(one.group, set()).add(one.split)
    assert all(len(found) == 1 for found in by_group.values())
    assert 12 <= sum(found == {"valid"} for found in by_group.values()) <= 38
    assert made[-1].split == "test"
    assert with_valid(clips[::-1], fraction=0.25) == made[::-1]
    with pytest.raises(CorpusError, match="have a valid split of their own"):
        with_valid([Clip("v", "v", "valid", ())], fraction=0.1)


def test_a_list_of_ones_own_finds_files_by_path_or_by_name(tmp_path):
    text = "rating,path,label,split\n5,a/x.mp4,dog,train\n4,b/x.mp4,cat,test\n3,y,cow,\n"
    for name in ("a/x.mp4", "b/x.mp4", "deep/y.mp4"):
        clip(tmp_path / "videos" / name, tone_hz=300 + 9 * len(name) + ord(name[0]))
    prepared(read_table([SplitFile(write(tmp_path / "list.csv", text))]), tmp_path)
    found = rows(tmp_path)
    assert found["a/x.mp4"] == ("train", "dog")
    assert found["b/x.mp4"] == ("test", "cat")
    assert found["deep/y.mp4"][1] == "cow"


HTML = "<!DOCTYPE html>\n<html><body>404</body></html>\n"


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (lambda f: read_vggsound([SplitFile(f)]), HTML, "line 1: a web page"),
        (lambda f: read_vggsound([SplitFile(f)]), KINETICS, "line 1: 'label,youtube_id,time_start"),
        (lambda f: read_vggsound([SplitFile(f)]), "a,b,c,train\n", "line 1: 'b' is no number of seconds"),
        (lambda f: read_vggsound([SplitFile(f)]), "", "has no line of annotations"),
        (lambda f: read_kinetics([SplitFile(f)]), VGGSOUND, "line 1: no column named youtube_id"),
        (lambda f: read_kinetics([SplitFile(f)]), KINETICS, "line 2: '{split}' is no split"),
        (lambda f: read_esc50(f, fold=1), KINETICS, "line 1: the header is 'label,youtube_id"),
        (lambda f: read_esc50(f, fold=1), ESC50 + "x.wav,9,0,dog,True,1,A\n", "line 8: 'x.wav,9"),
    ],
)
def test_another_file_than_expected_is_one_sentence_with_its_line(tmp_path, read, text, says):
    file = write(tmp_path / "annotations.csv", text)
    with pytest.raises(CorpusError) as error:
        read(file)
    assert says in str(error.value)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_of_annotations_without_the_file_says_what_it_holds(tmp_path):
    write(tmp_path / "ann" / "readme.md", "x")
    for read in (lambda: read_ave(tmp_path / "ann"), lambda: read_ucf101(tmp_path / "ann", fold=1),
                 lambda: read_hmdb51(tmp_path / "ann", fold=1)):  # fmt: skip
        with pytest.raises(CorpusError, match=r"does not hold .*; it holds readme\.md"):
            read()


def test_when_nothing_is_found_the_error_says_what_was_looked_for_and_what_is_there(tmp_path):
    file = write(tmp_path / "vggsound.csv", VGGSOUND)
    clip(tmp_path / "videos" / "holiday.mp4")
    with pytest.raises(CorpusError) as error:
        prepared(read_vggsound([SplitFile(file)]), tmp_path)
    assert "looked first for '--0PQM4-hqg_000030" in str(error.value)
    assert "1 media files, such as holiday.mp4" in str(error.value)
    assert not (tmp_path / "corpus").exists()


def data_prep(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Run the command line in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(sys, "argv", ["data_prep", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return (ended.value.code, *capsys.readouterr())


def test_the_command_line_prints_a_table_or_json_and_its_mistakes_are_one_line(tmp_path, monkeypatch, capsys):
    file = write(tmp_path / "esc50.csv", ESC50)
    clip(tmp_path / "videos" / "1-100032-A-0.wav")
    clip(tmp_path / "videos" / "5-9032-A-0.wav")
    words = ["esc50", "--annotations", file, "--videos", tmp_path / "videos", "--out", tmp_path / "corpus"]
    code, out, err = data_prep(monkeypatch, capsys, *words, "--fold", 5, "--json")
    assert code == 0, err
    assert json.loads(out)["splits"]["test"]["usable"] == 1
    _, out, err = data_prep(monkeypatch, capsys, *words, "--fold", 5)
    assert re.search(r"^train +5 +1 +4 +0 +0 +0 +1$", out, re.MULTILINE)
    assert "6 clips listed" in err
    for wrong, code, says in (
        (["esc51"], 2, "did you mean 'esc50'"),
        ([*words, "--fould", 1], 2, "no such option: --fould; did you mean --fold"),
        (words[:3], 2, "missing option '--videos'"),
        ([*words, "--fold", 7], 2, "--fold of ESC-50 is 1 to 5, got 7"),
        ([*words[:2], tmp_path / "gone.csv", *words[3:]], 1, "gone.csv does not exist"),
    ):
        found, out, err = data_prep(monkeypatch, capsys, *wrong)
        assert (found, out) == (code, "")
        assert err.startswith("error: ")
        assert says.lower() in err.lower()


def test_ucf101_of_real_clips_keeps_classes_groups_and_the_official_split(real_clips, tmp_path):
    with (real_clips / "manifest.csv").open(newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["path"].startswith("ucf101/")]
    chosen = [row for row in listed if row["path"].endswith(("_c01.mp4", "_c02.mp4"))][::9]
    classes = sorted({row["label"] for row in listed})
    numbers = {label: place for place, label in enumerate(classes, start=1)}
    lines = {
        row["path"]: f"{row['label']}/{Path(row['path']).stem}.avi {numbers[row['label']]}" for row in chosen
    }
    folder = tmp_path / "ucfTrainTestlist"
    write(folder / "classInd.txt", "".join(f"{n} {name}\n" for name, n in numbers.items()), newline="\r\n")
    tests = {row["path"] for row in chosen if int(row["group"]) >= 22}
    write(
        folder / "trainlist01.txt", "".join(f"{lines[p]}\n" for p in lines if p not in tests), newline="\r\n"
    )
    write(
        folder / "testlist01.txt", "".join(f"{lines[p].split()[0]}\n" for p in sorted(tests)), newline="\r\n"
    )
    result = prepare_corpus(
        read_ucf101(folder, fold=1), Settings(real_clips / "ucf101", tmp_path / "corpus", workers=1)
    )
    assert result.crossing == ()
    assert rows(tmp_path) == {
        row["path"].removeprefix("ucf101/"): ("test" if row["path"] in tests else "train", row["label"])
        for row in chosen
    }
    assert result.splits["train"]["usable"] + result.splits["test"]["usable"] == len(chosen) > 10
    assert pq.read_table(tmp_path / "corpus" / "listing.parquet").num_rows == len(chosen)
