"""How embeddings lie, against sums over pairs, singular values by hand, and codes whose numbers are known."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avmi.mi.diagnostics import (
    alignment,
    effective_rank,
    embedding_deviation,
    place_means,
    uniform_deviation,
    uniformity,
)


def unit(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_alignment_is_the_mean_squared_distance() -> None:
    first, second = unit(7, 5, seed=0), unit(7, 5, seed=1)
    brute = sum(float((a - b).square().sum()) for a, b in zip(first, second, strict=True)) / 7
    assert float(alignment(first, second)) == pytest.approx(brute, abs=1e-5)
    assert float(alignment(first, first)) == pytest.approx(0, abs=1e-6)
    assert float(alignment(first, -first)) == pytest.approx(4, abs=1e-6)


def test_alignment_of_place_means_is_that_over_all_pairs_of_places() -> None:
    first, second = unit(4, 3, 6, seed=0), unit(4, 2, 6, seed=1)
    present = torch.tensor([True, False, True, True])
    means = [place_means(view, present) for view in (first, second)]
    brute = [
        float((first[i, p] - second[i, q]).square().sum())
        for i in (0, 2, 3)
        for p in range(3)
        for q in range(2)
    ]
    assert float(alignment(*means)) == pytest.approx(sum(brute) / len(brute), abs=1e-5)


def test_uniformity_is_the_log_mean_of_the_kernel_over_different_rows() -> None:
    rows = unit(6, 4, seed=2)
    kernel = [
        math.exp(-2 * float((rows[i] - rows[j]).square().sum())) for i in range(6) for j in range(6) if i != j
    ]
    assert float(uniformity(rows)) == pytest.approx(math.log(sum(kernel) / 30), abs=1e-5)


def test_uniformity_is_0_where_all_are_alike_and_near_minus_4_where_all_are_orthogonal() -> None:
    assert float(uniformity(unit(1, 4, seed=0).expand(5, 4))) == pytest.approx(0, abs=1e-5)
    assert float(uniformity(torch.eye(9))) == pytest.approx(-4, abs=1e-5)


def test_effective_rank_counts_equal_directions_and_is_one_for_a_single_one() -> None:
    basis = torch.linalg.qr(torch.randn(11, 11, generator=torch.Generator().manual_seed(0)))[0]
    assert float(effective_rank(basis[:3].repeat(4, 1))) == pytest.approx(3, abs=1e-4)
    assert float(effective_rank(basis[:1] * torch.tensor([[1.0], [-2.0], [3.0]]))) == pytest.approx(
        1, abs=1e-3
    )


def test_effective_rank_is_the_exponential_of_the_entropy_of_the_singular_values() -> None:
    rows = unit(8, 5, seed=3).double()
    values = torch.linalg.eigvalsh(rows.T @ rows).clamp(min=0).sqrt()
    shares = (values / values.sum()).tolist()
    entropy = -sum(share * math.log(share) for share in shares)
    assert float(effective_rank(rows.float())) == pytest.approx(math.exp(entropy), abs=1e-3)


def test_deviation_is_zero_of_one_vector_and_that_of_the_sphere_of_a_uniform_code() -> None:
    assert float(embedding_deviation(unit(1, 4, seed=0).expand(5, 4))) == pytest.approx(0, abs=1e-7)
    assert uniform_deviation(16) == 0.25
    assert float(embedding_deviation(unit(4000, 16, seed=1))) == pytest.approx(0.25, rel=0.02)


def test_too_few_rows_and_what_is_no_number_give_nan() -> None:
    one = unit(1, 3, seed=0)
    assert math.isnan(float(uniformity(one)))
    assert math.isnan(float(embedding_deviation(one)))
    assert math.isnan(float(effective_rank(torch.zeros(4, 3))))
    assert math.isnan(float(effective_rank(torch.full((4, 3), math.nan))))
