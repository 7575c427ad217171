"""Files that are no configuration, YAML's surprises, and configurations written and read again."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from avmi.config.data import Data
from avmi.config.describe import describe_config
from avmi.config.document import plain_value
from avmi.config.load import dump_config, load_config, schema_of
from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.parts import Backbone, Encoders, Head, LogMel, PretrainOptimizer, Temperature
from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.config.views import AudioView, FeatureView, FrameView
from avmi.errors import ConfigError

Complaints = Callable[..., list[str]]


def read(tmp_path: Path, text: str, *overrides: str) -> PretrainConfig:
    path = tmp_path / "f.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path, overrides, schema=PretrainConfig)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "f.yaml is empty; it must at least give corpus, run and views"),
        ("# only a comment\n", "f.yaml is empty; it must at least give corpus, run and views"),
        ("---\n", "f.yaml is empty; it must at least give corpus, run and views"),
        ("{}\n", "f.yaml is empty; it must at least give corpus, run and views"),
        (
            "# one\n- a\n- b\n",
            "f.yaml:2: holds a list; a configuration holds keys with values, such as `corpus: FOLDER`",
        ),
        (
            "corpus\n",
            "f.yaml:1: holds plain text; a configuration holds keys with values, such as `corpus: FOLDER`",
        ),
        ("corpus: a\nrun: [b\nviews: 3\n", "f.yaml:3:6: not YAML: "),
        ("corpus: a: b\n", "f.yaml:1:10: not YAML: mapping values are not allowed here"),
        (
            "data:\n\tworkers: 1\n",
            "f.yaml:2:1: not YAML: a tab, which YAML does not allow for indenting; use spaces",
        ),
        (
            "corpus: a\n---\ncorpus: b\n",
            "f.yaml:2:1: not YAML: a second document starts here (---); a configuration is one document",
        ),
        ("corpus: *gone\n", "f.yaml:1:9: not YAML: found undefined alias 'gone'"),
        ("corpus: @home\n", "f.yaml:1:9: not YAML: found character '@' that cannot start any token"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "f.yaml is not a text file; give a YAML file"),
        (b"corpus: a\x00b\n", "f.yaml is not a text file; give a YAML file"),
        (b"x: " + b"1" * 1_500_000, "f.yaml is larger than 1 MB: that is no configuration; give a YAML file"),
        ("x: é".encode() * 300_000, "f.yaml is larger than 1 MB: that is no configuration; give a YAML file"),
    ],
)
def test_a_file_that_is_no_configuration_gets_one_sentence(
    complaints: Complaints, text: str | bytes, line: str
) -> None:
    found = complaints(text)
    assert len(found) == 1
    assert found[0].startswith(line)


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("quikstart.yaml", "quikstart.yaml does not exist; did you mean quickstart.yaml?"),
        ("nowhere/x.yaml", "nowhere/x.yaml does not exist; give the path of a YAML file"),
        ("folder", "folder is a folder; give a YAML file, such as folder/inside.yaml"),
        ("empty", "empty is a folder; give a YAML file"),
        ("quickstart.yaml/x", "quickstart.yaml/x cannot be read: Not a directory"),
    ],
)
def test_a_path_that_is_no_file_gets_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("folder", "empty"):
        Path(folder).mkdir()
    Path("quickstart.yaml").touch()
    Path("folder/inside.yaml").touch()
    with pytest.raises(ConfigError) as caught:
        load_config(path, schema=PretrainConfig)
    assert str(caught.value) == line


def test_a_file_without_permission_gets_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: str) -> None:  # to root, who runs many a test suite, files are never closed
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"f\.yaml cannot be read: Permission denied$"):
        load_config(tmp_path / "f.yaml", schema=PretrainConfig)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7e-2", 0.07),
        ("1e3", 1000.0),
        ("-.5", -0.5),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", "017"),  # octal in YAML 1.1, decimal in 1.2: neither is guessed
        ("1:30", "1:30"),  # ninety in YAML 1.1
        ("2020-01-01", "2020-01-01"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("", None),
        ("null", None),
        ("none", "none"),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1.2.3", "1.2.3"),
        ("e5", "e5"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_text_without_quotes_reads_as_yaml_1_2(text: str, value: object) -> None:
    found = plain_value(text)
    assert type(found) is type(value)
    assert found == value


def test_numbers_may_be_written_as_researchers_write_them(tmp_path: Path, right: str) -> None:
    config = read(tmp_path, right + "optimizer: {learning_rate: 7e-2, steps: 1e3, weight_decay: 1}\n")
    assert config.optimizer.learning_rate == 0.07
    assert config.optimizer.steps == 1000
    assert config.optimizer.weight_decay == 1.0


def test_names_of_views_are_text_whatever_yaml_would_read(tmp_path: Path) -> None:
    text = "corpus: c\nrun: r\nviews:\n  on: {kind: frame}\n  no: {kind: audio}\n"
    assert list(read(tmp_path, text).views) == ["on", "no"]


def test_anchors_and_merge_keys_work_and_mistakes_in_them_have_the_line_they_stand_in(
    tmp_path: Path, complaints: Complaints
) -> None:
    text = """\
