"""Bounds, places and posteriors → the mistakes in how they go with views and pairs; knows no torch."""

from collections.abc import Mapping

from avmi.config.bottleneck import Bottleneck, Private
from avmi.config.bounds import PairBound
from avmi.config.layers import OUTPUT
from avmi.config.mistakes import Keys, Mistake
from avmi.config.pair_settings import PlaceScoring
from avmi.config.pairs import Pairs, expand_pairs
from avmi.config.parts import Encoders
from avmi.config.views import FeatureView, View


def check_bounds(
    views: Mapping[str, View], pairs: Pairs, *, bound: PairBound, places: PlaceScoring
) -> list[Mistake]:
    """Find bounds that cannot score a pair's places; `bound` and `places` hold for pairs without their own."""
    found: dict[Keys, Mistake] = {}
    for i, pair in enumerate(expand_pairs(views, pairs)):
        inside = [name for name in pair.views if name in views and keeps_places(views[name])]
        its_bound = pair.bound or bound
        if not inside or (pair.places or places) != "mean" or its_bound.is_of_places:
            continue
        is_listed = not isinstance(pairs, str)
        keys: Keys = ("pairs", i, "bound") if is_listed and pair.bound else ("bound",)
        message = (
            f"{its_bound.name} takes one score for each two clips, and {inside[0]} keeps places that places mean scores "
            "one by one; set places to max or attention, or the bound to info_nce"
        )
        found.setdefault(keys, Mistake(keys, message))
    return list(found.values())


def check_posteriors(
    views: Mapping[str, View], encoders: Encoders, *, bottleneck: Bottleneck | None, private: Private
) -> list[Mistake]:
    """Find bottlenecks and private parts without posteriors, and views that cannot have any."""
    head, found = encoders.head, list[Mistake]()
    if bottleneck is not None and head.posterior == "none":
        message = "bounds what codes hold by their known density, and without a posterior they have none"
        found.append(
            Mistake(("bottleneck",), f"{message}; set encoders.head.posterior to gaussian, or remove it")
        )
    if private != Private() and not head.private_dim:
        message = "says how private parts of codes are trained, and there are none"
        found.append(Mistake(("private",), f"{message}; set encoders.head.private_dim, or remove it"))
    if head.posterior == "gaussian":
        found += [
            Mistake(
                ("views", name, "layer"),
                "keeps places, whose embeddings have no posterior; tap output, or set encoders.head.posterior to none",
            )
            for name, view in views.items()
            if keeps_places(view)
        ]
    return found


def keeps_places(view: View) -> bool:
    """Tell whether a view is a map of places: a feature from the middle of an encoder."""
    return isinstance(view, FeatureView) and view.layer != OUTPUT
