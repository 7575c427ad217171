"""Embeddings of this process's clips → those of all processes, laid out clip by clip, in one exchange."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avmi.distributed import gather_with_gradient, rank


@dataclass(frozen=True)
class ViewRows:
    """One view of this process's batch: its embeddings, the clips that these are of, and its places."""

    embeddings: Float[Tensor, "_ *grid dim"] | None  # None: no clip of the batch has the view
    rows: Int[Tensor, "_"] | None  # None: all clips, in order
    grid: tuple[int, ...]


@dataclass(frozen=True)
class OwnClips:
    """Share of this process in the joined clips, from `first_clip` on, and its embeddings before they were joined."""

    embeddings: Mapping[str, Float[Tensor, "some _ dim"]]
    first_clip: int


@dataclass(frozen=True)
class Joined:
    """Embeddings of all processes' clips: a view's places are flattened, a clip without the view holds zeros."""

    embeddings: Mapping[str, Float[Tensor, "clips _ dim"]]
    present: Mapping[str, Bool[Tensor, "clips"]]
    videos: Int[Tensor, "clips"] | None
    seconds: Float[Tensor, "clips"] | None  # to a millisecond
    own: OwnClips | None = None  # None: every process has embedded all clips, or takes all of them

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

    `like` gives device and embedding length. Every process gives the same views, places and facts, and the same
    `batch`: rows that none of its clips have stand for clips that are not there.
    """
    laid = [_laid_out(view, batch, like) for view in views.values()]
    places = [part.shape[1] for part in laid]
    vectors = torch.cat(laid, dim=1)
    if like.requires_grad and not vectors.requires_grad:
        # No paired view is here: the others' gradients are added up with this process's zeros all the same.
        vectors.requires_grad_()
    facts = [_present(view, batch, like.device) for view in views.values()]
    facts += [] if videos is None else [videos.long()]
    facts += [] if seconds is None else [(seconds.float() * 1000).round().long()]
    flat, columns = gather_with_gradient(vectors.flatten(1), torch.stack(facts, dim=1))
    joined = flat.view(len(flat), *vectors.shape[1:]).split(places, dim=1)
    column = columns.unbind(dim=1)
    return Joined(
        embeddings=dict(zip(views, joined, strict=True)),
        present={name: present.bool() for name, present in zip(views, column, strict=False)},
        videos=None if videos is None else column[len(views)],
        seconds=None if seconds is None else column[-1] / 1000,
        own=OwnClips(dict(zip(views, laid, strict=True)), rank() * batch),
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
