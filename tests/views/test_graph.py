"""The graph of views and pairs: what it lists, what it refuses, what retrieval takes from it."""

from itertools import combinations, product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmi.config.bounds import INFO_NCE
from avmi.config.pair_settings import OTHER_VIDEOS, NegativePool, PairSettings
from avmi.config.parts import Backbone, Encoders, Temperature
from avmi.config.views import AudioView, FeatureView, FrameView, View
from avmi.errors import ConfigError
from avmi.views.graph import Pair, ViewGraph, build_graph, graph_of

VIEWS: dict[str, View] = {
    "image": FrameView(kind="frame"),
    "motion": FrameView(kind="frame", at_seconds=1.0, frames=5, spacing_seconds=0.5),
    "sound_0": AudioView(kind="audio", window_seconds=2.0),
    "sound_5": AudioView(kind="audio", at_seconds=5.0, window_seconds=1.5),
    "image_mid": FeatureView(kind="feature", of="image", layer="stage3"),
    "sound_out": FeatureView(kind="feature", of="sound_0", layer="output"),
}


def graph(pairs: Any, views: dict[str, View] = VIEWS, **settings: Any) -> ViewGraph:
    return build_graph(views, pairs, **settings)


def names(found: ViewGraph) -> set[frozenset[str]]:
    return {frozenset((pair.first, pair.second)) for pair in found.pairs}


def test_cross_modal_pairs_every_picture_with_every_sound_and_features_go_with_what_they_tap() -> None:
    pictures, sounds = ("image", "motion", "image_mid"), ("sound_0", "sound_5", "sound_out")
    assert [pair.name for pair in graph("cross_modal").pairs] == [
        f"{a}~{b}" for a, b in product(pictures, sounds)
    ]


def test_all_pairs_every_two_views_but_a_view_with_its_own_output() -> None:
    expected = {frozenset(two) for two in combinations(VIEWS, 2)} - {frozenset(("sound_0", "sound_out"))}
    found = graph("all")
    assert names(found) == expected
    assert len(found.pairs) == len(expected)


view_lists = st.lists(st.sampled_from(["frame", "audio"]), min_size=2, max_size=7)


@given(view_lists)
@settings(max_examples=40, deadline=None)
def test_the_number_of_pairs_is_that_of_combinatorics(kinds: list[str]) -> None:
    views: dict[str, View] = {
        f"v{i}": FrameView(kind="frame", at_seconds=i)
        if k == "frame"
        else AudioView(kind="audio", at_seconds=i)
        for i, k in enumerate(kinds)
    }
    count = len(kinds)
    assert len(graph("all", views).pairs) == count * (count - 1) // 2
    frames = kinds.count("frame")
    if 0 < frames < count:
        assert len(graph("cross_modal", views).pairs) == frames * (count - frames)
    else:
        with pytest.raises(ConfigError, match="cross_modal pairs pictures with sounds"):
            graph("cross_modal", views)


MOMENTS = NegativePool(pool="same_video", weight=3, count=2)


def test_a_listed_pair_keeps_its_own_settings_and_takes_the_others_from_the_top() -> None:
    own = Temperature(initial=0.2)
    listed = (
        PairSettings(views=("sound_0", "image"), weight=0.25, negatives=(MOMENTS,), temperature=own),
        PairSettings(views=("image_mid", "motion")),
        PairSettings(views=("image_mid", "sound_0"), places="max"),
        PairSettings(views=("image", "motion")),
    )
    views = {name: VIEWS[name] for name in ("image", "motion", "sound_0", "image_mid")}
    top = (OTHER_VIDEOS, MOMENTS)
    found = graph(listed, views, negatives=top, places="attention")
    assert found.pairs == (
        Pair("sound_0", "image", 0.25, INFO_NCE, (MOMENTS,), "attention", own),
        Pair("image_mid", "motion", 1.0, INFO_NCE, top, "attention", None),
        Pair("image_mid", "sound_0", 1.0, INFO_NCE, top, "max", None),
        Pair("image", "motion", 1.0, INFO_NCE, top, "attention", None),
    )
    assert found.pairs[0].name == "sound_0~image"
    assert found.retrieval_views == ("image", "sound_0")


