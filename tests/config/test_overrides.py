"""`key.sub=value` after the file: what it sets, and how its mistakes name it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from avmi.config.load import load_config
from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.schema import PretrainConfig
from avmi.config.views import AudioView

Complaints = Callable[..., list[str]]


@pytest.fixture
def read(tmp_path: Path, right: str) -> Callable[..., PretrainConfig]:
    def ask(*overrides: str, added: str = "") -> PretrainConfig:
        path = tmp_path / "f.yaml"
        path.write_text(right + added)
        return load_config(path, overrides, schema=PretrainConfig)

    return ask


def test_values_are_read_as_in_yaml(read: Callable[..., PretrainConfig]) -> None:
    config = read(
        "optimizer.steps=5",
        "optimizer.learning_rate=7e-2",
        "temperature.learned=false",
        "run=my runs/a: b #1 = c",
        "encoders.head.hidden_dims=[3, 4]",
        'corpus="7"',
        " seed = 3 ",
    )
    assert config.optimizer.steps == 5
    assert config.optimizer.learning_rate == 0.07
    assert config.temperature.learned is False
    assert config.run == Path("my runs/a: b #1 = c")
    assert config.encoders.head.hidden_dims == (3, 4)
    assert config.corpus == Path("7")
    assert config.seed == 3


def test_the_later_override_wins_and_an_empty_value_is_none(read: Callable[..., PretrainConfig]) -> None:
    config = read(
        "seed=1", "seed=2", "encoders.image.weights=", added="encoders: {image: {weights: a.pth}}\n"
    )
    assert config.seed == 2
    assert config.encoders.image.weights is None


def test_groups_are_merged_and_lists_are_replaced(read: Callable[..., PretrainConfig]) -> None:
    config = read(
        "data={workers: 3}",
        "views.late={kind: audio, at_seconds: 5}",
        "negatives=[same_video]",
        added="data: {batch_clips: 6, clips_per_video: 2}\n",
    )
    assert (config.data.workers, config.data.batch_clips, config.data.clips_per_video) == (3, 6, 2)
    assert config.views["late"] == AudioView(kind="audio", at_seconds=5)
    assert config.negatives == (NegativePool(pool="same_video"),)


def test_places_in_lists_are_numbers(read: Callable[..., PretrainConfig]) -> None:
    config = read("pairs.0.weight=3", added="pairs: [{views: [image, sound]}]\n")
    assert config.pairs == (PairSettings(views=("image", "sound"), weight=3),)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("steps", "override `steps`: write it as key=value, such as optimizer.steps=500"),
        ("=5", "override `=5`: write it as key=value, such as optimizer.steps=500"),
        ("data..workers=5", "override `data..workers=5`: write it as key=value, such as optimizer.steps=500"),
        ("negatives=[a", "override `negatives=[a`: negatives: its value is not YAML: "),
        (
            "data={workers: 1, workers: 2}",
            "override `data={workers: 1, workers: 2}`: data.workers: given twice, first in line 1; keep one",
        ),
        (
            "optimizer.stpes=5",
            "override `optimizer.stpes=5`: optimizer.stpes: unknown key; did you mean steps?",
        ),
        ("steps=5", "override `steps=5`: steps: unknown key; did you mean optimizer.steps?"),
        (
            "data={decoder: vlc}",
            'override `data={decoder: vlc}`: data.decoder: must be pyav, decord or torchcodec, got "vlc" (',
        ),
        (
            "seed.first=5",
            "override `seed.first=5`: seed: must be a whole number, at least 0 and below 4294967296, "
            "got a group with the key first (",
        ),
        (
            "negatives.4=same_video",
            "override `negatives.4=same_video`: negatives.4: negatives is a list with places 0 to 0",
        ),
        ("negatives.x=1", "override `negatives.x=1`: negatives.x: negatives is a list with places 0 to 0"),
    ],
)
def test_a_mistake_names_the_override(complaints: Complaints, right: str, text: str, line: str) -> None:
    found = complaints(right + "seed: 4\nnegatives: [other_videos]\n", text)
    assert len(found) == 1
    assert found[0].startswith(line)


def test_a_wrong_value_in_the_file_is_mended_by_an_override(read: Callable[..., PretrainConfig]) -> None:
    assert read("data.workers=2", added="data: {workers: many}\n").data.workers == 2


def test_a_mistake_that_stays_keeps_its_line(complaints: Complaints, right: str) -> None:
    found = complaints(right + "data:\n  workers: many\n", "data={batch_clips: 8}")
    assert len(found) == 1
    assert found[0].startswith("f.yaml:7: data.workers: ")


def test_bytes_that_are_no_text_are_refused(complaints: Complaints, right: str) -> None:
    # This is how Python hands over a word of the command line that is not UTF-8.
    assert complaints(right, "corpus=\udcff") == [
        "f.yaml: holds text that is not Unicode; use paths whose names are UTF-8"
    ]
