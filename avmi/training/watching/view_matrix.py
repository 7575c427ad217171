"""Embedded held-out clips and the bounds of the trained pairs → the matrix of bounds between all views."""

import math
from collections.abc import Mapping
from itertools import combinations

from avmi.mi.view_matrix import MatrixCell, ViewMatrix, bound_of_views, cell_of, untrained_cells
from avmi.training.watching.evaluation import Embedded
from avmi.views.graph import Pair, ViewGraph


def view_matrix(embedded: Embedded, scalars: Mapping[str, float], graph: ViewGraph) -> ViewMatrix:
    """Take the bounds of the pairs from an evaluation's scalars, and bound every other two views.

    A pair that is trained only against other seconds of the same video is bounded as those without training are: the
    matrix is about clips of other videos.
    """
    joined = embedded.joined
    assert joined.videos is not None
    cells = []
    for pair in graph.pairs:
        if f"bound_nats/{pair.name}" in scalars:
            cells.append(_from_scalars(pair, scalars))
            continue
        both = joined.present[pair.first] & joined.present[pair.second]
        sides = joined.embeddings[pair.first], joined.embeddings[pair.second]
        found = bound_of_views(*sides, present=both, videos=joined.videos)
        if len(found.terms):
            cells.append(cell_of((pair.first, pair.second), found, is_trained=True))
    trained = {frozenset((pair.first, pair.second)) for pair in graph.pairs}
    cells += untrained_cells(joined.embeddings, joined.present, videos=joined.videos, trained=trained)
    order = {frozenset(names): place for place, names in enumerate(combinations(graph.views, 2))}
    return ViewMatrix(tuple(graph.views), tuple(sorted(cells, key=lambda cell: order[frozenset(cell.views)])))


def _from_scalars(pair: Pair, scalars: Mapping[str, float]) -> MatrixCell:
    name = pair.name
    return MatrixCell(
        views=(pair.first, pair.second),
        is_trained=True,
        value_nats=scalars[f"bound_nats/{name}"],
        standard_error_nats=scalars[f"standard_error_nats/{name}"],
        ceiling_nats=scalars.get(f"ceiling_nats/{name}", math.inf),
        cosine_ceiling_nats=scalars.get(f"cosine_ceiling_nats/{name}", math.inf),
        k_effective=scalars[f"k_effective/{name}"],
        temperature=scalars[f"temperature/{name}"],
        clips=round(scalars[f"clips/{name}"]),
    )
