"""Mistakes between keys: each is found, with its own line, and right graphs have none."""

from collections.abc import Callable
from typing import Any

import pytest

from avmi.config.checks import check_graph, check_negatives, check_windows
from avmi.config.data import Data
from avmi.config.layers import LAYERS, OUTPUT
from avmi.config.pair_settings import NegativePool, PairSettings
from avmi.config.parts import Backbone, Encoders, LogMel
from avmi.config.views import AudioView, FeatureView, FrameView, View

Complaints = Callable[..., list[str]]


def frame(**settings: Any) -> FrameView:
    return FrameView(kind="frame", **settings)


def audio(**settings: Any) -> AudioView:
    return AudioView(kind="audio", **settings)


def feature(of: str, layer: str, **settings: Any) -> FeatureView:
    return FeatureView(kind="feature", of=of, layer=layer, **settings)


def pair(first: str, second: str, **settings: Any) -> PairSettings:
    return PairSettings(views=(first, second), **settings)


def as_pair(two: tuple[str, str] | PairSettings) -> PairSettings:
    return two if isinstance(two, PairSettings) else pair(*two)


BOTH: dict[str, View] = {"image": frame(), "sound": audio()}
RESNETS = Encoders(image=Backbone(name="resnet18"), audio=Backbone(name="mobilenet_v3_small"))


