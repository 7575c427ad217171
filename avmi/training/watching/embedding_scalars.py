"""Embeddings of clips by view → scalars of how they lie: one per view pair, three per view."""

from collections.abc import Iterable, Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avmi.data import Batch
from avmi.mi.diagnostics import (
    alignment,
    effective_rank,
    embedding_deviation,
    place_means,
    uniform_deviation,
    uniformity,
)
from avmi.views.graph import Pair, ViewGraph

# Rows of a view that are looked at: enough for the rank of 128 dimensions, and few enough that a record of a run
# costs what `benchmarks/diagnostics_cost.py` measures.
MOST_ROWS = 256


def scalars_of_batch(
    embeddings: Mapping[str, Float[Tensor, "_ *grid dim"]], batch: Batch, graph: ViewGraph
) -> dict[str, float]:
    """Look at the embeddings of this process's batch; on a GPU this waits for them, so it is called seldom."""
    return scalars_of_embeddings(*laid_out(embeddings, batch, graph), pairs=graph.pairs)


def laid_out(
    embeddings: Mapping[str, Float[Tensor, "_ *grid dim"]], batch: Batch, graph: ViewGraph
) -> tuple[dict[str, Float[Tensor, "clips _ dim"]], dict[str, Bool[Tensor, "clips"]]]:
    """Lay the embeddings of this process's batch out clip by clip, on the CPU, and say which clips have each view."""
    clips = len(batch.specs)
    laid, present = dict[str, Tensor](), dict[str, Tensor]()
    for name, embedding in embeddings.items():
        rows = batch.rows[graph.signal_of(name)].cpu()
        vectors = embedding.detach().to("cpu", torch.float32).reshape(len(rows), -1, embedding.shape[-1])
        laid[name] = vectors.new_zeros(clips, *vectors.shape[1:]).index_copy(0, rows, vectors)
        present[name] = torch.zeros(clips, dtype=torch.bool).index_fill(0, rows, True)
    return laid, present


def scalars_of_embeddings(
    embeddings: Mapping[str, Float[Tensor, "clips _ dim"]],
    present: Mapping[str, Bool[Tensor, "clips"]],
    *,
    pairs: Iterable[Pair],
) -> dict[str, float]:
    """Give alignment of every pair, and uniformity, effective rank and deviation of every view; all on the CPU.

    `uniform_deviation` is what `embedding_deviation` would be for a uniform code. A view that fewer than two clips
    have is left out, and so is a pair that no clip has.
    """
    scalars: dict[str, float] = {}
    for pair in pairs:
        if pair.first not in embeddings or pair.second not in embeddings:
            continue
        both = present[pair.first] & present[pair.second]
        if both.any():
            sides = [place_means(embeddings[name], both) for name in (pair.first, pair.second)]
            scalars[f"alignment/{pair.name}"] = float(alignment(*sides))
    dims = set[int]()
    for name, embedding in embeddings.items():
        rows = _spread(embedding[present[name]].flatten(0, 1))
        if len(rows) < 2:
            continue
        scalars[f"uniformity/{name}"] = float(uniformity(rows))
        scalars[f"effective_rank/{name}"] = float(effective_rank(rows))
        scalars[f"embedding_deviation/{name}"] = float(embedding_deviation(rows))
        dims.add(rows.shape[1])
    if len(dims) == 1:
        scalars["uniform_deviation"] = uniform_deviation(dims.pop())
    return scalars


def _spread(rows: Float[Tensor, "_ dim"]) -> Float[Tensor, "_ dim"]:
    """Take at most `MOST_ROWS`, evenly spread: neighbours are clips of one video or places of one clip."""
    if len(rows) <= MOST_ROWS:
        return rows
    return rows[torch.linspace(0, len(rows) - 1, MOST_ROWS).round().long()]
