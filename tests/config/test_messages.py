"""Every kind of mistake gives one line with its place, its key, what was given and what is allowed."""

import re
import string
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from avmi.config.data import Data
from avmi.config.explain import explain
from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.parts import (
    Backbone,
    Encoders,
    Head,
    ImageInput,
    Logging,
    LogMel,
    Optimizer,
    PretrainLogging,
    PretrainOptimizer,
    Temperature,
)
from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.config.shapes import all_keys
from avmi.config.views import AudioView, FeatureView, FrameView

Complaints = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("added", "line"),
    [
        ("seed: 1.5", "f.yaml:6: seed: must be a whole number, at least 0 and below 4294967296, got 1.5"),
        ("seed: many", 'f.yaml:6: seed: must be a whole number, at least 0 and below 4294967296, got "many"'),
        ("seed: -3", "f.yaml:6: seed: must be a whole number, at least 0 and below 4294967296, got -3"),
        ("seed: true", "f.yaml:6: seed: must be a whole number, at least 0 and below 4294967296, got true"),
        ("seed:", "f.yaml:6: seed: must be a whole number, at least 0 and below 4294967296, got nothing"),
        ("seed: 012", 'f.yaml:6: seed: must be a whole number, at least 0 and below 4294967296, got "012"'),
        (
            'data: {batch_clips: "64"}',
            'f.yaml:6: data.batch_clips: must be a whole number, at least 2, got "64" '
            "(text, because of its quotes)",
        ),
        (
            "image: {size_px: 5}",
            "f.yaml:6: image.size_px: must be a whole number of pixels from 32 to 1024, got 5 "
            "(Side of the square picture, in pixels)",
        ),
        (
            "log_mel: {stft_window_seconds: 0}",
            "f.yaml:6: log_mel.stft_window_seconds: must be a number of seconds, above 0 and at most 0.5, "
            "got 0 (STFT window, in seconds)",
        ),
        (
            "log_mel: {f_max_hz: 9000}",
            "f.yaml:6: log_mel: f_min_hz < f_max_hz <= sample_rate_hz / 2 must hold, "
            "got 20.0 < 9000.0 <= 8000.0",
        ),
        (
            "optimizer: {learning_rate: .nan}",
            "f.yaml:6: optimizer.learning_rate: must be a number, above 0 and at most 1, got .nan",
        ),
        (
            "optimizer: {weight_decay: -.inf}",
            "f.yaml:6: optimizer.weight_decay: must be a number, at least 0, got -.inf",
        ),
        (
            "temperature: {learned: yes}",
            'f.yaml:6: temperature.learned: must be true or false, got "yes"',
        ),
        (
            "temperature: 0.07",
            "f.yaml:6: temperature: must be a group with the keys initial and learned, got 0.07",
        ),
        (
            "data: {decoder: decrod}",
            'f.yaml:6: data.decoder: must be pyav, decord or torchcodec, got "decrod"; did you mean decord?',
        ),
        (
            "data: {decoder_fallback: none}",
            'f.yaml:6: data.decoder_fallback: must be pyav, decord or torchcodec, or null for none, got "none"',
        ),
        (
            "encoders: {image: {weights: 3}}",
            "f.yaml:6: encoders.image.weights: must be a path, or null for none, got 3",
        ),
        (
            "encoders: {head: {hidden_dims: [7, 0]}}",
            "f.yaml:6: encoders.head.hidden_dims.1: must be a whole number, at least 1, got 0",
        ),
        (
            "encoders: {head: {hidden_dims: 512}}",
            "f.yaml:6: encoders.head.hidden_dims: must be a list, each a whole number, at least 1, got 512",
        ),
        (
            "negatives: []",
            "f.yaml:6: negatives: must be a list of at least 1, each other_videos, same_video, or a group "
            "with the keys pool, weight, count and least_gap_seconds, got []",
        ),
        (
            "negatives: other_videos",
            "f.yaml:6: negatives: must be a list of at least 1, each other_videos, same_video, or a group "
            'with the keys pool, weight, count and least_gap_seconds, got "other_videos"; write [other_videos]',
        ),
        (
            "negatives: [other_video]",
            'f.yaml:6: negatives.0: must be other_videos or same_video, got "other_video"; '
            "did you mean other_videos?",
        ),
        (
            "negatives:\n  - other_videos\n  - 3",
            "f.yaml:8: negatives.1: must be other_videos, same_video, or a group with the keys pool, weight, "
            "count and least_gap_seconds, got 3",
        ),
        (
            "negatives: [{pool: other_video, weight: 2}]",
            'f.yaml:6: negatives.0.pool: must be other_videos or same_video, got "other_video"; '
            "did you mean other_videos?",
        ),
        (
            "negatives: [{count: 2}]",
            "f.yaml:6: negatives.0.pool: missing; it must be other_videos or same_video",
        ),
        (
            "negatives: [other_videos, {pool: other_videos, count: 2}]",
            "f.yaml:6: negatives.1: count and least_gap_seconds are for same_video; other_videos takes every "
            "clip",
        ),
        (
            "negatives: [{pool: other_videos, weigth: 2}]",
            "f.yaml:6: negatives.0.weigth: unknown key; did you mean weight?",
        ),
        (
            "pairs:\n  - views: [image, sound]\n    negatives: [same_vide]",
            'f.yaml:8: pairs.0.negatives.0: must be other_videos or same_video, got "same_vide"; '
            "did you mean same_video?",
        ),
        (
            "pairs: [{views: [image, sound], temperature: 0.1}]",
            "f.yaml:6: pairs.0.temperature: must be a group with the keys initial and learned, or null for "
            "none, got 0.1",
        ),
        ("places: meen", 'f.yaml:6: places: must be mean, max or attention, got "meen"; did you mean mean?'),
        ("sed: 3", "f.yaml:6: sed: unknown key; did you mean seed?"),
        ("data:\n  batch_clip: 8", "f.yaml:7: data.batch_clip: unknown key; did you mean batch_clips?"),
        ("learning_rate: 1", "f.yaml:6: learning_rate: unknown key; did you mean optimizer.learning_rate?"),
        ("lerning_rate: 1", "f.yaml:6: lerning_rate: unknown key; did you mean optimizer.learning_rate?"),
        (
            "encoders: {head: {width: 8}}",
            "f.yaml:6: encoders.head.width: unknown key; did you mean encoders.image.width?",
        ),
        (
            "temperature: {qqqqq: 1}",
            "f.yaml:6: temperature.qqqqq: unknown key; allowed here are initial and learned",
        ),
        ("seed: 1\nseed: 2", "f.yaml:7: seed: given twice, first in line 6; keep one"),
        (
            "pairs: cross_modl",
            "f.yaml:6: pairs: must be cross_modal, all, or a list of groups with the "
            'keys views, weight, bound, temperature, places and negatives, got "cross_modl"; did you mean cross_modal?',
        ),
        (
            "pairs: 3",
            "f.yaml:6: pairs: must be cross_modal, all, or a list of groups with the keys "
            "views, weight, bound, temperature, places and negatives, got 3",
        ),
        (
            "pairs: {views: [image, sound]}",
            "f.yaml:6: pairs: must be cross_modal, all, or a list of groups "
            "with the keys views, weight, bound, temperature, places and negatives, got a group with the key views",
        ),
        (
            "pairs:",
            "f.yaml:6: pairs: must be cross_modal, all, or a list of groups with the keys "
            "views, weight, bound, temperature, places and negatives, got nothing",
        ),
        (
            "pairs:\n  - {views: [image, sound], wieght: 2}",
            "f.yaml:7: pairs.0.wieght: unknown key; did you mean weight?",
        ),
        (
            "pairs:\n  - [image, sound]",
            "f.yaml:7: pairs.0: must be a group with the keys views, weight, bound, temperature, places and negatives, "
            "got [image, sound]; write {views: [image, sound]}",
        ),
        (
            "pairs: [{views: [image]}]",
            "f.yaml:6: pairs.0.views: must be a list of exactly 2, each text, got [image]",
        ),
        (
            "pairs: [{views: [image, sound, image]}]",
            "f.yaml:6: pairs.0.views: must be a list of exactly 2, each text, got [image, sound, image]",
        ),
        (
            "pairs: [{views: [image, sound], weight: 0}]",
            "f.yaml:6: pairs.0.weight: must be a number, above 0, got 0",
        ),
    ],
)
def test_one_mistake_is_one_line(complaints: Complaints, right: str, added: str, line: str) -> None:
    lines = complaints(right + added + "\n")
    assert len(lines) == 1
    # What follows in brackets is the description of the field.
    assert lines[0] == line or (lines[0].startswith(line + " (") and lines[0].endswith(")"))


