"""Views and view pairs → the mistakes in how they go together: which pairs, what trains what; knows no torch."""

from collections.abc import Mapping

from avmi.config.bound_checks import keeps_places
from avmi.config.mistakes import Mistake, did_you_mean, listed
from avmi.config.pair_settings import PairSettings
from avmi.config.pairs import Pairs, expand_pairs, is_output_of, modality
from avmi.config.views import FeatureView, View


def check_pairs(views: Mapping[str, View], pairs: Pairs) -> list[Mistake]:
    """Find what is wrong with the choice of pairs; see `avmi.config.checks.check_graph`."""
    if not views:
        return []  # a mistake of its own, which the schema finds
    wrong = [] if isinstance(pairs, str) else _listed_pairs(views, pairs)
    if not wrong and all(modality(views, name) for name in views):
        wrong += _coverage(views, pairs)
    return wrong


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
        elif pair.places is not None and not any(keeps_places(views[name]) for name in pair.views):
            found.append(
                Mistake(
                    ("pairs", i, "places"),
                    f"neither {a} nor {b} keeps places, so that there is nothing to score over; remove it, or "
                    "pair a feature view from the middle of an encoder",
                )
            )
        first.setdefault(names, i)
    return found


def _coverage(views: Mapping[str, View], pairs: Pairs) -> list[Mistake]:
    """Find views and encoders that no pair trains; needs views and pairs that are right so far."""
    expanded = expand_pairs(views, pairs)
    if not expanded:
        return [Mistake(("pairs",), _why_no_pair(views, pairs))]
    paired = {name for pair in expanded for name in pair.views}
    taps: dict[str, list[str]] = {}
    for name, view in views.items():
        if isinstance(view, FeatureView) and name in paired:
            taps.setdefault(view.of, []).append(f"{name} at {view.layer}")
    trained = {_encoder_of(views, name) for name in paired}
    found = []
    for name in views:
        if name not in paired and name not in taps:
            message = "is in no pair, so that nothing would train its encoder; pair it with another view or remove it"
            found.append(Mistake(("views", name), message))
        elif name in taps and _encoder_of(views, name) not in trained:
            message = (
                f"is in no pair itself: {listed(taps[name])} would train its encoder up to there, and nothing "
                "its embedding; put it into a pair, too"
            )
            found.append(Mistake(("views", name), message))
    return found


def _encoder_of(views: Mapping[str, View], name: str) -> str | None:
    """Name the encoder whose embedding a view is; None for a feature view, which has a head of its own."""
    view = views[name]
    return None if isinstance(view, FeatureView) else view.encoder_name


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
