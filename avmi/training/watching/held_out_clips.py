"""Held-out clips of this process → what is known and to be seen of all processes' clips, in the order of evaluations."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import UInt8
from torch import Tensor

from avmi.config.views import FrameView
from avmi.corpus.plan import ClipSpec
from avmi.data import Batch
from avmi.distributed import gather_objects, rank
from avmi.training.watching.evaluation import HeldOut
from avmi.views.graph import ViewGraph

# TensorBoard's projector draws pictures of up to some 100 px in 3-D; the sprite of 256 clips is then 768 px wide.
THUMBNAIL_PX = 48


@dataclass(frozen=True)
class HeldOutClip:
    """One held-out clip, and a small picture of its moment where there is one."""

    clip_id: str
    video: str  # path in the corpus
    label: str
    anchor_seconds: float
    thumbnail: UInt8[np.ndarray, "size size 3"] | None


def gather_clips(held_out: HeldOut, graph: ViewGraph, *, thumbnails: int) -> tuple[HeldOutClip, ...]:
    """Describe the held-out clips of all processes, `thumbnails` of them, evenly spread, with their pictures.

    The order is that of `Embedded`. Every process calls this once.
    """
    numbers = gather_objects(len(held_out))
    chosen = set(spread(sum(numbers), thumbnails))
    first = sum(numbers[: rank()])
    view = picture_view(graph)
    mine: list[HeldOutClip] = []
    for batch in held_out.batches:
        wanted = {row for row in range(len(batch.specs)) if first + len(mine) + row in chosen}
        pictures = {} if view is None else _thumbnails(batch, view, graph, rows=wanted)
        mine += [_clip(spec, pictures.get(row)) for row, spec in enumerate(batch.specs)]
    return tuple(clip for share in gather_objects(mine) for clip in share)


def spread(total: int, most: int) -> list[int]:
    """Choose at most `most` of `total` rows, evenly spread from the first to the last."""
    if total <= most:
        return list(range(total))
    return [round(row) for row in np.linspace(0, total - 1, most)]


def picture_view(graph: ViewGraph) -> str | None:
    """Name the view whose picture stands for a clip: the first that is a still and not augmented, if there is one."""
    frames = {name: view for name, view in graph.signals.items() if isinstance(view, FrameView)}
    return min(frames, key=lambda name: (frames[name].is_augmented, frames[name].frames), default=None)


def _thumbnails(
    batch: Batch, name: str, graph: ViewGraph, *, rows: set[int]
) -> dict[int, UInt8[np.ndarray, "size size 3"]]:
    """Shrink the pictures of some clips; of a stack, the one in the middle."""
    view = graph.signals[name]
    assert isinstance(view, FrameView)
    if name not in batch.views:
        return {}
    first = 3 * (view.frames // 2)
    there = [(place, row) for place, row in enumerate(batch.rows[name].tolist()) if row in rows]
    pictures = batch.views[name][[place for place, _ in there], first : first + 3]
    small = F.interpolate(pictures.float(), size=THUMBNAIL_PX, mode="area") if there else torch.empty(0)
    return {row: _pixels(small[n]) for n, (_, row) in enumerate(there)}


def _pixels(picture: Tensor) -> UInt8[np.ndarray, "size size 3"]:
    return picture.round().to(torch.uint8).permute(1, 2, 0).numpy()


def _clip(spec: ClipSpec, thumbnail: UInt8[np.ndarray, "size size 3"] | None) -> HeldOutClip:
    return HeldOutClip(spec.clip_id, spec.video.path, spec.video.label, spec.anchor_seconds, thumbnail)