corpus: c
run: r
views:
  image: {kind: frame}
  sound_0: &sound
    kind: audio
    window_seconds: 1.5
  sound_5:
    <<: *sound
    at_seconds: 5
"""
    config = read(tmp_path, text)
    assert config.views["sound_5"] == AudioView(kind="audio", at_seconds=5, window_seconds=1.5)
    assert complaints(text.replace("window_seconds", "window")) == [
        "f.yaml:7: views.sound_0.window: unknown key; did you mean window_seconds?",
        "f.yaml:7: views.sound_5.window: unknown key; did you mean window_seconds?",
    ]


def test_strange_yaml_is_refused_in_words(complaints: Complaints, right: str) -> None:
    assert complaints(right + "seed: !random 5\n") == [
        "f.yaml:6: seed: the tag !random is not allowed; remove it"
    ]
    assert complaints(right + "data: &d {workers: *d}\n")[0] == (
        "f.yaml:6: data.workers: contains itself; an alias (*) must stand outside its anchor (&)"
    )
    assert complaints(right + "? [a, b]\n: 3\n") == [
        "f.yaml:6: a key must be one word, not a list or a group"
    ]
    assert complaints(right + "data: {<<: 3}\n") == ["f.yaml:6: data: << must name a group of keys"]


def test_relative_paths_stay_relative_and_a_byte_order_mark_is_skipped(tmp_path: Path, right: str) -> None:
    assert read(tmp_path, "\ufeff" + right).corpus == Path("corpora/toy")


def test_weights_none_is_no_file(tmp_path: Path, right: str) -> None:
    assert read(tmp_path, right + "encoders: {image: {weights: none}}\n").encoders.image.weights is None


def test_interpolation_takes_other_values_of_the_file_with_their_type(
    tmp_path: Path, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVMI_TEST_FOLDER", "/data")
    text = right.replace("checkpoints/toy", "${oc.env:AVMI_TEST_FOLDER}/toy_${seed}")
    text += "seed: 7\nlogging: {evaluate_every_steps: '${optimizer.steps}'}\noptimizer: {steps: 31}\n"
    config = read(tmp_path, text, "seed=8")
    assert config.run == Path("/data/toy_8")
    assert config.logging.evaluate_every_steps == 31


def test_interpolation_that_fails_is_a_mistake_at_its_line(complaints: Complaints, right: str) -> None:
    text = (
        right
        + """\
