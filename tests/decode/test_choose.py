"""Names in the configuration → decoders; the fallback tries, counts and logs."""

import importlib.abc
import logging
import pickle
import sys
from typing import get_args

import pytest
from making import frame_number
from rows import video_row
from truth import Recipe, write_truth

from avmi.cli import app
from avmi.config.data import DecoderName
from avmi.config.load import dump_config
from avmi.decode.choose import FallbackDecoder, choose_decoder
from avmi.errors import DecodeError
from avmi.terminal import run


@pytest.mark.parametrize("name", get_args(DecoderName))
def test_every_name_of_the_configuration_has_its_decoder(name):
    if name == "torchcodec":
        pytest.importorskip(
            "torchcodec", reason="torchcodec or its FFmpeg is not installed", exc_type=Exception
        )
    decoder = choose_decoder(name)
    assert decoder.name == name
    assert type(pickle.loads(pickle.dumps(decoder))) is type(decoder)  # loaders send it to their workers


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ImportError("no module"), "avmi: the decoder torchcodec is not installed: install avmi[torchcodec]"),
        (
            RuntimeError("Could not load libtorchcodec"),
            "avmi: torchcodec finds no FFmpeg of a version that it knows",
        ),
    ],
)
def test_a_run_with_torchcodec_where_it_cannot_be_loaded_stops_with_one_sentence(
    error, sentence, tiny_corpus, tiny_config, tmp_path, monkeypatch, capsys
):
    class Missing(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "torchcodec":
                raise error

    for name in [name for name in sys.modules if name.split(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Missing(), *sys.meta_path])
    file = tmp_path / "config.yaml"
    file.write_text(dump_config(tiny_config(tiny_corpus, tmp_path / "run", data={"decoder": "torchcodec"})))
    assert run(app, ["pretrain", str(file)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(sentence)
    assert said.endswith("use the decoder pyav")


@pytest.mark.parametrize("fallback", [None, "pyav"])
def test_no_fallback_or_itself_is_the_plain_decoder(fallback):
    assert choose_decoder("pyav", fallback=fallback).name == "pyav"


def test_what_the_first_refuses_the_second_reads_and_each_file_is_counted_and_logged_once(tmp_path, caplog):
    inexact = {"decord_exact": False, "decord_reason": "edit list"}
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4", tmp_path / "c.mp4"]
    for path in paths:
        write_truth(path, Recipe("mp4", frames=30))
    rows = [video_row(str(paths[0])), *(video_row(str(path), **inexact) for path in paths[1:])]
    decoder = choose_decoder("decord", fallback="pyav")
    assert isinstance(decoder, FallbackDecoder)
    used = []
    with caplog.at_level(logging.WARNING):
        for path, row in [*zip(paths, rows, strict=True), (paths[2], rows[2])]:
            with decoder.open(path, video=row) as reader:
                used.append(type(reader).__name__)
                assert frame_number(reader.frames([0.5], short_side_px=None).pixels[0]) == 12
    assert used == ["DecordReader", "PyAvReader", "PyAvReader", "PyAvReader"]
    assert decoder.refused == {"decord_inexact": 2}
    assert [str(path) in message for path, message in zip(paths[1:], caplog.messages, strict=True)] == [
        True
    ] * 2
    assert all("edit list" in message and "pyav" in message for message in caplog.messages)


def test_what_both_refuse_is_the_second_s_error(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(DecodeError) as error:
        choose_decoder("decord", fallback="pyav").open(tmp_path / "a.mp4", video=video_row())
    assert error.value.reason == "open_failed"
    assert "decord" not in str(error.value)


def test_decord_refuses_what_nobody_proved(tmp_path):
    with pytest.raises(DecodeError, match="avmi prepare") as error:
        choose_decoder("decord").open(tmp_path / "a.mp4", video=None)
    assert error.value.reason == "decord_inexact"