@pytest.mark.parametrize(
    ("views", "pairs", "line"),
    [
        (
            {**BOTH, "Sound-5": audio(at_seconds=5)},
            "all",
            "views.Sound-5: the name of a view starts with a small letter and goes on with small letters, "
            "digits and _; call it sound_5",
        ),
        (
            {**BOTH, "5": audio(at_seconds=5)},
            "all",
            "views.5: the name of a view starts with a small letter and goes on with small letters, "
            "digits and _; call it view_5",
        ),
        (
            {**BOTH, "copy": audio(at_seconds=0.0)},
            "all",
            "views.copy: the same as view sound in everything, so that it adds nothing; change one or "
            "remove it",
        ),
        (
            {**BOTH, "still": frame(spacing_seconds=9)},  # the spacing of one picture says nothing
            "all",
            "views.still: the same as view image in everything, so that it adds nothing; change one or "
            "remove it",
        ),
        (
            {**BOTH, "middle": feature("imag", "layer3")},
            "all",
            "views.middle.of: there is no view imag; did you mean image?",
        ),
        (
            {**BOTH, "middle": feature("zzz", "layer3")},
            "all",
            "views.middle.of: there is no view zzz; it can be image or sound",
        ),
        (
            {**BOTH, "middle": feature("image", "layer3"), "deep": feature("middle", "layer3")},
            "all",
            "views.deep.of: middle is a feature itself; name a frame or audio view: image or sound",
        ),
        (
            {**BOTH, "middle": feature("image", "layr3")},
            "all",
            "views.middle.layer: the encoder of image (resnet18) has no layer layr3; did you mean layer3? "
            "it has layer1, layer2, layer3, layer4 and output",
        ),
        (
            {**BOTH, "middle": feature("sound", "stage2")},
            "all",
            "views.middle.layer: the encoder of sound (mobilenet_v3_small) has no layer stage2; it has "
            "features.0, features.1, features.2, features.3, features.4, features.5, features.6, "
            "features.7, features.8, features.9, features.10, features.11, features.12 and output",
        ),
        (BOTH, [("image", "sond")], "pairs.0.views.1: there is no view sond; did you mean sound?"),
        (BOTH, [("x", "sound")], "pairs.0.views.0: there is no view x; the views are image and sound"),
        (BOTH, [("image", "image")], "pairs.0.views: image is paired with itself; name two views"),
        (
            BOTH,
            [("image", "sound"), ("sound", "image")],
            "pairs.1: sound and image are a pair already, at pairs.0; name each pair once and give it a "
            "weight",
        ),
        (
            {**BOTH, "out": feature("image", OUTPUT)},
            [("image", "sound"), ("image", "out")],
            "pairs.1.views: out is the very output that image is embedded from, so that the pair says "
            "nothing; tap an earlier layer or pair it with another view",
        ),
        (
            {"a": frame(), "b": frame(at_seconds=1)},
            "cross_modal",
            "pairs: cross_modal pairs pictures with sounds, but all views (a and b) are of the picture; "
            "add an audio view, or write `pairs: all`",
        ),
        (
            {"a": audio(), "b": feature("a", "features.3")},
            "cross_modal",
            "pairs: cross_modal pairs pictures with sounds, but all views (a and b) are of the sound; "
            "add a frame view, or write `pairs: all`",
        ),
        (
            {"a": audio(), "b": feature("a", OUTPUT)},
            "all",
            "pairs: no two of the views a and b say anything about each other; add a view",
        ),
        (BOTH, [], "pairs: the list is empty; name at least one pair, or write cross_modal or all"),
        (
            {**BOTH, "late": audio(at_seconds=5)},
            [("image", "sound")],
            "views.late: is in no pair, so that nothing would train its encoder; pair it with another view "
            "or remove it",
        ),
        (
            {**BOTH, "turned": frame(at_seconds=0.0, encoder="second")},  # another encoder is no other view
            "all",
            "views.turned: the same as view image in everything, so that it adds nothing; change one or "
            "remove it",
        ),
        (
            {**BOTH, "twin": feature("image", "layer2"), "middle": feature("image", "layer2")},
            "all",
            "views.middle: the same as view twin in everything, so that it adds nothing; change one or "
            "remove it",
        ),
        (
            {**BOTH, "motion": frame(frames=3, encoder="image")},
            "all",
            "views.motion.encoder: shares the encoder image with view image, which has frames 1; name "
            "another encoder",
        ),
        (
            {**BOTH, "a": frame(frames=3), "b": frame(frames=3, motion="differences")},
            "all",
            "views.b: shares the encoder motion_3 with view a, which has motion stack; name another encoder",
        ),
        (
            {"image": frame(encoder="shared"), "sound": audio(encoder="shared")},
            "all",
            "views.sound.encoder: shares the encoder shared with view image, which has kind frame; name "
            "another encoder",
        ),
        (
            {**BOTH, "out": feature("image", OUTPUT, grid=2)},
            "cross_modal",
            "views.out.grid: output has no places to average; remove it",
        ),
        (
            {**BOTH, "middle": feature("image", "layer2"), "low": feature("image", "layer1")},
            [("middle", "sound"), ("low", "sound")],
            "views.image: is in no pair itself: middle at layer2 and low at layer1 would train its encoder up "
            "to there, and nothing its embedding; put it into a pair, too",
        ),
        (
            {**BOTH, "out": feature("image", OUTPUT)},
            [("out", "sound")],
            "views.image: is in no pair itself: out at output would train its encoder up to there, and "
            "nothing its embedding; put it into a pair, too",
        ),
        (
            {**BOTH, "out": feature("image", OUTPUT)},
            [pair("image", "sound"), pair("out", "sound", places="max")],
            "pairs.1.places: neither out nor sound keeps places, so that there is nothing to score over; "
            "remove it, or pair a feature view from the middle of an encoder",
        ),
    ],
)
def test_every_wrong_graph_has_its_line(
    views: dict[str, View], pairs: str | list[tuple[str, str]] | list[PairSettings], line: str
) -> None:
    choice: Any = pairs if isinstance(pairs, str) else tuple(map(as_pair, pairs))
    assert [m.line for m in check_graph(views, choice, encoders=RESNETS)] == [line]


