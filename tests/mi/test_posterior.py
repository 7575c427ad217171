"""Gaussian posteriors → densities and bounds, against scipy, loops and closed forms."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from avmi.errors import InputError
from avmi.mi.conditional import leave_one_out_upper
from avmi.mi.distances import squared_distances
from avmi.mi.marginals import GaussianMixture, StandardNormal
from avmi.mi.posterior import (
    Marginal,
    Posterior,
    clamp_log_sigma,
    defensive,
    draw,
    log_densities,
    log_marginal,
    log_posterior,
    posterior_nce,
    rate,
)


def posteriors(rows: int, dim: int, *, log_sigma: float = -0.5, seed: int = 3) -> Posterior:
    generator = torch.Generator().manual_seed(seed)
    mean, spread = torch.randn(2, rows, dim, generator=generator, dtype=torch.float64)
    return draw(mean, log_sigma + 0.3 * spread, generator=generator)


def mixture(dim: int, components: int) -> Marginal:
    generator = torch.Generator().manual_seed(11)
    mean, spread = torch.randn(2, components, dim, generator=generator, dtype=torch.float64)
    weights = torch.randn(components, generator=generator, dtype=torch.float64).log_softmax(dim=0)
    return Marginal(weights, mean, 0.2 * spread)


def brute_force(samples: Posterior, columns: Posterior) -> np.ndarray:
    """log p(z_i | x_j) by scipy, coordinate by coordinate."""
    return np.array(
        [
            [
                norm.logpdf(z, mean, np.exp(log_sigma)).sum()
                for mean, log_sigma in zip(*columns[:2], strict=True)
            ]
            for z in samples.sample.numpy()
        ]
    )


def test_densities_are_those_of_scipy_for_any_block(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, columns = posteriors(5, 3), posteriors(7, 3, seed=4)
    expected = torch.from_numpy(brute_force(samples, columns))
    for numbers in (1, 31, 2**17):
        monkeypatch.setattr("avmi.mi.distances.CPU_BLOCK_NUMBERS", numbers)
        found = log_densities(samples.sample, columns.mean, columns.log_sigma)
        torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)
    torch.testing.assert_close(
        log_posterior(samples), torch.from_numpy(brute_force(samples, samples)).diagonal()
    )


def test_float32_densities_hold_where_the_expanded_square_errs_by_nats() -> None:
    generator = torch.Generator().manual_seed(6)
    mean = torch.randn(9, 64, generator=generator, dtype=torch.float64)
    exact = draw(mean, torch.full_like(mean, math.log(0.001)), generator=generator)
    single = Posterior(*(part.float() for part in exact))
    # What float32 does to the numbers themselves is not the formula's fault.
    reference = log_posterior(Posterior(*(part.double() for part in single)))
    direct = log_densities(single.sample, single.mean, single.log_sigma).diagonal()
    assert float((direct - reference).abs().max()) < 1e-3
    precision = (-2 * single.log_sigma).exp()
    expanded = (
        single.sample.square() @ precision.T
        - 2 * single.sample @ (single.mean * precision).T
        + (single.mean.square() * precision).sum(dim=1)
    ).diagonal()
    assert (
        float((expanded - ((single.sample - single.mean).square() * precision).sum(dim=1)).abs().max()) > 1.0
    )


@pytest.mark.parametrize("numbers", [1, 12, 2**17])
def test_gradients_of_distances_are_those_of_finite_differences(
    numbers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("avmi.mi.distances.CPU_BLOCK_NUMBERS", numbers)
    generator = torch.Generator().manual_seed(2)
    shapes = ((5, 3), (7, 3), (7, 3))
    inputs = [torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes]
    assert torch.autograd.gradcheck(squared_distances, inputs)


def test_densities_are_float32_under_autocast() -> None:
    low = Posterior(*(part.bfloat16() for part in posteriors(5, 3)))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert log_densities(low.sample, low.mean, low.log_sigma).dtype == torch.float32
        assert rate(low, mixture(3, 2)).value_nats.dtype != torch.bfloat16


def test_the_clamp_keeps_order_range_and_gradient() -> None:
    x = torch.linspace(-12, 9, 211, requires_grad=True)
    clamped = clamp_log_sigma(x)
    assert bool((clamped.diff() > 0).all())
    assert clamped.min().item() > -4
    assert clamped.max().item() < 2
    clamped.sum().backward()
    assert x.grad is not None
    assert x.grad.min().item() > 0
    assert x.grad.max().item() <= 1
    torch.testing.assert_close(clamp_log_sigma(torch.tensor([-1.0])), torch.tensor([-1.0]), atol=0.1, rtol=0)
    assert clamp_log_sigma(torch.tensor([-1e4, 1e4])).tolist() == [-4.0, 2.0]


def test_the_rate_to_a_standard_normal_is_the_closed_form_divergence() -> None:
    posterior = posteriors(6, 4)
    mean, sigma = posterior.mean, posterior.log_sigma.exp()
    expected = ((mean.square() + sigma.square() - 1) / 2 - posterior.log_sigma).sum(dim=1).mean()
    bound = rate(posterior, StandardNormal(4)())
    torch.testing.assert_close(bound.value_nats, expected)
    assert (bound.name, bound.kind, float(bound.ceiling_nats)) == ("rate", "upper", math.inf)


def test_the_rate_to_a_mixture_is_at_or_above_its_draws() -> None:
    posterior, r = posteriors(6, 2), mixture(2, 3)
    above = rate(posterior, r).value_nats
    generator = torch.Generator().manual_seed(7)
    draws = [
        float(rate(draw(*posterior[:2], generator=generator), r, method="monte_carlo").value_nats)
        for _ in range(100)
    ]
    error = np.std(draws) / 10
    assert np.mean(draws) < float(above) + 3 * error
    one = mixture(2, 1)
    draws = [
        float(rate(draw(*posterior[:2], generator=generator), one, method="monte_carlo").value_nats)
        for _ in range(100)
    ]
    assert abs(np.mean(draws) - float(rate(posterior, one).value_nats)) < 4 * np.std(draws) / 10


@pytest.mark.parametrize("epsilon", [0.01, 0.4, 1.0])
def test_the_defensive_bound_is_its_formula(epsilon: float) -> None:
    posterior, r = posteriors(6, 2), mixture(2, 3)
    densities = np.exp(brute_force(posterior, posterior))
    log_r = np.array(
        [
            np.logaddexp.reduce(
                [
                    weight + norm.logpdf(z, mean, np.exp(log_sigma)).sum()
                    for weight, mean, log_sigma in zip(*(part.numpy() for part in r), strict=True)
                ]
            )
            for z in posterior.sample.numpy()
        ]
    )
    expected = np.mean(
        [
            np.log(densities[i, i])
            - np.log((1 - epsilon) * np.delete(densities[i], i).mean() + epsilon * np.exp(log_r[i]))
            for i in range(6)
        ]
    )
    assert float(defensive(posterior, r, epsilon=epsilon).value_nats) == pytest.approx(expected, abs=1e-6)
    np.testing.assert_allclose(log_marginal(posterior.sample, r).numpy(), log_r)


@pytest.mark.parametrize("log_sigma", [-4.0, -1.0, 1.0])
@pytest.mark.parametrize("epsilon", [0.001, 0.1, 0.9])
def test_the_defensive_bound_is_never_far_above_the_rate_nor_leave_one_out(
    epsilon: float, log_sigma: float
) -> None:
    posterior, r = posteriors(9, 5, log_sigma=log_sigma), mixture(5, 3)
    value = float(defensive(posterior, r, epsilon=epsilon).value_nats)
    densities = log_densities(posterior.sample, posterior.mean, posterior.log_sigma)
    leave_one_out = float(leave_one_out_upper(densities.T, conditional="known").value_nats)
    by_draws = float(rate(posterior, r, method="monte_carlo").value_nats)
    assert value <= by_draws - math.log(epsilon) + 1e-9
    assert value <= leave_one_out - math.log1p(-epsilon) + 1e-9


def test_a_mask_leaves_out_what_is_no_draw_of_the_marginal() -> None:
    posterior, r = posteriors(6, 2), mixture(2, 3)
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[:, 5] = mask[5, :] = False
    masked = defensive(posterior, r, epsilon=0.3, negatives=mask)
    of_five = defensive(Posterior(*(part[:5] for part in posterior)), r, epsilon=0.3)
    last = Posterior(*(part[5:] for part in posterior))
    alone = rate(last, r, method="monte_carlo")  # a row without others is set against r
    torch.testing.assert_close(masked.value_nats, (5 * of_five.value_nats + alone.value_nats) / 6)
    assert defensive(posterior, r, epsilon=0.3, independent_negatives=False).kind == "neither"
    nce = posterior_nce(posterior, negatives=mask)
    assert (int(nce.counted), int(nce.excluded), nce.kind, nce.name) == (5, 1, "lower", "posterior_nce")


def test_rows_without_others_have_a_finite_gradient() -> None:
    mean = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    posterior = draw(mean, torch.zeros(4, 3))
    nobody = torch.zeros(4, 4, dtype=torch.bool)
    defensive(posterior, StandardNormal(3)(), epsilon=0.2, negatives=nobody).value_nats.backward()
    assert mean.grad is not None
    assert bool(mean.grad.isfinite().all())


def test_a_bank_of_other_posteriors_stands_in_for_the_batch() -> None:
    posterior, r = posteriors(6, 2), mixture(2, 3)
    bank = posteriors(8, 2, seed=9)
    densities = torch.from_numpy(brute_force(posterior, bank))
    m = torch.logaddexp(
        densities.logsumexp(dim=1) - math.log(8) + math.log(0.7),
        log_marginal(posterior.sample, r) + math.log(0.3),
    )
    expected = (log_posterior(posterior) - m).mean()
    torch.testing.assert_close(defensive(posterior, r, epsilon=0.3, bank=bank).value_nats, expected)


def test_far_apart_posteriors_pull_less_under_the_defensive_bound() -> None:
    generator = torch.Generator().manual_seed(5)
    mean = (5 * torch.randn(16, 32, generator=generator)).requires_grad_()
    posterior = draw(mean, torch.full((16, 32), -3.0), generator=generator)
    densities = log_densities(posterior.sample, posterior.mean, posterior.log_sigma)
    naive = leave_one_out_upper(densities.T, conditional="known").value_nats
    safe = defensive(posterior, StandardNormal(32)(), epsilon=0.1).value_nats
    norms = [float(torch.autograd.grad(v, mean, retain_graph=True)[0].norm()) for v in (naive, safe)]
    assert norms[0] > 100 * norms[1]


def test_the_standard_error_of_the_defensive_bound_is_that_of_repeated_draws() -> None:
    r = StandardNormal(1)()
    bounds = [defensive(posteriors(64, 1, seed=100 + n), r, epsilon=0.1) for n in range(200)]
    deviation = np.std([float(bound.value_nats) for bound in bounds])
    reported = np.mean([float(bound.standard_error_nats) for bound in bounds])
    assert 0.8 < reported / deviation < 1.25


@pytest.mark.parametrize("epsilon", [0.0, -0.1, 1.1, math.nan])
def test_a_share_of_the_marginal_that_is_none_is_an_error(epsilon: float) -> None:
    with pytest.raises(InputError, match="epsilon must be above 0 and at most 1"):
        defensive(posteriors(3, 2), mixture(2, 1), epsilon=epsilon)


def test_a_learned_mixture_finds_the_marginal_and_the_rate_closes_on_the_information() -> None:
    # x is one of two values, z lies near −1 or 1: I(x; z) ≈ log 2, which no single Gaussian r can say.
    torch.manual_seed(0)
    side = torch.randint(0, 2, (400, 1)) * 2.0 - 1
    posterior = draw(side, torch.full_like(side, math.log(0.1)))
    r = GaussianMixture(1, components=2)
    optimizer = torch.optim.Adam(r.parameters(), lr=0.2)
    for _ in range(200):
        optimizer.zero_grad()
        rate(posterior, r()).value_nats.backward()
        optimizer.step()
    assert rate(posterior, r()).value_nats.item() == pytest.approx(math.log(2), abs=0.03)
    assert float(rate(posterior, StandardNormal(1)()).value_nats) > 2 * math.log(2)
    torch.testing.assert_close(r().log_weights.exp().sum(), torch.tensor(1.0))
