"""Typed views and the choice of pairs → the checked graph of view pairs that training runs on; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from avmi.config.checks import check_graph
from avmi.config.mistakes import listed
from avmi.config.pairs import Pairs, expand_pairs, modality
from avmi.config.parts import Encoders
from avmi.config.views import BoundName, FeatureView, Negatives, View
from avmi.corpus.manifest import Manifest, Video
from avmi.corpus.plan import SignalView, anchors_of_pairs
from avmi.errors import ConfigError
from avmi.types import Modality


@dataclass(frozen=True)
class Pair:
    """One view pair whose mutual information is bounded, with everything that its term needs."""

    first: str
    second: str
    weight: float
    bound: BoundName
    negatives: tuple[Negatives, ...]

    @property
    def name(self) -> str:
        """Name of the pair in logs and reports."""
        return f"{self.first}~{self.second}"


@dataclass(frozen=True)
class ViewGraph:
    """Views by name, in the order of the configuration, and the pairs between them."""

    views: dict[str, View]
    pairs: tuple[Pair, ...]

    @property
    def signals(self) -> dict[str, SignalView]:
        """Views that are cut from clips: pictures and sounds."""
        return {n: view for n, view in self.views.items() if not isinstance(view, FeatureView)}

    @property
    def features(self) -> dict[str, FeatureView]:
        """Views that are tapped inside an encoder."""
        return {n: view for n, view in self.views.items() if isinstance(view, FeatureView)}

    @property
    def encoder_names(self) -> tuple[str, ...]:
        """Encoders that the views need, each once."""
        return tuple(dict.fromkeys(view.encoder for view in self.signals.values()))

    @property
    def retrieval_views(self) -> tuple[str, str] | None:
        """The first pair of a picture and a sound, in this order; None when no pair is one."""
        signals = self.signals
        for pair in self.pairs:
            if pair.first in signals and pair.second in signals:
                sides = self.modality(pair.first), self.modality(pair.second)
                if sides == ("image", "audio"):
                    return pair.first, pair.second
                if sides == ("audio", "image"):
                    return pair.second, pair.first
        return None

    @property
    def extent_seconds(self) -> tuple[float, float]:
        """First and last second that any view needs, relative to the anchor."""
        extents = [view.extent_seconds for view in self.signals.values()]
        return min(first for first, _ in extents), max(last for _, last in extents)

    def signal_of(self, name: str) -> str:
        """Name the view that is cut for a view: itself, or the one whose encoder it taps."""
        view = self.views[name]
        return view.of if isinstance(view, FeatureView) else name

    def modality(self, name: str) -> Modality:
        """Say whether a view is of the picture or of the sound; a feature is what it taps."""
        side = modality(self.views, name)
        assert side is not None  # build_graph has checked it
        return side


def build_graph(
    views: Mapping[str, View],
    pairs: Pairs,
    *,
    bound: BoundName,
    negatives: tuple[Negatives, ...],
    encoders: Encoders | None = None,
) -> ViewGraph:
    """Check views and pairs as a whole and list the pairs.

    `bound` and `negatives` hold for pairs that have none of their own. `encoders` None leaves the layers
    of feature views unchecked. Raises `ConfigError` with every mistake, one a line.
    """
    mistakes = check_graph(views, pairs, encoders=encoders)
    if mistakes:
        raise ConfigError("\n".join(mistake.line for mistake in mistakes))
    return ViewGraph(
        views=dict(views),
        pairs=tuple(
            Pair(
                first=pair.views[0],
                second=pair.views[1],
                weight=pair.weight,
                bound=pair.bound or bound,
                negatives=pair.negatives or negatives,
            )
            for pair in expand_pairs(views, pairs)
        ),
    )


def require_trainable(graph: ViewGraph) -> None:
    """Raise `ConfigError` for views that this version checks but cannot train on yet."""
    names = list(graph.features)
    if names:
        what = f"view{'s' if len(names) > 1 else ''} {listed(names)}"
        raise ConfigError(
            f"views: feature views are checked but not yet trained in this version: remove {what}"
        )


def check_reach(graph: ViewGraph, manifest: Manifest) -> None:
    """Raise `ConfigError` when a pair is longer than every video of the train split.

    Such a pair would be masked out of every batch. The text names the views that it leaves untrained.
    """
    videos = manifest.split("train").videos
    lost = [pair for pair in graph.pairs if not any(_anchors(graph, pair, video) for video in videos)]
    if not lost:
        return
    kept = {name for pair in graph.pairs if pair not in lost for name in (pair.first, pair.second)}
    names = dict.fromkeys(name for pair in lost for name in (pair.first, pair.second) if name not in kept)
    spans = listed(f"{pair.name} ({_span_seconds(graph, pair):g} s)" for pair in lost)
    longest = max((video.duration_seconds for video in videos), default=0.0)
    never = f"view{'s' if len(names) > 1 else ''} {listed(names)} would never be trained: " if names else ""
    raise ConfigError(
        f"views: {never}no video of the train split is as long as {spans}; "
        f"the longest of {len(videos)} has {longest:.1f} s of picture and sound: "
        "use smaller offsets or windows, or longer videos"
    )


def _anchors(graph: ViewGraph, pair: Pair, video: Video) -> tuple[tuple[float, float], ...]:
    cut = (graph.signal_of(pair.first), graph.signal_of(pair.second))
    return anchors_of_pairs(video, graph.signals, [cut])


def _span_seconds(graph: ViewGraph, pair: Pair) -> float:
    """Length of the interval that covers both views of a pair."""
    views = [graph.signals[graph.signal_of(name)] for name in (pair.first, pair.second)]
    extents = [view.extent_seconds for view in views]
    return max(last for _, last in extents) - min(first for first, _ in extents)