seed: ${sede}
logging: ${data
data: ${data}
optimizer: {steps: '${oc.env:AVMI_NOT_SET}', learning_rate: '???'}
"""
    )
    assert complaints(text) == [
        "f.yaml:6: seed: ${sede} names a key that is not written in this configuration",
        "f.yaml:7: logging: ${data cannot be read; write ${key.sub}, or \\${ for the characters themselves",
        "f.yaml:8: data: ${data} cannot be filled in: Recursive interpolation detected",
        "f.yaml:9: optimizer.learning_rate: must be given; ??? stands for a value that you choose, "
        "here or as key=value",
        "f.yaml:9: optimizer.steps: ${oc.env:AVMI_NOT_SET} cannot be filled in: KeyError raised while "
        "resolving interpolation: \"Environment variable 'AVMI_NOT_SET' not found\"",
    ]


def test_a_pool_may_be_written_by_its_name_alone(tmp_path: Path, right: str) -> None:
    added = "data: {clips_per_video: 2}\nnegatives:\n  - other_videos\n  - {pool: same_video, weight: 0.5}\n"
    assert read(tmp_path, right + added).negatives == (
        NegativePool(pool="other_videos"),
        NegativePool(pool="same_video", weight=0.5),
    )


def test_the_verb_is_told_by_the_keys(tmp_path: Path, right: str) -> None:
    pretrain, finetune = tmp_path / "a.yaml", tmp_path / "b.yaml"
    pretrain.write_text(right)
    finetune.write_text("corpus: c\nrun: r\n")
    assert schema_of(pretrain) is PretrainConfig
    assert schema_of(finetune, ["checkpoint=x"]) is FinetuneConfig


# No control characters but those that a file name may hold, and no lone surrogates: YAML has neither.
names = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="\ufeff\ufffe\uffff"), min_size=1
)
tricky = st.sampled_from(["yes", "no", "7e-2", "012", "null", "~", "1:30", "${run}", r"\${x}", r"\\${x}", "a: b",
                          "a #b", " a", "<<", "=", "- a", "[a]", "${", "a${b}c\\", "2020-01-01", "1e3", "'", '"'])  # fmt: skip


@given(
    corpus=names | tricky,
    run=names | tricky,
    learning_rate=st.floats(0, 1, exclude_min=True),
    seed=st.integers(0, 2**32 - 1),
    window_seconds=st.floats(0.1, 60),
    weights=st.none() | tricky,
)
@settings(max_examples=40, deadline=None)
def test_what_is_written_reads_as_the_same_configuration(
    tmp_path_factory: pytest.TempPathFactory,
    corpus: str,
    run: str,
    learning_rate: float,
    seed: int,
    window_seconds: float,
    weights: str | None,
) -> None:
    config = PretrainConfig(
        corpus=Path(corpus),
        run=Path(run),
        seed=seed,
        views={
            "image": FrameView(kind="frame", augment="strong"),
            "sound": AudioView(kind="audio", window_seconds=window_seconds),
            "middle": FeatureView(kind="feature", of="image", layer="stage3"),
        },
        pairs=(
            PairSettings(views=("image", "sound"), weight=0.1),
            PairSettings(
                views=("middle", "sound"),
                places="max",
                temperature=Temperature(initial=0.2),
                negatives=(
                    NegativePool(pool="other_videos", weight=learning_rate),
                    NegativePool(pool="same_video", count=2, least_gap_seconds=0.5),
                ),
            ),
        ),
        places="attention",
        negatives=(NegativePool(pool="same_video"),),
        encoders=Encoders(
            image=Backbone(weights=Path(weights) if weights else None), head=Head(hidden_dims=())
        ),
        log_mel=LogMel(floor=1e-10),
        data=Data(batch_clips=6, clips_per_video=3),
        optimizer=PretrainOptimizer(learning_rate=learning_rate, chunk_clips=5),
    )
    path = tmp_path_factory.getbasetemp() / "round.yaml"
    for text in (dump_config(config), describe_config(config)):
        path.write_text(text, encoding="utf-8")
        assert load_config(path, schema=PretrainConfig) == config


def test_a_written_finetune_configuration_reads_as_the_same(tmp_path: Path) -> None:
    config = FinetuneConfig(checkpoint=Path("a"), corpus=Path("b"), run=Path("c"), train="head", view="audio")
    path = tmp_path / "f.yaml"
    path.write_text(dump_config(config))
    assert load_config(path, schema=FinetuneConfig) == config


def test_other_programs_read_the_written_text_as_text(right: str, tmp_path: Path) -> None:
    # PyYAML follows YAML 1.1, where these are a boolean, ninety seconds, an octal number and a date.
    for tricky_name in ("yes", "1:30", "012", "2020-01-01", "7e-2"):
        config = read(tmp_path, right.replace("corpora/toy", f"'{tricky_name}'"))
        assert yaml.safe_load(dump_config(config))["corpus"] == tricky_name


def test_every_key_of_the_description_has_its_meaning_beside_it(right: str, tmp_path: Path) -> None:
    lines = describe_config(read(tmp_path, right)).splitlines()
    without = [line for line in lines if "# " not in line]
    assert without == ["  image:", "  sound:"]  # names of views are the user's own
    meanings = dict(line.split("#", 1) for line in lines if "# " in line)
    assert {k.strip(): v.strip() for k, v in meanings.items()}["size_px: 224"] == (
        "Side of the square picture, in pixels."
    )


@pytest.mark.parametrize("views", ["{}", ""])
def test_no_views_at_all_is_one_mistake_in_words(tmp_path: Path, views: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(f"corpus: a\nrun: b\nviews: {views}\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path, [], schema=PretrainConfig)
    assert str(caught.value).startswith(f"{path}:3: views: must be a group of at least 2 names")
