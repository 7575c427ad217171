"""No `lower` stands above the truth and no `upper` below it, over 200 draws, beyond what chance allows.

The truth is a Gaussian pair's; critics are the exact one, its scaled and shifted copies, and random functions. A bound
is an expectation, so the mean over draws is tested, one-sided, at 1 in 10,000 for each case.
"""

import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from avmi.mi.bound import Bound
from avmi.mi.bounds import info_nce
from avmi.mi.conditional import barber_agakov, club, leave_one_out_upper, tractable_nce
from avmi.mi.multi_positive import multi_positive_info_nce
from avmi.mi.posterior import Marginal, Posterior, defensive, draw, posterior_nce, rate
from avmi.mi.variational import (
    donsker_varadhan,
    interpolated,
    jensen_shannon,
    leave_one_out_lower,
    nwj,
    smile,
    tuba,
)

REPEATS, ROWS, DIMS, CORRELATION = 200, 24, 3, 0.75
TRUTH = -0.5 * DIMS * math.log(1 - CORRELATION**2)  # 1.24 nats
MOST_DEVIATIONS = 3.72  # one-sided 1e-4 of a normal

DEVIATION = math.sqrt(1 - CORRELATION**2)
Critics = dict[str, Callable[[Tensor, Tensor], Tensor]]


def draws() -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    for _ in range(REPEATS):
        x = torch.randn(ROWS, DIMS, generator=generator, dtype=torch.float64)
        noise = torch.randn(ROWS, DIMS, generator=generator, dtype=torch.float64)
        yield x, CORRELATION * x + DEVIATION * noise


def log_conditional(x: Tensor, y: Tensor) -> Tensor:
    normal = torch.distributions.Normal(CORRELATION * x[:, None, :], DEVIATION)
    return normal.log_prob(y[None, :, :]).sum(dim=-1)


def log_marginal(y: Tensor) -> Tensor:
    return torch.distributions.Normal(0.0, 1.0).log_prob(y).sum(dim=-1)


def log_ratio(x: Tensor, y: Tensor) -> Tensor:
    return log_conditional(x, y) - log_marginal(y)


def random_critic(seed: int) -> Callable[[Tensor, Tensor], Tensor]:
    generator = torch.Generator().manual_seed(seed)
    w, v, u = (torch.randn(DIMS, 4, generator=generator, dtype=torch.float64) for _ in range(3))
    return lambda x, y: torch.tanh(x @ w) @ torch.tanh(y @ v).T - (torch.relu(y @ u).sum(-1))[None, :] / 4


CRITICS: Critics = {
    "exact": log_ratio,
    "exact + 1": lambda x, y: log_ratio(x, y) + 1,
    "half of exact": lambda x, y: log_ratio(x, y) / 2,
    "random 1": random_critic(1),
    "random 2": random_critic(2),
    "exact and random": lambda x, y: log_ratio(x, y) + random_critic(3)(x, y) / 2,
}
LOG_BASELINE = torch.tensor(0.3, dtype=torch.float64)
BOUNDS: dict[str, Callable[[Tensor], Bound]] = {
    "info_nce": info_nce,
    "info_nce_rows": lambda f: info_nce(f, direction="rows"),
    "info_nce_columns": lambda f: info_nce(f, direction="columns"),
    "multi_positive_info_nce": lambda f: multi_positive_info_nce(f[:, None, :, None]),
    "nwj": nwj,
    "tuba": lambda f: tuba(f, log_baseline=LOG_BASELINE),
    "jensen_shannon": jensen_shannon,
    "leave_one_out_lower": leave_one_out_lower,
    "interpolated 0.01": lambda f: interpolated(f, alpha=0.01, log_baseline=LOG_BASELINE),
    "interpolated 0.5": lambda f: interpolated(f, alpha=0.5, log_baseline=LOG_BASELINE),
}


def mean_and_error(values: list[float]) -> tuple[float, float]:
    given = torch.tensor(values, dtype=torch.float64)
    return given.mean().item(), given.std().item() / math.sqrt(len(values))


@pytest.mark.parametrize("critic", CRITICS)
@pytest.mark.parametrize("name", BOUNDS)
def test_no_lower_bound_stands_above_the_truth(name: str, critic: str) -> None:
    results = [BOUNDS[name](CRITICS[critic](x, y)) for x, y in draws()]
    assert {result.kind for result in results} == {"lower"}
    value, error = mean_and_error([result.value_nats.item() for result in results])
    assert value <= TRUTH + MOST_DEVIATIONS * error


@pytest.mark.parametrize("bound", [leave_one_out_upper, club])
def test_no_upper_bound_of_the_known_conditional_stands_below_the_truth(bound: Callable[..., Bound]) -> None:
    results = [bound(log_conditional(x, y), conditional="known") for x, y in draws()]
    assert {result.kind for result in results} == {"upper"}
    value, error = mean_and_error([result.value_nats.item() for result in results])
    assert value >= TRUTH - MOST_DEVIATIONS * error


