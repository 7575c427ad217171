"""A known conditional and a stream of inputs → both sides, against the bounds of a matrix and closed forms."""

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from avmi.errors import InputError
from avmi.mi.posterior import Marginal, Posterior, defensive, draw, log_densities, log_marginal, log_posterior
from avmi.mi.sandwich import Sandwich, of_posteriors, sandwich


def channel(rows: int, dim: int, *, seed: int, log_sigma: float = -1.0) -> Posterior:
    """z = x + σ·noise, x normal: I(x; z) = d/2 · log(1 + 1/σ²)."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.randn(rows, dim, generator=generator, dtype=torch.float64)
    return draw(mean, torch.full_like(mean, log_sigma), generator=generator)


def blocks(bank: Posterior, size: int) -> Iterator[Posterior]:
    for begin in range(0, len(bank.mean), size):
        yield Posterior(*(part[begin : begin + size] for part in bank))


def squeezed(pairs: Posterior, bank: Iterator[Posterior], **options: tuple[float, torch.Tensor]) -> Sandwich:
    return sandwich(
        of_posteriors, samples=pairs.sample, log_conditional=log_posterior(pairs), bank=bank, **options
    )


def test_both_sides_are_their_formulas_for_any_size_of_block() -> None:
    pairs, bank = channel(7, 2, seed=1), channel(50, 2, seed=2)
    own = log_posterior(pairs).numpy()
    densities = log_densities(pairs.sample, bank.mean, bank.log_sigma).exp().numpy()
    lower = np.mean(own - np.log((np.exp(own) + densities.sum(axis=1)) / 51))
    upper = np.mean(own - np.log(densities.mean(axis=1)))
    for size in (1, 17, 50):
        found = squeezed(pairs, blocks(bank, size))
        assert float(found.lower.value_nats) == pytest.approx(lower, abs=1e-9)
        assert float(found.upper.value_nats) == pytest.approx(upper, abs=1e-9)
        assert found.width_nats == pytest.approx(upper - lower, abs=1e-9)
    assert (found.lower.name, found.lower.kind) == ("tractable_nce", "lower")
    assert (found.upper.name, found.upper.kind) == ("leave_one_out_upper", "upper")
    assert float(found.lower.ceiling_nats) == pytest.approx(math.log(51))
    assert float(found.upper.ceiling_nats) == math.inf
    assert (float(found.lower.k_effective), int(found.lower.counted)) == (51, 7)


def test_the_defended_side_is_the_defensive_bound_over_the_same_bank() -> None:
    pairs, bank = channel(7, 2, seed=1), channel(50, 2, seed=2)
    r = Marginal(torch.zeros(1), torch.zeros(1, 2), torch.full((1, 2), 0.3))
    found = squeezed(pairs, blocks(bank, 20), defended=(0.2, log_marginal(pairs.sample, r)))
    expected = defensive(pairs, r, epsilon=0.2, bank=bank)
    torch.testing.assert_close(found.upper.value_nats, expected.value_nats)
    assert found.upper.name == "defensive"


def test_the_truth_lies_inside_and_a_larger_bank_squeezes_it() -> None:
    truth = 2 / 2 * math.log1p(math.exp(4.0))  # 4.02 nats
    widths = []
    for number in (128, 1024, 8192):
        found = squeezed(
            channel(2000, 2, seed=3, log_sigma=-2.0),
            blocks(channel(number, 2, seed=4, log_sigma=-2.0), 1024),
        )
        assert float(found.lower.value_nats) - 3 * float(found.lower.standard_error_nats) < truth
        assert float(found.upper.value_nats) + 3 * float(found.upper.standard_error_nats) > truth
        widths.append(found.width_nats)
    assert widths[0] > widths[1] > widths[2] > 0
    assert widths[2] < 0.1


def test_standard_errors_are_those_of_repeated_draws() -> None:
    # Few inputs and many rows: most of the error is the bank's, which all rows share.
    found = [squeezed(channel(400, 1, seed=n), blocks(channel(200, 1, seed=900 + n), 64)) for n in range(150)]
    for side in ("lower", "upper"):
        bounds = [getattr(each, side) for each in found]
        deviation = np.std([float(bound.value_nats) for bound in bounds])
        reported = np.mean([float(bound.standard_error_nats) for bound in bounds])
        assert 0.8 < reported / deviation < 1.25, side


def test_the_bank_is_read_once_and_block_by_block() -> None:
    largest = 0

    def watched(samples: torch.Tensor, block: Posterior) -> torch.Tensor:
        nonlocal largest
        largest = max(largest, len(block.mean))
        return of_posteriors(samples, block)

    pairs = channel(5, 2, seed=1)
    stream = (channel(30, 2, seed=n) for n in range(40))
    found = sandwich(watched, samples=pairs.sample, log_conditional=log_posterior(pairs), bank=stream)
    assert largest == 30
    assert float(found.lower.k_effective) == 1201


def test_an_empty_bank_and_an_epsilon_outside_are_errors() -> None:
    pairs = channel(5, 2, seed=1)
    with pytest.raises(InputError, match="the bank is empty"):
        squeezed(pairs, iter(()))
    with pytest.raises(InputError, match="epsilon must be above 0 and below 1, got 1"):
        squeezed(pairs, iter([pairs]), defended=(1.0, pairs.sample[:, 0]))
