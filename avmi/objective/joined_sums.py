"""InfoNCE sums of this process's clips against all, for every term → those of all clips, in one exchange."""

from collections.abc import Iterator, Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from avmi.distributed import share, world_size
from avmi.mi.pair_sums import PairSums


def join_sums(own: Mapping[str, PairSums]) -> dict[str, PairSums]:
    """Join the sums that every process has of its clips, in rank order; alike in every process.

    Every process gives the same terms, of as many clips.
    """
    if not own or world_size() == 1:
        return dict(own)
    laid = torch.cat([tensor.reshape(-1) for sums in own.values() for tensor in _tensors(sums)])
    # One process after the other, and in each term after term.
    parts = [iter(values.split(_sizes(own))) for values in share(laid).unbind()]
    return {name: PairSums.joined([_like(sums, part) for part in parts]) for name, sums in own.items()}


def add_up(own: Mapping[str, Float[Tensor, ""]]) -> dict[str, Float[Tensor, ""]]:
    """Add up what every process has of its clips, term by term; every process gives the same terms."""
    if not own or world_size() == 1:
        return dict(own)
    return dict(zip(own, share(torch.stack([*own.values()])).sum(dim=0), strict=True))


def _sizes(own: Mapping[str, PairSums]) -> list[int]:
    return [tensor.numel() for sums in own.values() for tensor in _tensors(sums)]


def _tensors(sums: PairSums) -> list[Tensor]:
    # Numbers of clips are whole up to 2^24 in single precision.
    number = sums.negatives.to(sums.of_rows.dtype)
    return [sums.positives, sums.of_rows, sums.of_columns, number]


def _like(sums: PairSums, values: Iterator[Tensor]) -> PairSums:
    positives, of_rows, of_columns, number = (next(values).view_as(t) for t in _tensors(sums))
    return PairSums(positives, of_rows, of_columns, number.long())