@pytest.mark.parametrize(
    ("views", "pairs"),
    [
        (BOTH, "cross_modal"),
        (BOTH, "all"),
        # Two random crops of one picture (SimCLR).
        ({"a": frame(augment="strong"), "b": frame(augment="strong")}, "all"),
        # A tapped view needs no pair of its own where another one trains the whole of its encoder.
        (
            {**BOTH, "late": frame(at_seconds=2), "middle": feature("image", "layer2")},
            [("middle", "sound"), ("late", "sound")],
        ),
        # One layer as finely and as coarsely, one moment as it is and as what moves.
        (
            {**BOTH, "fine": feature("image", "layer2"), "coarse": feature("image", "layer2", grid=2)},
            "all",
        ),
        (
            {"a": frame(frames=2), "b": frame(frames=2, motion="differences", encoder="moves"), "c": audio()},
            "all",
        ),
        ({**BOTH, "late": audio(at_seconds=3, window_seconds=0.5, encoder="audio")}, "all"),
        (
            {**BOTH, "middle": feature("image", "layer2")},
            [("image", "sound"), pair("sound", "middle", places="max")],
        ),
        # Deep InfoMax: the places in the middle against the whole.
        ({**BOTH, "middle": feature("image", "layer2")}, [("middle", "image"), ("image", "sound")]),
        ({"still": frame(), "motion": frame(frames=3), "sound": audio()}, "all"),
    ],
)
def test_right_graphs_have_no_mistakes(
    views: dict[str, View], pairs: str | list[tuple[str, str] | PairSettings]
) -> None:
    choice: Any = pairs if isinstance(pairs, str) else tuple(map(as_pair, pairs))
    assert check_graph(views, choice, encoders=RESNETS) == []


def test_layers_are_not_checked_when_the_backbones_are_unknown() -> None:
    assert check_graph({**BOTH, "middle": feature("image", "nonsense")}, "all") == []


def test_every_backbone_has_its_layers() -> None:
    allowed = Backbone.model_json_schema()["properties"]["name"]["enum"]
    assert set(LAYERS) == set(allowed)


def test_a_window_shorter_than_the_stft_is_found() -> None:
    log_mel = LogMel(stft_window_seconds=0.3)
    views = {"image": frame(), "short": audio(window_seconds=0.2), "long": audio(window_seconds=0.3)}
    assert [m.line for m in check_windows(views, log_mel)] == [
        "views.short.window_seconds: 0.2 s of sound are shorter than one STFT window "
        "(log_mel.stft_window_seconds, 0.3 s)"
    ]


def test_negatives_of_the_same_video_need_several_clips_of_it() -> None:
    same, others = NegativePool(pool="same_video"), NegativePool(pool="other_videos")
    pairs = (pair("a", "b"), pair("a", "c", negatives=(others, same)))
    alone, several = Data(batch_clips=6, clips_per_video=1), Data(batch_clips=6, clips_per_video=3)
    message = (
        "same_video finds no negatives, because data.clips_per_video is 1; raise that, or take other_videos"
    )
    assert [m.line for m in check_negatives(pairs, (same,), alone)] == [
        f"negatives.0: {message}",
        f"pairs.1.negatives.1: {message}",
    ]
    assert check_negatives(pairs, (same,), several) == []
    assert check_negatives("all", (others,), alone) == []


def test_a_count_needs_as_many_clips_of_a_video_beside_the_clip_itself() -> None:
    several = Data(batch_clips=6, clips_per_video=3)
    assert check_negatives("all", (NegativePool(pool="same_video", count=2),), several) == []
    assert [m.line for m in check_negatives("all", (NegativePool(pool="same_video", count=3),), several)] == [
        "negatives.0: count 3 asks for more moments than a video has beside the clip itself: "
        "data.clips_per_video is 3; raise that, or take at most 2"
    ]


def test_a_pool_is_named_once() -> None:
    others = NegativePool(pool="other_videos")
    twice = (others, NegativePool(pool="other_videos", weight=2))
    message = "the pool other_videos is named twice; name it once and give it a weight"
    assert [m.line for m in check_negatives("all", twice, Data())] == [f"negatives.1: {message}"]
    listed = (pair("a", "b", negatives=twice),)
    assert [m.line for m in check_negatives(listed, (others,), Data())] == [f"pairs.0.negatives.1: {message}"]


