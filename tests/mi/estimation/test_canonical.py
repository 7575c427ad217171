"""Canonical pairs and their Gaussian log density ratio, against closed forms."""

import pytest
import torch
from sklearn.cross_decomposition import CCA
from torch.distributions import MultivariateNormal, Normal

from avmi.mi.estimation.canonical import CanonicalPairs, gaussian_log_ratios
from avmi.mi.estimation.tasks import dense_normal, sparse_normal


def test_log_ratios_are_those_of_the_conditional_and_the_margin() -> None:
    correlations = torch.tensor([0.8, -0.3], dtype=torch.float64)
    a, b = torch.randn(2, 5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind()
    b = torch.cat([b, b[:2] * 3])
    found = gaussian_log_ratios(a, b, correlations=correlations)
    conditional = Normal(a[:, None] * correlations, (1 - correlations**2).sqrt())
    expected = (conditional.log_prob(b[None]) - Normal(0.0, 1.0).log_prob(b[None])).sum(dim=2)
    assert found.shape == (5, 7)
    assert torch.allclose(found, expected)


def test_groups_are_scored_each_by_itself() -> None:
    a, b = torch.randn(2, 3, 4, 2, generator=torch.Generator().manual_seed(2)).unbind()
    correlations = torch.tensor([0.5, 0.1])
    found = gaussian_log_ratios(a, b, correlations=correlations)
    for group in range(3):
        assert torch.allclose(
            found[group], gaussian_log_ratios(a[group], b[group], correlations=correlations), atol=1e-6
        )


def test_the_pairs_are_those_of_another_library() -> None:
    x, y = dense_normal(3, 0.5).draw(400, torch.Generator().manual_seed(3))
    pairs = CanonicalPairs.fitted(x, y)
    other = CCA(n_components=2, scale=False, max_iter=5000, tol=1e-12).fit(x.numpy(), y.numpy())
    theirs_x, theirs_y = other.transform(x.numpy(), y.numpy())
    ours = torch.stack([pairs.variates_of_x(x)[:, 0], torch.tensor(theirs_x)[:, 0]])
    assert abs(torch.corrcoef(ours)[0, 1]) == pytest.approx(1, abs=1e-6)
    theirs = torch.corrcoef(torch.stack([torch.tensor(theirs_x)[:, 1], torch.tensor(theirs_y)[:, 1]]))[0, 1]
    assert float(pairs.correlations[1]) == pytest.approx(float(theirs), abs=1e-4)


def test_all_pairs_of_gaussians_give_the_log_ratio_of_the_fitted_gaussian() -> None:
    x, y = sparse_normal(3).draw(300, torch.Generator().manual_seed(4))
    pairs = CanonicalPairs.fitted(x, y)
    both = torch.cat([x, y], dim=1)
    centred = both - both.mean(dim=0)
    covariance = centred.T @ centred / len(both)
    joint = MultivariateNormal(both.mean(dim=0), covariance)
    of_x = MultivariateNormal(x.mean(dim=0), covariance[:3, :3])
    of_y = MultivariateNormal(y.mean(dim=0), covariance[3:, 3:])
    expected = joint.log_prob(both) - of_x.log_prob(x) - of_y.log_prob(y)
    assert torch.allclose(pairs.log_ratios(x, y, rank=3).diagonal(), expected, atol=1e-8)


def test_rank_0_says_nothing() -> None:
    x, y = sparse_normal(2).draw(50, torch.Generator().manual_seed(5))
    assert torch.equal(CanonicalPairs.fitted(x, y).log_ratios(x, y[:7], rank=0), torch.zeros(50, 7).double())


def test_copies_of_a_column_change_nothing() -> None:
    x, y = sparse_normal(3).draw(200, torch.Generator().manual_seed(6))
    copied = CanonicalPairs.fitted(torch.cat([x, x[:, :2]], dim=1), y)
    assert torch.allclose(copied.correlations, CanonicalPairs.fitted(x, y).correlations, atol=1e-6)