@pytest.mark.parametrize(
    ("view", "line"),
    [
        (
            "{kind: audi}",
            'f.yaml:6: views.x.kind: must be frame, audio or feature, got "audi"; did you mean audio?',
        ),
        ("{kind: 7}", "f.yaml:6: views.x.kind: must be frame, audio or feature, got 7"),
        ("{at_seconds: 1}", "f.yaml:6: views.x.kind: missing; it must be frame, audio or feature"),
        (
            "5",
            "f.yaml:6: views.x: must be a group with a kind: frame, audio or feature, got 5 (Views by name)",
        ),
        (
            "",
            "f.yaml:6: views.x: must be a group with a kind: frame, audio or feature, got nothing (Views by name)",
        ),
        (
            "{kind: audio, window_secnds: 3}",
            "f.yaml:6: views.x.window_secnds: unknown key; did you mean window_seconds?",
        ),
        (
            "{kind: audio, at_seconds: 9, frames: 3}",
            "f.yaml:6: views.x.frames: unknown key for a view of kind audio, which has kind, at_seconds, "
            "window_seconds, augment and encoder",
        ),
        (
            "{kind: audio, window_seconds: 0.01}",
            "f.yaml:6: views.x.window_seconds: must be a number of seconds from 0.1 to 60, got 0.01 "
            "(Length of the window in seconds; 2 s is what AVID and ImageBind cut)",
        ),
        (
            "{kind: feature, of: image}",
            "f.yaml:6: views.x.layer: missing; it must be text "
            "(Layer of that encoder, for example layer3. A layer in the middle keeps its places (rows and columns, "
            "or frequency and time); output is the pooled vector)",
        ),
    ],
)
def test_a_wrong_view_is_one_line_without_the_other_kinds(
    complaints: Complaints, right: str, view: str, line: str
) -> None:
    assert complaints(f"{right}  x: {view}\n") == [line]