def test_backbones_are_checked_with_the_graph() -> None:
    video = Encoders(image=Backbone(name="mc3_18"))
    assert [m.keys for m in check_graph(BOTH, "all", encoders=video)] == [("encoders", "image", "name")]
    assert check_graph(BOTH, "all") == []
    # A view whose frames could not be read is not taken for a still.
    motion = {"motion": frame(), "other": frame(frames=2, at_seconds=1), "sound": audio()}
    assert check_graph(motion, "all", encoders=video, unread={"motion"}) == []


def test_graph_mistakes_come_with_their_lines_beside_the_others(complaints: Complaints) -> None:
    text = """\
corpus: c
run: r
views:
  image: {kind: frame}
  sound: {kind: audio, window_seconds: 0.1}
  middle:
    kind: feature
    of: image
    layer: stage9
pairs:
  - {views: [image, sound]}
  - views: [middle, sund]
log_mel: {stft_window_seconds: 0.2, mel_bin: 32}
negatives: [same_video]
"""
    assert complaints(text) == [
        "f.yaml:5: views.sound.window_seconds: 0.1 s of sound are shorter than one STFT window "
        "(log_mel.stft_window_seconds, 0.2 s)",
        "f.yaml:9: views.middle.layer: the encoder of image (small_conv) has no layer stage9; "
        "did you mean stage4? it has stage1, stage2, stage3, stage4 and output",
        "f.yaml:12: pairs.1.views.1: there is no view sund; did you mean sound?",
        "f.yaml:13: log_mel.mel_bin: unknown key; did you mean mel_bins?",
        "f.yaml:14: negatives.0: same_video finds no negatives, because data.clips_per_video is 1; raise "
        "that, or take other_videos",
    ]


def test_every_mistake_of_views_and_pairs_has_the_line_that_it_stands_in(complaints: Complaints) -> None:
    text = """\
corpus: c
run: r
views:
  image: {kind: frame}
  again: {kind: frame, at_seconds: 0}
  motion:
    kind: frame
    frames: 3
    encoder: image
  sound: {kind: audio}
  deep: {kind: feature, of: sond, layer: output}
  flat: {kind: feature, of: sound, layer: output, grid: 3}
pairs:
  - {views: [image, sound], places: max}
  - {views: [image, image]}
  - views: [sound, image]
    negatives: [other_videos, {pool: same_video, count: 9}]
  - {views: [again, sound], negatives: [same_video, same_video]}
  - {views: [motion, sund]}
  - {views: [flat, image]}
data: {batch_clips: 8, clips_per_video: 4}
negatives: [other_videos, other_videos]
"""
    assert [line.split(": ")[:2] for line in complaints(text)] == [
        ["f.yaml:5", "views.again"],
        ["f.yaml:9", "views.motion.encoder"],
        ["f.yaml:11", "views.deep.of"],
        ["f.yaml:12", "views.flat.grid"],
        ["f.yaml:14", "pairs.0.places"],
        ["f.yaml:15", "pairs.1.views"],
        ["f.yaml:16", "pairs.2"],
        ["f.yaml:17", "pairs.2.negatives.1"],
        ["f.yaml:18", "pairs.3.negatives.1"],
        ["f.yaml:19", "pairs.4.views.1"],
        ["f.yaml:22", "negatives.1"],
    ]


def test_an_encoder_that_only_a_tap_would_train_has_the_line_of_its_view(complaints: Complaints) -> None:
    text = """\
corpus: c
run: r
views:
  image: {kind: frame}
  sound: {kind: audio}
  middle: {kind: feature, of: image, layer: stage2}
  alone: {kind: frame, at_seconds: 3, encoder: second}
pairs:
  - {views: [middle, sound]}
"""
    assert complaints(text) == [
        "f.yaml:4: views.image: is in no pair itself: middle at stage2 would train its encoder up to there, and "
        "nothing its embedding; put it into a pair, too",
        "f.yaml:7: views.alone: is in no pair, so that nothing would train its encoder; pair it with another "
        "view or remove it",
    ]
