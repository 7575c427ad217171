"""The matrix of bounds, cell by cell, against the bound of two views alone."""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avmi.mi.held_out import held_out_bound
from avmi.mi.negatives import other_video_negatives
from avmi.mi.view_matrix import ViewMatrix, bound_of_views, untrained_cells

VIDEOS = torch.arange(10) // 2
EVERYWHERE = torch.ones(10, dtype=torch.bool)


def unit(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_views_with_places_are_scored_by_the_mean_over_places() -> None:
    first, second = unit(10, 3, 6, seed=0), unit(10, 1, 6, seed=1)
    found = bound_of_views(first, second, present=EVERYWHERE, videos=VIDEOS)
    scores = torch.einsum("ipd,jqd->ipjq", first, second).mean(dim=(1, 3))
    expected = held_out_bound(scores, other_video_negatives(EVERYWHERE, VIDEOS), VIDEOS)
    torch.testing.assert_close(found.terms, expected.terms, atol=1e-5, rtol=1e-5)


def test_rows_are_those_of_the_clips_that_have_both_views() -> None:
    present = torch.tensor([True] * 4 + [False] * 2 + [True] * 4)
    found = bound_of_views(unit(10, 1, 6, seed=0), unit(10, 1, 6, seed=1), present=present, videos=VIDEOS)
    assert found.rows.tolist() == [0, 1, 2, 3, 6, 7, 8, 9]


def test_every_two_views_that_are_no_pair_have_a_cell_as_far_as_clips_of_two_videos_have_them() -> None:
    embeddings = {name: unit(10, 1, 6, seed=seed) for seed, name in enumerate(("a", "b", "c", "d"))}
    present = dict.fromkeys(embeddings, EVERYWHERE) | {"d": torch.tensor([True, True] + [False] * 8)}
    cells = untrained_cells(embeddings, present, videos=VIDEOS, trained={frozenset(("a", "c"))})
    assert [cell.views for cell in cells] == [("a", "b"), ("b", "c")]
    assert not any(cell.is_trained for cell in cells)
    assert [cell.clips for cell in cells] == [10, 10]
    matrix = ViewMatrix(("a", "b", "c", "d"), cells)
    assert matrix.cell("c", "b") is cells[1]
    assert matrix.cell("a", "d") is None
    assert cells[0].k_effective == pytest.approx(9)
