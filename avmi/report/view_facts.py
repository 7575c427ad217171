"""A graph of view pairs and the videos of a split → one row of words and numbers for every view and pair."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avmi.config.augment import PictureAugmentation, SoundAugmentation
from avmi.config.mistakes import listed
from avmi.config.pair_settings import NegativePool
from avmi.config.views import AudioView, FeatureView, FrameView, View
from avmi.corpus.manifest import Video
from avmi.corpus.plan import anchors_of_pairs
from avmi.types import Modality
from avmi.views.graph import Pair, ViewGraph
from avmi.views.sound_augmentation import SNR_RANGE_DB


@dataclass(frozen=True)
class ViewFacts:
    """What one view is; `seconds` count from the anchor."""

    name: str
    modality: Modality
    what: str  # a still, 3 pictures, log-mel, layer3 of image
    seconds: tuple[float, float]
    encoder: str
    augmentation: str  # "" without any
    reach: float  # share of the videos that hold it together with a view that it is paired with

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "view": self.name,
            "modality": self.modality,
            "what": self.what,
            "seconds": [round(seconds, 6) for seconds in self.seconds],
            "encoder": self.encoder,
            "augmentation": self.augmentation or None,
            "reach": round(self.reach, 4),
        }


@dataclass(frozen=True)
class PairFacts:
    """What one pair is and how many of the videos can train it."""

    pair: Pair
    negatives: str
    reach: float

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "views": [self.pair.first, self.pair.second],
            "weight": self.pair.weight,
            "bound": self.pair.bound.name,
            "negatives": self.negatives,
            "places": self.pair.places,
            "reach": round(self.reach, 4),
        }


def view_facts(
    graph: ViewGraph, videos: Sequence[Video], *, grids: Mapping[str, tuple[int, ...]]
) -> tuple[ViewFacts, ...]:
    """Describe every view; `grids` are the places of feature views, none for pooled ones."""
    facts = []
    for name, view in graph.views.items():
        signal = graph.signals[graph.signal_of(name)]
        pairs = [pair for pair in graph.pairs if name in _views_of(graph, pair)]
        facts.append(
            ViewFacts(
                name=name,
                modality=graph.modality(name),
                what=_what(view, grids.get(name, ())),
                seconds=signal.unaugmented.extent_seconds,
                encoder=signal.encoder_name,
                augmentation=_augmentation(signal),
                reach=_reach(graph, pairs, videos),
            )
        )
    return tuple(facts)


def pair_facts(graph: ViewGraph, videos: Sequence[Video]) -> tuple[PairFacts, ...]:
    """Describe every pair."""
    return tuple(
        PairFacts(
            pair=pair,
            negatives=listed(_negatives(pool) for pool in pair.negatives),
            reach=_reach(graph, [pair], videos),
        )
        for pair in graph.pairs
    )


def _views_of(graph: ViewGraph, pair: Pair) -> set[str]:
    """Name the views that a pair trains: its two, and those whose encoders they tap."""
    return {name for side in (pair.first, pair.second) for name in (side, graph.signal_of(side))}


def _reach(graph: ViewGraph, pairs: Sequence[Pair], videos: Sequence[Video]) -> float:
    cut = [(graph.signal_of(pair.first), graph.signal_of(pair.second)) for pair in pairs]
    reached = sum(bool(anchors_of_pairs(video, graph.signals, cut)) for video in videos)
    return reached / len(videos)


def span(seconds: tuple[float, float]) -> str:
    """Write seconds around an anchor: 0.5 s, or −0.2 to 0.2 s."""
    first, last = (f"{round(s, 3) + 0.0:g}".replace("-", "−") for s in seconds)
    return f"{first} s" if first == last else f"{first} to {last} s"


def _what(view: View, grid: tuple[int, ...]) -> str:
    match view:
        case FrameView(frames=1):
            return "a still"
        case FrameView():
            how = ", differences" if view.motion == "differences" else ""
            return f"{view.frames} pictures{how}"
        case AudioView():
            return "log-mel"
        case FeatureView():
            places = f", {' × '.join(map(str, grid))} places" if grid else ""
            return f"{view.layer} of {view.of}{places}"


def _negatives(pool: NegativePool) -> str:
    if pool.pool == "other_videos":
        words = "other videos"
    else:
        words = "same video" if pool.count is None else f"same video ({pool.count})"
    return words if pool.weight == 1 else f"{words} × {pool.weight:g}"


def _augmentation(view: FrameView | AudioView) -> str:
    match view.augmentation:
        case PictureAugmentation() as picture:
            return ", ".join(_of_picture(picture))
        case SoundAugmentation() as sound:
            return ", ".join(_of_sound(sound))


def _of_picture(augmentation: PictureAugmentation) -> list[str]:
    a = augmentation
    words = [f"crop to ≥ {a.crop_scale:.0%}"] if a.crop_scale < 1 else []
    words += [f"flip {a.flip:.0%}"] if a.flip else []
    for name in ("brightness", "contrast", "saturation", "hue"):
        strength = getattr(a, name)
        words += [f"{name} ± {strength:.0%}"] if strength else []
    words += [f"greyscale {a.greyscale:.0%}"] if a.greyscale else []
    return words + ([f"blur {a.blur:.0%}"] if a.blur else [])


def _of_sound(augmentation: SoundAugmentation) -> list[str]:
    a = augmentation
    words = [f"shift ± {a.shift_seconds:g} s"] if a.shift_seconds else []
    words += [f"volume ± {a.volume:.0%}"] if a.volume else []
    if a.noise_snr_db is not None:
        words.append(f"noise at {a.noise_snr_db:g} to {a.noise_snr_db + SNR_RANGE_DB:g} dB SNR")
    for kind, count, share in (
        ("frequency", a.frequency_masks, a.frequency_mask_share),
        ("time", a.time_masks, a.time_mask_share),
    ):
        if count:
            words.append(f"{count} {kind} mask{'s' if count > 1 else ''} of ≤ {share:.0%}")
    return words
