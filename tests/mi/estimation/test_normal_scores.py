"""Normal scores and radii, against scipy's ranks."""

import numpy as np
import torch
from scipy import stats

from avmi.mi.estimation.normal_scores import NormalScores, Radius


def rows(number: int, dims: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(number, dims, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_fitted_rows_get_the_quantiles_of_their_ranks() -> None:
    x = rows(37, 3).exp()
    found = NormalScores.fitted(x)(x)
    expected = stats.norm.ppf((stats.rankdata(x.numpy(), axis=0) - 0.5) / 37)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_equal_values_share_the_quantile_of_their_middle_rank() -> None:
    x = torch.tensor([[1.0], [2.0], [2.0], [2.0], [7.0]])
    found = NormalScores.fitted(x)(x)[:, 0]
    expected = stats.norm.ppf((stats.rankdata(x[:, 0].numpy()) - 0.5) / 5)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_between_fitted_values_scores_are_linear_and_beyond_them_constant() -> None:
    scores = NormalScores.fitted(torch.tensor([[0.0], [1.0], [3.0]]))
    low, middle, high = stats.norm.ppf(np.array([1, 3, 5]) / 6)
    found = scores(torch.tensor([[-9.0], [0.25], [2.0], [99.0]]))[:, 0]
    expected = [low, low + 0.25 * (middle - low), (middle + high) / 2, high]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-12)


def test_a_rising_map_of_a_dimension_leaves_the_scores_of_fitted_rows() -> None:
    x = rows(50, 2)
    assert torch.allclose(NormalScores.fitted(x)(x), NormalScores.fitted(x**3)(x**3))


def test_a_single_value_scores_zero() -> None:
    assert torch.equal(NormalScores.fitted(torch.ones(4, 1))(torch.ones(3, 1)), torch.zeros(3, 1).double())


def test_the_radius_rises_with_the_distance_and_forgets_units_and_places() -> None:
    x = rows(61, 4)
    found = Radius.fitted(x)(x)[:, 0]
    moved = x * torch.tensor([1.0, 10.0, 0.1, 5.0]) + 7
    assert torch.allclose(Radius.fitted(moved)(moved)[:, 0], found, atol=1e-9)
    centred = (x - x.median(dim=0).values) / stats.iqr(x.numpy(), axis=0)
    lengths = np.square(centred.numpy()).mean(axis=1)
    np.testing.assert_array_equal(np.argsort(lengths), np.argsort(found.numpy()))


def test_a_dimension_that_is_mostly_one_value_has_a_finite_radius() -> None:
    x = torch.zeros(40, 1, dtype=torch.float64)
    x[:4] = 1.0
    assert Radius.fitted(x)(x).isfinite().all()
