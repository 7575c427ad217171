"""Embeddings of held-out clips by view → the bound on the MI of every two views, trained as a pair or not; pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avmi.mi.diagnostics import place_means
from avmi.mi.held_out import HeldOutBound, held_out_bound
from avmi.mi.negatives import other_video_negatives

# Views of more clips are thinned out: the scores of so many take 64 MB, and K is large enough for 8 nats.
MOST_CLIPS = 4096


@dataclass(frozen=True)
class MatrixCell:
    """The bound on the MI of two views."""

    views: tuple[str, str]
    is_trained: bool  # whether the two are a pair of the graph
    value_nats: float
    standard_error_nats: float
    ceiling_nats: float  # log K
    cosine_ceiling_nats: float  # the most that cosines over the temperature say
    k_effective: float
    temperature: float
    clips: int


@dataclass(frozen=True)
class ViewMatrix:
    """Views, and a cell for every two of them that have clips together."""

    views: tuple[str, ...]
    cells: tuple[MatrixCell, ...]

    def cell(self, first: str, second: str) -> MatrixCell | None:
        """Give the cell of two views, in either order; None when no clips have both."""
        return next((cell for cell in self.cells if set(cell.views) == {first, second}), None)


def bound_of_views(
    first: Float[Tensor, "clips _ dim"],
    second: Float[Tensor, "clips _ dim"],
    *,
    present: Bool[Tensor, "clips"],
    videos: Int[Tensor, "clips"],
) -> HeldOutBound:
    """Bound the MI of two views of the clips that have both, against the clips of other videos.

    A view that keeps places is scored by the mean over its places. `rows` of the result are those of the clips given.
    """
    rows = _thinned(torch.nonzero(present).flatten())
    everywhere = torch.ones(len(rows), dtype=torch.bool)
    sides = [place_means(view[rows], everywhere) for view in (first, second)]
    negatives = other_video_negatives(everywhere, videos[rows])
    found = held_out_bound(sides[0] @ sides[1].T, negatives, videos[rows])
    return HeldOutBound(
        found.terms, rows[found.rows], found.ceiling_nats, found.temperature, found.standard_error_nats
    )


def untrained_cells(
    embeddings: Mapping[str, Float[Tensor, "clips _ dim"]],
    present: Mapping[str, Bool[Tensor, "clips"]],
    *,
    videos: Int[Tensor, "clips"],
    trained: Collection[frozenset[str]],
) -> tuple[MatrixCell, ...]:
    """Bound every two views that are no pair of the graph, as far as clips of two videos have both."""
    cells = []
    for names in combinations(embeddings, 2):
        if frozenset(names) in trained:
            continue
        both = present[names[0]] & present[names[1]]
        found = bound_of_views(embeddings[names[0]], embeddings[names[1]], present=both, videos=videos)
        if len(found.terms):
            cells.append(cell_of(names, found, is_trained=False))
    return tuple(cells)


def cell_of(views: tuple[str, str], found: HeldOutBound, *, is_trained: bool) -> MatrixCell:
    """Take what the matrix shows of a bound."""
    return MatrixCell(
        views=views,
        is_trained=is_trained,
        value_nats=found.value_nats,
        standard_error_nats=found.standard_error_nats,
        ceiling_nats=found.ceiling_nats,
        cosine_ceiling_nats=found.cosine_ceiling_nats,
        k_effective=found.k_effective,
        temperature=found.temperature,
        clips=len(found.terms),
    )


def _thinned(rows: Int[Tensor, "_"]) -> Int[Tensor, "_"]:
    return rows if len(rows) <= MOST_CLIPS else rows[torch.linspace(0, len(rows) - 1, MOST_CLIPS).long()]
