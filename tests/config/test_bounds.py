"""Bounds, bottlenecks and private parts in a configuration: what is right, and one sentence for what is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest

from avmi.config.bottleneck import Bottleneck, Private
from avmi.config.bounds import REFUSED, BoundName, PairBound
from avmi.config.load import dump_config, load_config
from avmi.config.schema import PretrainConfig
from avmi.errors import ConfigError
from avmi.views.graph import graph_of

TOP = """\
corpus: c
run: r
views:
  image: {kind: frame}
  sound: {kind: audio}
"""
INSIDE = TOP + "  middle: {kind: feature, of: image, layer: stage3}\n"


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., PretrainConfig]:
    def load(added: str, top: str = TOP) -> PretrainConfig:
        path = tmp_path / "f.yaml"
        path.write_text(f"{top}{added}\n")
        return load_config(path, schema=PretrainConfig)

    return load


def complaint(read: Callable[..., Any], *text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(*text)
    return str(caught.value).split("f.yaml:", 1)[1]


@pytest.mark.parametrize("name", get_args(BoundName))
def test_every_bound_is_chosen_by_its_name_alone_at_the_top_or_in_a_pair(name: str, read: Any) -> None:
    assert graph_of(read(f"bound: {name}")).pairs[0].bound == PairBound(name=name)
    assert graph_of(read(f"pairs: [{{views: [sound, image], bound: {name}}}]")).pairs[0].bound.name == name


def test_numbers_of_a_bound_stand_beside_its_name_and_survive_being_written(
    read: Any, tmp_path: Path
) -> None:
    config = read("bound: {name: interpolated, alpha: 0.02}\npairs: [{views: [image, sound], bound: smile}]")
    assert (config.bound.alpha_or_default, config.bound.clip_or_default_nats) == (0.02, 5.0)
    assert graph_of(config).pairs[0].bound == PairBound(name="smile")
    (tmp_path / "g.yaml").write_text(dump_config(config))
    assert load_config(tmp_path / "g.yaml", schema=PretrainConfig) == config


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_bound_that_cannot_be_maximized_is_refused_with_the_reason_and_its_place(
    name: str, read: Any
) -> None:
    for text in (f"bound: {name}", f"bound: {{name: {name}}}"):
        assert complaint(read, text) == f"6: bound: {REFUSED[name]}"
    listed = complaint(read, f"pairs:\n  - {{views: [image, sound], bound: {name}}}")
    assert listed == f"7: pairs.0.bound: {REFUSED[name]}"


def test_upper_bounds_are_sent_to_the_bottleneck(read: Any) -> None:
    assert "put it under bottleneck.upper" in complaint(read, "bound: rate")
    assert not set(REFUSED) & set(get_args(BoundName))


@pytest.mark.parametrize(
    ("added", "line"),
    [
        (
            "bound: info_nze",
            "6: bound: must be info_nce, info_nce_rows, info_nce_columns, donsker_varadhan, nwj, tuba, "
            "leave_one_out_lower, jensen_shannon, interpolated, smile or sigmoid, got \"info_nze\"; did you mean info_nce? "
            "(Bound on the MI of every pair)",
        ),
        ("bound: {name: nwj, alpha: 0.5}", "6: bound: alpha is for interpolated, not for nwj; remove it"),
        ("bound: {name: tuba, clip_nats: 2}", "6: bound: clip_nats is for smile, not for tuba; remove it"),
        (
            "bound: {name: info_nce, decay: 0.9}",
            "6: bound: decay is for bounds with a running mean, and info_nce needs none; remove it",
        ),
        (
            "bottleneck: {upper: rate, epsilon: 0.2}\nencoders: {head: {posterior: gaussian}}",
            "6: bottleneck: epsilon is for defensive, not for rate; remove it",
        ),
        (
            "bottleneck: {upper: leave_one_out, mixture: 3}\nencoders: {head: {posterior: gaussian}}",
            "6: bottleneck: mixture is for defensive and rate; leave_one_out has no r(z); remove it",
        ),
        (
            "bottleneck: {beta: 0.1}",
            "6: bottleneck: bounds what codes hold by their known density, and without a posterior they have none; "
            "set encoders.head.posterior to gaussian, or remove it",
        ),
        (
            "encoders: {head: {private_dim: 3}}",
            "6: encoders.head: private_dim needs known densities: set posterior to gaussian, or private_dim to 0",
        ),
        (
            "private: {apart: 2}\nencoders: {head: {posterior: gaussian}}",
            "6: private: says how private parts of codes are trained, and there are none; set "
            "encoders.head.private_dim, or remove it",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_line_and_remedy(added: str, line: str, read: Any) -> None:
    assert complaint(read, added) == line


def test_a_view_with_places_takes_one_score_for_two_clips_where_the_bound_does(read: Any) -> None:
    pairs = "pairs: [{views: [middle, sound]}, {views: [image, sound]}]"
    says = (
        "takes one score for each two clips, and middle keeps places that places mean scores one by one; set places to "
        "max or attention, or the bound to info_nce"
    )
    assert complaint(read, f"{pairs}\nbound: nwj", INSIDE) == f"8: bound: nwj {says}"
    own = "pairs: [{views: [middle, sound], bound: tuba}, {views: [image, sound]}]"
    assert complaint(read, own, INSIDE) == f"7: pairs.0.bound: tuba {says}"
    assert graph_of(read(f"{pairs}\nbound: nwj\nplaces: max", INSIDE)).pairs[0].places == "max"
    assert read(f"{pairs}\nbound: info_nce", INSIDE).bound.name == "info_nce"


def test_a_view_with_places_has_no_posterior(read: Any) -> None:
    added = (
        "pairs: [{views: [middle, sound]}, {views: [image, sound]}]\nencoders: {head: {posterior: gaussian}}"
    )
    assert complaint(read, added, INSIDE) == (
        "6: views.middle.layer: keeps places, whose embeddings have no posterior; tap output, or set "
        "encoders.head.posterior to none"
    )


def test_weights_rise_in_a_straight_line_and_stay() -> None:
    bottleneck = Bottleneck(beta=0.4, warmup_fraction=0.25)
    assert [bottleneck.beta_at(p) for p in (0.05, 0.125, 0.25, 1.0)] == pytest.approx([0.08, 0.2, 0.4, 0.4])
    assert Bottleneck(beta=0.4, warmup_fraction=0).beta_at(0.001) == 0.4
    assert Private(apart=3.0, warmup_fraction=0.5).apart_at(0.25) == pytest.approx(1.5)
