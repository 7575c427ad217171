"""Settings that are right one by one → the mistakes in how they go together; knows no torch."""

import re
from collections.abc import Collection, Mapping

from avmi.config.layers import LAYERS
from avmi.config.mistakes import Keys, Mistake, did_you_mean, listed, nearest
from avmi.config.pairs import Pairs, expand_pairs, is_output_of, modality
from avmi.config.parts import Data, Encoders, LogMel
from avmi.config.views import (
    AudioView,
    FeatureView,
    FrameView,
    Negatives,
    PairSettings,
    View,
)

_NAME = re.compile(r"[a-z][a-z0-9_]*")


def check_graph(
    views: Mapping[str, View],
    pairs: Pairs,
    *,
    encoders: Encoders | None = None,
    unread: Collection[str] = (),
) -> list[Mistake]:
    """Find what is wrong with views and pairs as a whole.

    `encoders` None leaves the layers of feature views unchecked. `unread` names views of which only the
    name and the kind are known, because their settings have mistakes of their own.
    """
    found = [*_names(views), *_features(views, encoders, unread), *_repeated_views(views, unread)]
    wrong_pairs = [] if isinstance(pairs, str) else _listed_pairs(views, pairs)
    found += wrong_pairs
    if not wrong_pairs and all(modality(views, name) for name in views):
        found += _coverage(views, pairs)
    return found


def check_windows(views: Mapping[str, View], log_mel: LogMel) -> list[Mistake]:
    """Find audio views that are shorter than one window of the spectrogram."""
    return [
        Mistake(
            ("views", name, "window_seconds"),
            f"{view.window_seconds:g} s of sound are shorter than one STFT window "
            f"(log_mel.stft_window_seconds, {log_mel.stft_window_seconds:g} s)",
        )
        for name, view in views.items()
        if isinstance(view, AudioView) and view.window_seconds < log_mel.stft_window_seconds
    ]


def check_negatives(pairs: Pairs, negatives: tuple[Negatives, ...], data: Data) -> list[Mistake]:
    """Find pairs whose only negatives are other clips of a video when there is one clip of each."""
    places: list[Keys] = [("negatives",)] if negatives == ("same_video",) else []
    if not isinstance(pairs, str):
        places += [("pairs", i, "negatives") for i, p in enumerate(pairs) if p.negatives == ("same_video",)]
    if data.clips_per_video > 1:
        return []
    return [
        Mistake(
            keys,
            "same_video alone leaves no negatives, because data.clips_per_video is 1; "
            "raise that, or add other_videos",
        )
        for keys in places
    ]


def _names(views: Mapping[str, View]) -> list[Mistake]:
    found = []
    for name in views:
        if not _NAME.fullmatch(name):
            letters = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")
            better = letters if _NAME.fullmatch(letters) else f"view_{letters}".rstrip("_")
            found.append(
                Mistake(
                    ("views", name),
                    "the name of a view starts with a small letter and goes on with small letters, digits "
                    f"and _; call it {better}",
                )
            )
    return found


def _features(views: Mapping[str, View], encoders: Encoders | None, unread: Collection[str]) -> list[Mistake]:
    found = []
    signals = [name for name, view in views.items() if not isinstance(view, FeatureView)]
    for name, view in views.items():
        if not isinstance(view, FeatureView) or name in unread:
            continue
        tapped = views.get(view.of)
        if tapped is None:
            hint = did_you_mean(view.of, signals, otherwise=f"it can be {listed(signals, last='or')}")
            found.append(Mistake(("views", name, "of"), f"there is no view {view.of}; {hint}"))
        elif isinstance(tapped, FeatureView):
            hint = f"name a frame or audio view: {listed(signals, last='or')}"
            found.append(Mistake(("views", name, "of"), f"{view.of} is a feature itself; {hint}"))
        elif encoders is not None:
            found += _layer(name, view, tapped, encoders)
    return found


def _layer(name: str, view: FeatureView, tapped: FrameView | AudioView, encoders: Encoders) -> list[Mistake]:
    backbone = encoders.image.name if tapped.modality == "image" else encoders.audio.name
    layers = LAYERS[backbone]
    if view.layer in layers:
        return []
    near = nearest(view.layer, layers)
    hint = f"did you mean {near}? " if near else ""
    return [
        Mistake(
            ("views", name, "layer"),
            f"the encoder of {view.of} ({backbone}) has no layer {view.layer}; {hint}it has {listed(layers)}",
        )
    ]


def _repeated_views(views: Mapping[str, View], unread: Collection[str]) -> list[Mistake]:
    first: dict[object, str] = {}
    found = []
    for name, view in views.items():
        if name in unread or (isinstance(view, FrameView) and view.augment != "none"):
            continue  # augmented twins differ: each draws its own crop (SimCLR, AMDIM)
        same = (view.frame_offsets_seconds,) if isinstance(view, FrameView) else view
        if same in first:
            found.append(
                Mistake(
                    ("views", name),
                    f"the same as view {first[same]} in everything, so that it adds nothing; "
                    "change one or remove it",
                )
            )
        first.setdefault(same, name)
    return found


def _listed_pairs(views: Mapping[str, View], pairs: tuple[PairSettings, ...]) -> list[Mistake]:
    found = []
    first: dict[frozenset[str], int] = {}
    for i, pair in enumerate(pairs):
        unknown = [(k, name) for k, name in enumerate(pair.views) if name not in views]
        for k, name in unknown:
            hint = did_you_mean(name, views, otherwise=f"the views are {listed(views)}")
            found.append(Mistake(("pairs", i, "views", k), f"there is no view {name}; {hint}"))
        if unknown:
            continue
        a, b = pair.views
        names = frozenset(pair.views)
        if a == b:
            found.append(Mistake(("pairs", i, "views"), f"{a} is paired with itself; name two views"))
        elif names in first:
            found.append(
                Mistake(
                    ("pairs", i),
                    f"{a} and {b} are a pair already, at pairs.{first[names]}; name each pair once and "
                    "give it a weight",
                )
            )
        elif is_output_of(views, a, b) or is_output_of(views, b, a):
            feature, view = (a, b) if is_output_of(views, a, b) else (b, a)
            found.append(
                Mistake(
                    ("pairs", i, "views"),
                    f"{feature} is the very output that {view} is embedded from, so that the pair says "
                    "nothing; tap an earlier layer or pair it with another view",
                )
            )
        first.setdefault(names, i)
    return found


def _coverage(views: Mapping[str, View], pairs: Pairs) -> list[Mistake]:
    """Find views that no pair trains; needs views and pairs that are right so far."""
    expanded = expand_pairs(views, pairs)
    if not expanded:
        return [Mistake(("pairs",), _why_no_pair(views, pairs))]
    paired = {name for pair in expanded for name in pair.views}
    tapped = {view.of for name, view in views.items() if isinstance(view, FeatureView) and name in paired}
    return [
        Mistake(
            ("views", name),
            "is in no pair, so that nothing would train its encoder; pair it with another view or remove it",
        )
        for name in views
        if name not in paired | tapped
    ]


def _why_no_pair(views: Mapping[str, View], pairs: Pairs) -> str:
    if pairs == "cross_modal":
        side, other = (
            ("the picture", "an audio view")
            if modality(views, next(iter(views))) == "image"
            else ("the sound", "a frame view")
        )
        return (
            f"cross_modal pairs pictures with sounds, but all views ({listed(views)}) are of {side}; "
            f"add {other}, or write `pairs: all`"
        )
    if pairs == "all":
        return f"no two of the views {listed(views)} say anything about each other; add a view"
    return "the list is empty; name at least one pair, or write cross_modal or all"