def test_every_pool_is_a_term_and_their_weights_sum_up_to_that_of_the_pair() -> None:
    pair = Pair("image", "sound_0", 0.6, INFO_NCE, (OTHER_VIDEOS, MOMENTS), "mean", None)
    assert pair.terms == {"image~sound_0": OTHER_VIDEOS, "image~sound_0@same_video": MOMENTS}
    assert [pair.weight_of(pool) for pool in pair.negatives] == pytest.approx([0.15, 0.45])
    alone = Pair("image", "sound_0", 0.6, INFO_NCE, (MOMENTS,), "mean", None)
    assert list(alone.terms) == ["image~sound_0@same_video"]
    assert alone.weight_of(MOMENTS) == pytest.approx(0.6)


def test_a_configuration_and_its_parts_give_one_graph(tiny_config: Any, tmp_path: Any) -> None:
    config = tiny_config(
        tmp_path,
        tmp_path,
        negatives=["same_video", "other_videos"],
        places="max",
        data={"clips_per_video": 2},
    )
    found = graph_of(config)
    assert [pair.name for pair in found.pairs] == ["image~sound"]
    assert found.pairs[0].negatives == (NegativePool(pool="same_video"), OTHER_VIDEOS)
    assert found.pairs[0].places == "max"


def test_a_graph_within_one_modality_has_nothing_to_retrieve() -> None:
    assert graph("all", {n: VIEWS[n] for n in ("image", "motion")}).retrieval_views is None
    # A feature is no clip that a user could give.
    middle = tuple(PairSettings(views=(name, "image_mid")) for name in ("image", "sound_0"))
    assert graph(middle, {n: VIEWS[n] for n in ("image", "sound_0", "image_mid")}).retrieval_views is None


def test_retrieval_takes_the_first_pair_of_an_unaugmented_still_and_a_sound() -> None:
    views: dict[str, View] = {
        "motion": FrameView(kind="frame", frames=3),
        "bright": FrameView(kind="frame", augment="strong"),
        "late": FrameView(kind="frame", at_seconds=2.0),
        "masked": AudioView(kind="audio", augment="light"),
        "sound_0": AudioView(kind="audio"),
    }
    found = graph("all", views)
    assert found.cross_modal[0] == ("motion", "masked")
    assert found.retrieval_views == ("late", "sound_0")
    stack = graph("all", {name: views[name] for name in ("motion", "masked")})
    assert stack.retrieval_views == ("motion", "masked")
    drawn = graph("all", {name: views[name] for name in ("motion", "bright", "sound_0")})
    assert drawn.retrieval_views == ("bright", "sound_0")


def test_views_name_their_encoders_and_share_them_by_name() -> None:
    views: dict[str, View] = {
        "image": FrameView(kind="frame"),
        "later": FrameView(kind="frame", at_seconds=1.0, encoder="second"),
        "motion": FrameView(kind="frame", frames=3),
        "sound": AudioView(kind="audio"),
        "late": AudioView(kind="audio", at_seconds=2.0),
    }
    assert graph("all", views).encoder_names == ("image", "second", "motion_3", "audio")


def test_the_graph_knows_its_signals_features_encoders_and_extent() -> None:
    found = graph("all")
    assert list(found.signals) == ["image", "motion", "sound_0", "sound_5"]
    assert list(found.features) == ["image_mid", "sound_out"]
    assert found.encoder_names == ("image", "motion_5", "audio")
    # The motion is at 1 s ± 1 s, the last sound ends at 6.5 s.
    assert found.extent_seconds == (0.0, 6.5)
    assert [found.modality(name) for name in VIEWS] == ["image", "image", "audio", "audio", "image", "audio"]
    assert [found.signal_of(name) for name in ("motion", "sound_out")] == ["motion", "sound_0"]


def test_mistakes_come_all_at_once_with_their_keys() -> None:
    views = {**VIEWS, "Echo": AudioView(kind="audio", at_seconds=9)}
    listed = (PairSettings(views=("image", "image")), PairSettings(views=("image", "sound_9")))
    with pytest.raises(ConfigError) as caught:
        graph(listed, views)
    assert str(caught.value).splitlines() == [
        "views.Echo: the name of a view starts with a small letter and goes on with small letters, digits "
        "and _; call it echo",
        "pairs.0.views: image is paired with itself; name two views",
        "pairs.1.views.1: there is no view sound_9; did you mean sound_5?",
    ]


def test_layers_are_checked_when_the_backbones_are_given() -> None:
    assert graph("all", encoders=Encoders()).pairs
    with pytest.raises(
        ConfigError, match=r"views\.image_mid\.layer: the encoder of image \(resnet18\) has no"
    ):
        graph("all", encoders=Encoders(image=Backbone(name="resnet18")))
