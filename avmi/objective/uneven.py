"""Facts of a batch that is shorter than another process's → the same with clips that have no view, up to one length."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from avmi.distributed import rank
from avmi.errors import InputError


@dataclass(frozen=True)
class Facts:
    """Which clips of a batch have a view, by signal view; of which videos the clips are, and their seconds."""

    rows: Mapping[str, Int[Tensor, "_"]] | None  # None: all views of all clips
    videos: Int[Tensor, "batch"] | None  # None: every clip of a video of its own
    seconds: Float[Tensor, "batch"] | None = None


def padded(facts: Facts, *, signals: tuple[str, ...], clips: int, capacity: int) -> Facts:
    """Add clips without any view to a batch of `clips`, so that it has `capacity`, as those of other processes.

    Raises `InputError` when the batch has more.
    """
    missing = capacity - clips
    if missing < 0:
        raise InputError(f"the batch has {clips} clips and capacity is {capacity}: raise it")
    some = next(iter(facts.rows.values())) if facts.rows else facts.videos
    every = torch.arange(clips, device=None if some is None else some.device)
    videos = every + rank() * capacity if facts.videos is None else facts.videos
    return Facts(
        rows=dict.fromkeys(signals, every) if facts.rows is None else facts.rows,
        videos=pad(videos, (0, missing), value=-1),
        seconds=None if facts.seconds is None else pad(facts.seconds, (0, missing)),
    )
