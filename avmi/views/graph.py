"""Typed views and the choice of pairs → the checked graph of view pairs that training runs on; no torch."""

from collections.abc import Mapping
from dataclasses import dataclass

from avmi.config.bound_checks import check_bounds
from avmi.config.bounds import INFO_NCE, PairBound
from avmi.config.checks import check_graph
from avmi.config.pair_settings import OTHER_VIDEOS, NegativePool, PlaceScoring
from avmi.config.pairs import Pairs, expand_pairs, modality
from avmi.config.parts import Encoders, Temperature
from avmi.config.schema import PretrainConfig
from avmi.config.views import AudioView, FeatureView, FrameView, View
from avmi.corpus.plan import SignalView
from avmi.errors import ConfigError, InputError
from avmi.types import Modality


@dataclass(frozen=True)
class Pair:
    """One view pair whose mutual information is bounded, with everything that its term needs."""

    first: str
    second: str
    weight: float
    bound: PairBound
    negatives: tuple[NegativePool, ...]
    places: PlaceScoring
    temperature: Temperature | None  # None shares the temperature of the graph

    @property
    def name(self) -> str:
        """Name of the pair in logs and reports."""
        return f"{self.first}~{self.second}"

    @property
    def terms(self) -> dict[str, NegativePool]:
        """Terms of the pair by name, one for each pool of negatives; that of other videos bears the pair's."""
        return {
            self.name if pool.pool == "other_videos" else f"{self.name}@{pool.pool}": pool
            for pool in self.negatives
        }

    def weight_of(self, pool: NegativePool) -> float:
        """Weight of one term: the pair's, shared out over its pools."""
        return self.weight * pool.weight / sum(other.weight for other in self.negatives)


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
    def paired_views(self) -> tuple[str, ...]:
        """Views that are in a pair, each once."""
        return tuple(dict.fromkeys(name for pair in self.pairs for name in (pair.first, pair.second)))

    @property
    def encoder_names(self) -> tuple[str, ...]:
        """Encoders that the views need, each once."""
        return tuple(dict.fromkeys(view.encoder_name for view in self.signals.values()))

    @property
    def cross_modal(self) -> tuple[tuple[str, str], ...]:
        """Pairs of a picture and a sound that clips are cut into, in this order; no features."""
        found = []
        for pair in self.pairs:
            if pair.first in self.signals and pair.second in self.signals:
                sides = self.modality(pair.first), self.modality(pair.second)
                if sides == ("image", "audio"):
                    found.append((pair.first, pair.second))
                elif sides == ("audio", "image"):
                    found.append((pair.second, pair.first))
        return tuple(found)

    @property
    def retrieval_views(self) -> tuple[str, str] | None:
        """The picture and the sound that retrieval embeds; None when no pair is one.

        The first cross-modal pair whose picture is a still, because a still is what users have; and of
        those the first that is not augmented.
        """
        return min(self.cross_modal, key=self._retrieval_order, default=None)

    def picture_and_sound(self, names: tuple[str, str]) -> tuple[str, str]:
        """Check that two names are a picture and a sound, in this order; raises `InputError` with those that are."""
        for name, kind, what in ((names[0], FrameView, "picture"), (names[1], AudioView, "sound")):
            of_kind = [n for n, view in self.signals.items() if isinstance(view, kind)]
            if name not in of_kind:
                raise InputError(
                    f"{name} is no {what} of the checkpoint; it has {', '.join(of_kind) or 'none'}"
                )
        return names

    def _retrieval_order(self, names: tuple[str, str]) -> tuple[bool, bool]:
        picture, sound = (self.signals[name] for name in names)
        is_stack = isinstance(picture, FrameView) and picture.frames > 1
        return is_stack, picture.is_augmented or sound.is_augmented

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


def graph_of(config: PretrainConfig) -> ViewGraph:
    """Build the graph of a pretraining configuration; raises `ConfigError` as `build_graph` does."""
    return build_graph(
        config.views,
        config.pairs,
        bound=config.bound,
        negatives=config.negatives,
        places=config.places,
        encoders=config.encoders,
    )


def build_graph(
    views: Mapping[str, View],
    pairs: Pairs,
    *,
    bound: PairBound = INFO_NCE,
    negatives: tuple[NegativePool, ...] = (OTHER_VIDEOS,),
    places: PlaceScoring = "mean",
    encoders: Encoders | None = None,
) -> ViewGraph:
    """Check views and pairs as a whole and list the pairs.

    `bound`, `negatives` and `places` hold for pairs that have none of their own. `encoders` None leaves the
    layers of feature views unchecked. Raises `ConfigError` with every mistake, one a line.
    """
    mistakes = check_graph(views, pairs, encoders=encoders)
    mistakes += check_bounds(views, pairs, bound=bound, places=places)
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
                places=pair.places or places,
                temperature=pair.temperature,
            )
            for pair in expand_pairs(views, pairs)
        ),
    )
