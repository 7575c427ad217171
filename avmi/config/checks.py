"""Settings that are right one by one → the mistakes in how they go together; knows no torch."""

from collections.abc import Collection, Mapping

from avmi.config.data import Data
from avmi.config.mistakes import Keys, Mistake
from avmi.config.pair_checks import check_pairs
from avmi.config.pair_settings import NegativePool
from avmi.config.pairs import Pairs
from avmi.config.parts import Encoders, LogMel
from avmi.config.view_checks import check_views
from avmi.config.views import AudioView, View


def check_graph(
    views: Mapping[str, View],
    pairs: Pairs,
    *,
    encoders: Encoders | None = None,
    unread: Collection[str] = (),
) -> list[Mistake]:
    """Find what is wrong with views and pairs as a whole.

    `encoders` None leaves backbones and the layers of feature views unchecked. `unread` names views of which
    only the name and the kind are known, because their settings have mistakes of their own.
    """
    return [*check_views(views, encoders, unread), *check_pairs(views, pairs)]


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


def check_negatives(pairs: Pairs, negatives: tuple[NegativePool, ...], data: Data) -> list[Mistake]:
    """Find pools that are named twice, or that ask for more moments of a video than a visit cuts."""
    places: list[tuple[Keys, tuple[NegativePool, ...]]] = [(("negatives",), negatives)]
    if not isinstance(pairs, str):
        places += [(("pairs", i, "negatives"), p.negatives) for i, p in enumerate(pairs) if p.negatives]
    found: list[Mistake] = []
    for keys, pools in places:
        names = [pool.pool for pool in pools]
        found += [
            Mistake((*keys, i), f"the pool {name} is named twice; name it once and give it a weight")
            for i, name in enumerate(names)
            if name in names[:i]
        ]
        found += [
            Mistake((*keys, i), _too_few_moments(pool, data))
            for i, pool in enumerate(pools)
            if pool.pool == "same_video" and data.clips_per_video - 1 < (pool.count or 1)
        ]
    return found


def _too_few_moments(pool: NegativePool, data: Data) -> str:
    wanted = pool.count or 1
    if data.clips_per_video == 1:
        return "same_video finds no negatives, because data.clips_per_video is 1; raise that, or take other_videos"
    return (
        f"count {wanted} asks for more moments than a video has beside the clip itself: data.clips_per_video is "
        f"{data.clips_per_video}; raise that, or take at most {data.clips_per_video - 1}"
    )
