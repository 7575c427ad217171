"""Views and a corpus → whether packed shards hold what the views need; errors that name the option of `avmi pack`."""

from collections.abc import Mapping
from pathlib import Path

from avmi.config.parts import ImageInput
from avmi.config.views import FrameView
from avmi.corpus.plan import SignalView
from avmi.errors import ConfigError
from avmi.store.packing import Packing, read_packing
from avmi.views.image import decode_short_side_px

# Two pictures one step of the grid apart are never the same one but for rounding.
_SLACK = 1e-6


def check_packed(
    views: Mapping[str, SignalView], *, image: ImageInput, sample_rate_hz: int, corpus: Path | None
) -> None:
    """Raise `ConfigError` when a packed corpus has fewer pictures, pixels or samples than the views ask for.

    Does nothing for other corpora.
    """
    packing = None if corpus is None else read_packing(corpus)
    if packing is None:
        return
    mistakes = [*_spacings(views, packing), *_sizes(views, image, packing)]
    if sample_rate_hz > packing.sample_rate_hz:
        mistakes.append(
            f"log_mel.sample_rate_hz: the shards hold sound at {packing.sample_rate_hz} Hz, {sample_rate_hz} are "
            f"asked for: lower it, or pack again with --sample-rate {sample_rate_hz}"
        )
    if mistakes:
        raise ConfigError("\n".join(f"{corpus}: {mistake}" for mistake in mistakes))


def blurred_crops(views: Mapping[str, SignalView], *, image: ImageInput, corpus: Path | None) -> str:
    """Say when random crops would be enlarged because the shards' pictures are small; "" when they are not."""
    packing = None if corpus is None else read_packing(corpus)
    frames = [view for view in views.values() if isinstance(view, FrameView)]
    if packing is None or not frames:
        return ""
    best = decode_short_side_px(frames, image)
    if best <= packing.size_px:
        return ""
    return (
        f"random crops are best cut from pictures of {best} px, the shards hold {packing.size_px} px: crops will be "
        f"enlarged; `avmi pack --size {best}` keeps them sharp"
    )


def _spacings(views: Mapping[str, SignalView], packing: Packing) -> list[str]:
    return [
        f"views.{name}.spacing_seconds: pictures {view.spacing_seconds:g} s apart are asked for, the shards hold one "
        f"every {1 / packing.frames_per_second:g} s, so that two would be the same: raise it, or pack again with "
        f"--frames-per-second {_enough(view.spacing_seconds)}"
        for name, view in views.items()
        if isinstance(view, FrameView)
        and view.frames > 1
        and view.spacing_seconds * packing.frames_per_second < 1 - _SLACK
    ]


def _enough(spacing_seconds: float) -> str:
    rate = 1 / spacing_seconds
    whole = round(rate)
    return str(whole) if abs(rate - whole) < 1e-6 else str(int(rate) + 1)


def _sizes(views: Mapping[str, SignalView], image: ImageInput, packing: Packing) -> list[str]:
    has_pictures = any(isinstance(view, FrameView) for view in views.values())
    if not has_pictures or image.size_px <= packing.size_px:
        return []
    return [
        f"image.size_px: the shards hold pictures with a short side of {packing.size_px} px, {image.size_px} are "
        f"asked for: lower it, or pack again with --size {image.size_px}"
    ]