def test_lower_bounds_from_conditionals_hold_for_exact_and_wrong_ones() -> None:
    entropy = DIMS * 0.5 * math.log(2 * math.pi * math.e)
    for scale in (1.0, 0.6, 1.7):

        def log_q(x: Tensor, y: Tensor, scale: float = scale) -> Tensor:
            normal = torch.distributions.Normal(CORRELATION * x[:, None, :], scale * DEVIATION)
            return normal.log_prob(y[None, :, :]).sum(dim=-1)

        for bound in (
            tractable_nce,
            lambda g: barber_agakov(g.diagonal(), entropy_nats=entropy, entropy_is="exact"),
        ):
            results = [bound(log_q(x, y)) for x, y in draws()]
            assert {result.kind for result in results} == {"lower"}
            value, error = mean_and_error([result.value_nats.item() for result in results])
            assert value <= TRUTH + MOST_DEVIATIONS * error


def channel(noise_log_sigma: float) -> Iterator[Posterior]:
    """Draw posteriors of z = x + σ·noise, x normal: I(x; z) = d/2 · log(1 + 1/σ²)."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(REPEATS):
        mean = torch.randn(ROWS, DIMS, generator=generator, dtype=torch.float64)
        yield draw(mean, torch.full_like(mean, noise_log_sigma), generator=generator)


MARGINALS: dict[str, Marginal] = {
    "standard": Marginal(torch.zeros(1), torch.zeros(1, DIMS), torch.zeros(1, DIMS)),
    "wide": Marginal(torch.zeros(1), torch.zeros(1, DIMS), torch.ones(1, DIMS)),
    "off": Marginal(
        torch.tensor([0.3, 0.7]).log(), torch.tensor([[1.0], [-2.0]]).expand(2, DIMS), torch.zeros(2, DIMS)
    ),
}


@pytest.mark.parametrize("marginal", MARGINALS)
@pytest.mark.parametrize("noise_log_sigma", [-1.5, 0.3])
def test_no_upper_bound_of_a_gaussian_posterior_stands_below_the_truth(
    marginal: str, noise_log_sigma: float
) -> None:
    truth = DIMS / 2 * math.log1p(math.exp(-2 * noise_log_sigma))
    r = MARGINALS[marginal]
    bounds: dict[str, Callable[[Posterior], Bound]] = {
        "rate": lambda p: rate(p, r),
        "rate by draws": lambda p: rate(p, r, method="monte_carlo"),
        "defensive 0.1": lambda p: defensive(p, r, epsilon=0.1),
        "defensive 0.9": lambda p: defensive(p, r, epsilon=0.9),
    }
    for name, bound in bounds.items():
        results = [bound(posterior) for posterior in channel(noise_log_sigma)]
        assert {result.kind for result in results} == {"upper"}
        value, error = mean_and_error([result.value_nats.item() for result in results])
        assert value >= truth - MOST_DEVIATIONS * error, name
    below = [posterior_nce(posterior) for posterior in channel(noise_log_sigma)]
    value, error = mean_and_error([result.value_nats.item() for result in below])
    assert {result.kind for result in below} == {"lower"}
    assert value <= truth + MOST_DEVIATIONS * error


def test_estimates_that_stand_on_either_side_are_called_neither() -> None:
    # Each of these is above the truth for one critic and below it for another: no label but `neither` is true.
    learned = [leave_one_out_upper, club]
    for x, y in list(draws())[:3]:
        scores = log_ratio(x, y)
        assert {donsker_varadhan(scores).kind, smile(scores, clip=1.0).kind} == {"neither"}
        assert {bound(scores, conditional="learned").kind for bound in learned} == {"neither"}
        assert barber_agakov(scores.diagonal(), entropy_nats=1.0, entropy_is="learned").kind == "neither"


def test_the_test_can_fail_donsker_varadhan_and_smile_would_not_pass_as_lower_bounds() -> None:
    sharp = {"donsker_varadhan": donsker_varadhan, "smile": lambda f: smile(f, clip=1.0)}
    for name, bound in sharp.items():
        values = []
        for x, y in draws():  # fewer rows of more dimensions: four times the truth
            wide = log_ratio(x.view(ROWS // 4, 4 * DIMS), y.view(ROWS // 4, 4 * DIMS))
            values.append(bound(wide).value_nats.item())
        value, error = mean_and_error(values)
        assert value > 4 * TRUTH + MOST_DEVIATIONS * error, name


def test_the_test_can_fail_club_of_a_wrong_conditional_would_not_pass_as_an_upper_bound() -> None:
    values = [club(log_conditional(x, y) / 4, conditional="learned").value_nats.item() for x, y in draws()]
    value, error = mean_and_error(values)
    assert value < TRUTH - MOST_DEVIATIONS * error
