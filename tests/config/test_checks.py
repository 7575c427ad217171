"""Mistakes between keys: each is found, with its own line, and right graphs have none."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision

from avmi.config.checks import check_graph, check_negatives, check_windows
from avmi.config.layers import LAYERS, OUTPUT
from avmi.config.parts import Backbone, Data, Encoders, LogMel
from avmi.config.views import AudioView, FeatureView, FrameView, PairSettings, View
from avmi.models.backbones import SmallConv

Complaints = Callable[..., list[str]]


def frame(**settings: Any) -> FrameView:
    return FrameView(kind="frame", **settings)


def audio(**settings: Any) -> AudioView:
    return AudioView(kind="audio", **settings)


def feature(of: str, layer: str) -> FeatureView:
    return FeatureView(kind="feature", of=of, layer=layer)


def pair(first: str, second: str) -> PairSettings:
    return PairSettings(views=(first, second))


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
    ],
)
def test_every_wrong_graph_has_its_line(
    views: dict[str, View], pairs: str | list[tuple[str, str]], line: str
) -> None:
    choice: Any = pairs if isinstance(pairs, str) else tuple(pair(a, b) for a, b in pairs)
    assert [m.line for m in check_graph(views, choice, encoders=RESNETS)] == [line]


@pytest.mark.parametrize(
    ("views", "pairs"),
    [
        (BOTH, "cross_modal"),
        (BOTH, "all"),
        # Two random crops of one picture (SimCLR); a tapped view needs no pair of its own.
        ({"a": frame(augment="strong"), "b": frame(augment="strong")}, "all"),
        ({**BOTH, "middle": feature("image", "layer2")}, [("middle", "sound")]),
        # Deep InfoMax: the places in the middle against the whole.
        ({**BOTH, "middle": feature("image", "layer2")}, [("middle", "image"), ("image", "sound")]),
        ({"still": frame(), "motion": frame(frames=3), "sound": audio()}, "all"),
    ],
)
def test_right_graphs_have_no_mistakes(views: dict[str, View], pairs: str | list[tuple[str, str]]) -> None:
    choice: Any = pairs if isinstance(pairs, str) else tuple(pair(a, b) for a, b in pairs)
    assert check_graph(views, choice, encoders=RESNETS) == []


def test_layers_are_not_checked_when_the_backbones_are_unknown() -> None:
    assert check_graph({**BOTH, "middle": feature("image", "nonsense")}, "all") == []


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_the_layers_of_the_table_are_modules_of_the_network(name: str) -> None:
    with torch.device("meta"):
        net = (
            SmallConv(3, width=8)
            if name == "small_conv"
            else torchvision.models.get_model(name, weights=None)
        )
    modules = dict(net.named_modules())
    *inner, output = LAYERS[name]  # type: ignore[index]
    assert set(inner) <= set(modules)
    assert output == OUTPUT


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
    same = ("same_video",)
    pairs = (pair("a", "b"), PairSettings(views=("a", "c"), negatives=("same_video",)))
    alone = Data(batch_clips=6, clips_per_video=1)
    several = Data(batch_clips=6, clips_per_video=3)
    assert [m.keys for m in check_negatives(pairs, same, alone)] == [
        ("negatives",),
        ("pairs", 1, "negatives"),
    ]  # type: ignore[arg-type]
    assert check_negatives(pairs, same, several) == []  # type: ignore[arg-type]
    assert check_negatives("all", ("other_videos", "same_video"), alone) == []


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
        "f.yaml:14: negatives: same_video alone leaves no negatives, because data.clips_per_video is 1; "
        "raise that, or add other_videos",
    ]
