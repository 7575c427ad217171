"""What embedding gives: vectors row by row with the clips they are of, and the videos that could not be read."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from avmi.corpus.manifest import Reject
from avmi.corpus.plan import ClipSpec
from avmi.errors import InputError

Output = Literal["embedding", "feature"]


@dataclass(frozen=True)
class ClipVectors:
    """Image and audio vectors of clips, row by row, and the videos that could not be read."""

    specs: tuple[ClipSpec, ...]
    image: Float[Tensor, "clips image_dim"]
    audio: Float[Tensor, "clips audio_dim"]
    rejects: tuple[Reject, ...] = ()

    @staticmethod
    def join(parts: Iterable["ClipVectors"]) -> "ClipVectors":
        """Join the parts of a stream; raises `InputError` when there is no clip in them."""
        every = list(parts)
        filled = [part for part in every if part.specs]
        if not filled:
            raise InputError(
                "no clip could be embedded: the split is empty, or its videos are too short or unreadable"
            )
        return ClipVectors(
            specs=tuple(spec for part in filled for spec in part.specs),
            image=torch.cat([part.image for part in filled]),
            audio=torch.cat([part.audio for part in filled]),
            rejects=tuple(reject for part in every for reject in part.rejects),
        )


@dataclass(frozen=True)
class ViewVectors:
    """Vectors of one view of clips, row by row, and the videos that could not be read."""

    specs: tuple[ClipSpec, ...]
    vectors: Float[Tensor, "clips dim"]
    rejects: tuple[Reject, ...] = ()


@dataclass(frozen=True)
class BatchVectors:
    """Vectors of a batch of clips by the name of their view, and the videos that could not be read."""

    specs: tuple[ClipSpec, ...]
    vectors: dict[str, Float[Tensor, "_ _"]]  # each holds all clips, or is missing
    rejects: tuple[Reject, ...] = ()
