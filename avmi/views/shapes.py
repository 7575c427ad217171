"""Views and the settings of their inputs → the shapes of their tensors and scores; nothing is decoded."""

import math
from collections.abc import Iterable, Mapping

from avmi.config.parts import ImageInput, LogMel
from avmi.config.views import FrameView
from avmi.corpus.plan import SignalView
from avmi.views.audio import time_bins
from avmi.views.graph import Pair


def view_shapes(
    views: Mapping[str, SignalView], *, image: ImageInput, log_mel: LogMel
) -> dict[str, tuple[int, int, int]]:
    """Give `channels height width` of one clip's views: pictures square, sounds 1 × mel bins × time bins."""
    return {
        name: (3 * view.frames, image.size_px, image.size_px)
        if isinstance(view, FrameView)
        else (1, log_mel.mel_bins, time_bins(view.window_seconds, log_mel))
        for name, view in views.items()
    }


def most_scores(
    pairs: Iterable[Pair], grids: Mapping[str, tuple[int, ...]], *, clips: int
) -> tuple[str, int]:
    """Find the pair with the most scores, every place of a clip against every place of another, and count them."""
    counts = {
        pair.name: clips**2 * math.prod(grids.get(pair.first, ())) * math.prod(grids.get(pair.second, ()))
        for pair in pairs
    }
    widest = max(counts, key=lambda name: counts[name], default="")
    return widest, counts.get(widest, 0)
