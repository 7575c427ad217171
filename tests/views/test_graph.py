"""The graph of views and pairs: what it lists, what it refuses, which videos are long enough for it."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avmi.config.parts import Backbone, Encoders
from avmi.config.views import AudioView, FeatureView, FrameView, PairSettings, View
from avmi.corpus.manifest import Manifest, Video
from avmi.errors import ConfigError
from avmi.views.graph import Pair, ViewGraph, build_graph, check_reach, require_trainable

VIEWS: dict[str, View] = {
    "image": FrameView(kind="frame"),
    "motion": FrameView(kind="frame", at_seconds=1.0, frames=5, spacing_seconds=0.5),
    "sound_0": AudioView(kind="audio", window_seconds=2.0),
    "sound_5": AudioView(kind="audio", at_seconds=5.0, window_seconds=1.5),
    "image_mid": FeatureView(kind="feature", of="image", layer="stage3"),
    "sound_out": FeatureView(kind="feature", of="sound_0", layer="output"),
}


def graph(pairs: Any, views: dict[str, View] = VIEWS, **settings: Any) -> ViewGraph:
    chosen = {"bound": "info_nce", "negatives": ("other_videos",), **settings}
    return build_graph(views, pairs, **chosen)


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


def test_a_listed_pair_keeps_its_own_settings_and_takes_the_others_from_the_top() -> None:
    listed = (
        PairSettings(views=("sound_0", "image"), weight=0.25, negatives=("same_video",)),
        PairSettings(views=("image", "motion")),
    )
    views = {name: VIEWS[name] for name in ("image", "motion", "sound_0")}
    found = graph(listed, views, negatives=("other_videos", "same_video"))
    assert found.pairs == (
        Pair("sound_0", "image", 0.25, "info_nce", ("same_video",)),
        Pair("image", "motion", 1.0, "info_nce", ("other_videos", "same_video")),
    )
    assert found.pairs[0].name == "sound_0~image"
    assert found.retrieval_views == ("image", "sound_0")


def test_a_graph_within_one_modality_has_nothing_to_retrieve() -> None:
    assert graph("all", {n: VIEWS[n] for n in ("image", "motion")}).retrieval_views is None
    # A feature is no clip that a user could give.
    middle = (PairSettings(views=("image_mid", "sound_0")),)
    assert graph(middle, {n: VIEWS[n] for n in ("image", "sound_0", "image_mid")}).retrieval_views is None


def test_the_graph_knows_its_signals_features_encoders_and_extent() -> None:
    found = graph("all")
    assert list(found.signals) == ["image", "motion", "sound_0", "sound_5"]
    assert list(found.features) == ["image_mid", "sound_out"]
    assert found.encoder_names == ("image", "motion_5", "audio")
    # The motion spans 1 s ± 1 s, the last sound ends at 6.5 s.
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


def test_feature_views_are_refused_for_training_by_name() -> None:
    with pytest.raises(ConfigError) as caught:
        require_trainable(graph("all"))
    assert str(caught.value) == (
        "views: feature views are checked but not yet trained in this version: "
        "remove views image_mid and sound_out"
    )
    only = {n: VIEWS[n] for n in ("image", "sound_0", "image_mid")}
    with pytest.raises(ConfigError, match=r"remove view image_mid$"):
        require_trainable(graph("all", only))
    require_trainable(graph("all", {n: VIEWS[n] for n in ("image", "sound_0")}))


def video(seconds: float, **changes: Any) -> Video:
    made = Video(
        path="a.mp4", video_id=f"v{seconds}", label="", split="train",
        video_start_seconds=0.0, video_end_seconds=seconds, last_frame_seconds=seconds - 0.04,
        audio_start_seconds=0.0, audio_end_seconds=seconds, frame_rate=25.0, is_variable_frame_rate=False,
        width_px=64, height_px=48, rotation_degrees=0, container="mp4", video_codec="h264",
        audio_codec="aac", sample_rate_hz=16000, channels=1, loudness_dbfs=-20.0, is_silent=False,
        is_still=False, decord_exact=True, decord_reason="", content_hash="", size_bytes=1,
    )  # fmt: skip
    return replace(made, **changes)


def manifest(videos: Sequence[Video]) -> Manifest:
    return Manifest(root=Path("/"), videos=tuple(videos))


SIGNALS = {name: VIEWS[name] for name in ("image", "sound_0", "sound_5")}


def test_one_long_video_of_the_train_split_is_enough() -> None:
    check_reach(graph("cross_modal", SIGNALS), manifest([video(2.5), video(6.6), video(3.0)]))


def test_a_view_that_no_train_video_is_long_enough_for_is_named_with_the_longest_video() -> None:
    videos = [video(2.5), video(6.2), video(30.0, split="test"), video(40.0, split="valid")]
    with pytest.raises(ConfigError) as caught:
        check_reach(graph("cross_modal", SIGNALS), manifest(videos))
    assert str(caught.value) == (
        "views: view sound_5 would never be trained: no video of the train split is as long as "
        "image~sound_5 (6.5 s); the longest of 2 has 6.2 s of picture and sound: use smaller offsets or "
        "windows, or longer videos"
    )


def test_an_offset_that_each_view_alone_could_have_is_still_too_long_for_the_pair() -> None:
    # Around the anchor −95 s of a 10 s video the late sound exists, but no picture does.
    views: dict[str, View] = {
        "image": FrameView(kind="frame"),
        "late": AudioView(kind="audio", at_seconds=100),
    }
    with pytest.raises(
        ConfigError, match=r"views image and late would never be trained.*image~late \(102 s\)"
    ):
        check_reach(graph("all", views), manifest([video(10.0)]))


def test_a_lost_pair_between_trained_views_is_named_too() -> None:
    views: dict[str, View] = {
        "early": AudioView(kind="audio", at_seconds=-4, window_seconds=1),
        "image": FrameView(kind="frame"),
        "late": AudioView(kind="audio", at_seconds=4, window_seconds=1),
    }
    check_reach(graph("cross_modal", views), manifest([video(6.0)]))
    with pytest.raises(
        ConfigError, match=r"^views: no video of the train split is as long as early~late \(9 s\)"
    ):
        check_reach(graph("all", views), manifest([video(6.0)]))


def test_a_feature_reaches_as_far_as_the_view_that_it_taps() -> None:
    views: dict[str, View] = {**SIGNALS, "far": FeatureView(kind="feature", of="sound_5", layer="stage2")}
    pairs = (PairSettings(views=("image", "sound_0")), PairSettings(views=("image", "far")))
    check_reach(graph(pairs, views), manifest([video(6.6)]))
    with pytest.raises(ConfigError, match=r"view far would never be trained.*image~far \(6\.5 s\)"):
        check_reach(graph(pairs, views), manifest([video(6.4)]))


def test_streams_that_do_not_overlap_hold_no_pair() -> None:
    apart = video(4.0, audio_start_seconds=4.5, audio_end_seconds=9.0)
    views = {name: VIEWS[name] for name in ("image", "sound_0")}
    with pytest.raises(ConfigError, match="would never be trained"):
        check_reach(graph("all", views), manifest([apart]))
