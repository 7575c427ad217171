"""Embeddings of this process's clips → those of all processes, laid out clip by clip, in two exchanges."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avmi.distributed import gather, gather_with_gradient


@dataclass(frozen=True)
class ViewRows:
    """One view of this process's batch: its embeddings, the clips that these are of, and its places."""

    embeddings: Float[Tensor, "_ *grid dim"] | None  # None: no clip of the batch has the view
    rows: Int[Tensor, "_"] | None  # None: all clips, in order
    grid: tuple[int, ...]


@dataclass(frozen=True)
class Joined:
    """Embeddings of all processes' clips: a view's places are flattened, a clip without the view holds zeros."""

    embeddings: Mapping[str, Float[Tensor, "clips _ dim"]]
    present: Mapping[str, Bool[Tensor, "clips"]]
    videos: Int[Tensor, "clips"] | None
    seconds: Float[Tensor, "clips"] | None  # to a millisecond

    def to(self, device: torch.device) -> "Joined":
        """Move all of it to a device."""
        return Joined(
            {name: tensor.to(device) for name, tensor in self.embeddings.items()},
            {name: mask.to(device) for name, mask in self.present.items()},
            None if self.videos is None else self.videos.to(device),
            None if self.seconds is None else self.seconds.to(device),
        )


def join(
    views: Mapping[str, ViewRows],
    *,
    batch: int,
    like: Float[Tensor, "_ *_grid dim"],
    videos: Int[Tensor, "batch"] | None,
    seconds: Float[Tensor, "batch"] | None,
) -> Joined:
    """Lay the views out by clip and join the clips of all processes, with gradient to this process's own.

    `like` gives device and embedding length. Every process gives the same views, places and facts, and as many
    clips.
    """
    laid = [_laid_out(view, batch, like) for view in views.values()]
    vectors = gather_with_gradient(torch.cat(laid, dim=1)).split([part.shape[1] for part in laid], dim=1)
    facts = [_present(view, batch, like.device) for view in views.values()]
    facts += [] if videos is None else [videos.long()]
    facts += [] if seconds is None else [(seconds.float() * 1000).round().long()]
    columns: Sequence[Tensor] = gather(torch.stack(facts, dim=1)).unbind(dim=1)
    return Joined(
        embeddings=dict(zip(views, vectors, strict=True)),
        present={name: column.bool() for name, column in zip(views, columns, strict=False)},
        videos=None if videos is None else columns[len(views)],
        seconds=None if seconds is None else columns[-1] / 1000,
    )


def _laid_out(
    view: ViewRows, batch: int, like: Float[Tensor, "_ *_grid dim"]
) -> Float[Tensor, "batch _ dim"]:
    places = math.prod(view.grid)
    empty = like.new_zeros(batch, places, like.shape[-1], dtype=torch.float32)
    if view.embeddings is None:
        return empty
    flat = view.embeddings.float().reshape(len(view.embeddings), places, like.shape[-1])
    return flat if view.rows is None else empty.index_copy(0, view.rows, flat)


def _present(view: ViewRows, batch: int, device: torch.device) -> Int[Tensor, "batch"]:
    nowhere = torch.zeros(batch, dtype=torch.long, device=device)
    if view.embeddings is None:
        return nowhere
    return nowhere + 1 if view.rows is None else nowhere.index_fill(0, view.rows, 1)