def test_all_mistakes_come_at_once_in_the_order_of_the_file_and_overrides_last(
    complaints: Complaints,
) -> None:
    text = """\
corpus: c
sed: 3
views:
  image: {kind: frame}
  sound:
    kind: audio
    window_secnds: 2
  echo: {kind: audio, at_seconds: far}
pairs:
  - {views: [image, sond]}
data: {workers: many}
"""
    found = complaints(text, "optimizer.stpes=5", "data.decoder=vlc")
    assert [line.split(": ")[:2] for line in found] == [
        ["f.yaml", "run"],
        ["f.yaml:2", "sed"],
        ["f.yaml:7", "views.sound.window_secnds"],
        ["f.yaml:8", "views.echo.at_seconds"],
        ["f.yaml:10", "pairs.0.views.1"],
        ["f.yaml:11", "data.workers"],
        ["override `data.decoder=vlc`", "data.decoder"],
        ["override `optimizer.stpes=5`", "optimizer.stpes"],
    ]
    assert found[0] == (
        "f.yaml: run: missing; it must be a path (Run folder to write; must be new, empty, or resumed)"
    )
    assert found[4] == "f.yaml:10: pairs.0.views.1: there is no view sond; did you mean sound?"


def test_views_that_could_not_be_read_are_not_called_repeated(complaints: Complaints) -> None:
    # Without its misspelt offset, echo looks like sound.
    text = "corpus: c\nrun: r\nviews:\n  image: {kind: frame}\n  sound: {kind: audio}\n  echo: {kind: audio, at_secnds: 5}\n"
    assert complaints(text) == ["f.yaml:6: views.echo.at_secnds: unknown key; did you mean at_seconds?"]


def test_a_long_value_is_shortened(complaints: Complaints, right: str) -> None:
    (line,) = complaints(f"{right}seed: {'x' * 5000}\n")
    assert len(line) < 250
    assert "xxx…" in line


def test_a_single_view_is_too_few(complaints: Complaints) -> None:
    assert complaints("corpus: c\nrun: r\nviews: {a: {kind: frame}}\n") == [
        "f.yaml:3: views: must be a group of at least 2 names, each a group with a kind: frame, audio or "
        "feature, got a group with the key a (Views by name)",
    ]


def test_a_configuration_of_the_other_verb_is_named(complaints: Complaints, right: str) -> None:
    other = "checkpoint: a\ncorpus: c\nrun: r\n"
    assert complaints(other) == ["f.yaml is a configuration of another verb: run `avmi finetune f.yaml`"]
    assert complaints(right, schema=FinetuneConfig) == [
        "f.yaml is a configuration of another verb: run `avmi pretrain f.yaml`"
    ]


GROUPS: tuple[type[BaseModel], ...] = (
    PretrainConfig,
    FinetuneConfig,
    FrameView,
    AudioView,
    FeatureView,
    PairSettings,
    NegativePool,
    ImageInput,
    LogMel,
    Backbone,
    Head,
    Encoders,
    Temperature,
    Data,
    Optimizer,
    PretrainOptimizer,
    Logging,
    PretrainLogging,
)
KEYS = [(group, name) for group in GROUPS for name in group.model_fields]


@st.composite
def typos(draw: st.DrawFn) -> tuple[type[BaseModel], str, str]:
    """A key of the schema and the same with one letter more, less, or another."""
    schema, name = draw(st.sampled_from(KEYS))
    at = draw(st.integers(0, len(name) - 1))
    letter = draw(st.sampled_from(string.ascii_lowercase + "_"))
    kinds = [name[:at] + letter + name[at:], name[:at] + letter + name[at + 1 :], name[:at] + name[at + 1 :]]
    typo = draw(st.sampled_from(kinds).filter(lambda word: word and word not in schema.model_fields))
    return schema, name, typo


@given(typos())
@example((FeatureView, "of", "uf"))
@example((FeatureView, "of", "o"))
@example((PretrainConfig, "run", "rnn"))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_typo_of_one_letter_is_answered_with_did_you_mean(case: tuple[Any, str, str]) -> None:
    schema, _, typo = case
    with pytest.raises(ValidationError) as caught:
        schema.model_validate({typo: 1})
    found = [m for m in explain(schema, {typo: 1}, caught.value.errors()) if m.keys == (typo,)]
    assert len(found) == 1
    suggestion = re.fullmatch(r"unknown key; did you mean (.+)\?", found[0].message)
    assert suggestion is not None
    assert suggestion[1].split(".")[-1] in {str(keys[-1]) for keys in all_keys(schema)}
