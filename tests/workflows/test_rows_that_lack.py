"""Corpora whose rows lack sound or pictures, or are intervals, go through every verb that reads rows."""

import csv
import io
from pathlib import Path

import pytest
from corpora import LABELS
from making import Encoding, make_clip

from avmi.corpus.manifest import read_manifest
from avmi.decode.choose import choose_decoder
from avmi.errors import ConfigError, CorpusError, DecodeError, InputError
from avmi.index.table import read_embeddings
from avmi.workflows.embed import embed
from avmi.workflows.evaluate import evaluate_probe, evaluate_retrieval
from avmi.workflows.prepare import prepare
from avmi.workflows.pretrain import pretrain

SPLITS = ("train", "train", "test")


def labelled(folder: Path, *, suffix: str, needs: str, **lacking) -> Path:
    """Prepare two labels × (2 train, 1 test) clips of 2 s that lack something."""
    listed = [["path", "label", "split"]]
    for label in ("blue", "red"):
        colour, tone_hz = LABELS[label]
        for number, split in enumerate(SPLITS):
            path = folder / f"{label}{number}{suffix}"
            look = {"colour": (colour[0], colour[1] - 9 * number, colour[2]), "tone_hz": tone_hz + 9 * number}
            make_clip(path, seconds=2.0, **{**look, **lacking})
            listed.append([path.name, label, split])
    with (folder / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(listed)
    prepare(folder / "list.csv", out=folder / "corpus", needs=needs, workers=2, log=io.StringIO())
    return folder / "corpus"


@pytest.fixture(scope="module")
def silent_films(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    return labelled(folder, suffix=".mp4", needs="picture", tone_hz=None)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    folder, pcm = tmp_path_factory.mktemp("sounds"), Encoding(audio_codec="pcm_s16le")
    return labelled(folder, suffix=".wav", needs="sound", colour=None, encoding=pcm)


def test_a_probe_of_pictures_needs_no_sound_and_one_of_sounds_no_pictures(
    tiny_checkpoint, silent_films, sounds
):
    for corpus, view, other in ((silent_films, "image", "audio"), (sounds, "audio", "image")):
        report = evaluate_probe(tiny_checkpoint, corpus, view=view)
        assert (report.clips, report.videos, report.class_names) == (4, 2, ("blue", "red"))
        for lacking in (other, "both"):
            with pytest.raises(CorpusError, match="no labelled clip"):
                evaluate_probe(tiny_checkpoint, corpus, view=lacking)


def test_a_table_holds_what_the_rows_have(tiny_checkpoint, silent_films, sounds, tmp_path):
    films = embed(tiny_checkpoint, silent_films, out=tmp_path / "films.parquet")
    heard = embed(tiny_checkpoint, sounds, out=tmp_path / "sounds.parquet")
    assert dict(films.contents.counts) == {"image": 12}
    assert dict(heard.contents.counts) == {"audio": 12}
    assert films.rejects == heard.rejects == ()


def test_what_needs_pairs_says_so(tiny_checkpoint, tiny_config, silent_films, tmp_path):
    with pytest.raises(InputError, match="no clip could be embedded"):
        evaluate_retrieval(tiny_checkpoint, silent_films)
    with pytest.raises((ConfigError, CorpusError), match="no video of the train split"):
        pretrain(tiny_config(silent_films, tmp_path / "run"))


def test_asking_for_what_a_row_lacks_is_a_decode_error(silent_films, sounds):
    decoder = choose_decoder("pyav")
    for corpus, reason in ((silent_films, "no_audio"), (sounds, "no_video")):
        manifest = read_manifest(corpus)
        video = manifest.videos[0]
        with decoder.open(manifest.path_of(video), video=video) as reader:
            ask = {
                "no_audio": lambda r=reader: r.audio(0.0, 1.0, sample_rate_hz=16000),
                "no_video": lambda r=reader: r.every_frame(short_side_px=None),
            }
            with pytest.raises(DecodeError) as error:
                ask[reason]()
            assert error.value.reason == reason


def test_intervals_of_one_file_are_embedded_within_their_seconds(tiny_checkpoint, tmp_path):
    make_clip(tmp_path / "long.mp4", seconds=8.0)
    text = "path,start_seconds,end_seconds,label,split\nlong.mp4,1,3,a,test\nlong.mp4,5,7.5,b,test\n"
    (tmp_path / "t.csv").write_text(text)
    made = prepare(tmp_path / "t.csv", out=tmp_path / "corpus", workers=1, log=io.StringIO())
    assert (made.probed, len(made)) == (1, 2)
    embed(tiny_checkpoint, tmp_path / "corpus", out=tmp_path / "e.parquet")
    spans = {label: [] for label in "ab"}
    for row in read_embeddings(tmp_path / "e.parquet").rows():
        spans[row.label] += [row.start_seconds, row.end_seconds]
    assert 1.0 <= min(spans["a"]) <= max(spans["a"]) <= 3.0
    assert 5.0 <= min(spans["b"]) <= max(spans["b"]) <= 7.5
