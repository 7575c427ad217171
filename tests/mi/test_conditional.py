"""Bounds from a conditional density against loops, closed forms and each other."""

import math

import pytest
import torch
from torch import Tensor

from avmi.errors import InputError
from avmi.mi.conditional import barber_agakov, club, leave_one_out_upper, tractable_nce


def gaussian_pair(rows: int, correlation: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw (x, y), and give log p(y_j | x_i)."""
    x = torch.randn(rows, generator=generator, dtype=torch.float64)
    deviation = math.sqrt(1 - correlation**2)
    y = correlation * x + deviation * torch.randn(rows, generator=generator, dtype=torch.float64)
    log_conditional = torch.distributions.Normal(correlation * x[:, None], deviation).log_prob(y[None, :])
    return y, log_conditional


def test_every_bound_is_its_formula_in_plain_loops() -> None:
    _, given = gaussian_pair(7, 0.8, torch.Generator().manual_seed(0))
    g, size = given.tolist(), 7

    def others(j: int) -> list[int]:
        return [i for i in range(size) if i != j]

    nce = [g[j][j] - math.log(sum(math.exp(g[i][j]) for i in range(size)) / size) for j in range(size)]
    upper = [g[j][j] - math.log(sum(math.exp(g[i][j]) for i in others(j)) / (size - 1)) for j in range(size)]
    contrast = [g[j][j] - sum(g[i][j] for i in others(j)) / (size - 1) for j in range(size)]
    assert tractable_nce(given).value_nats.item() == pytest.approx(sum(nce) / size, abs=1e-12)
    one_out = leave_one_out_upper(given, conditional="known")
    assert one_out.value_nats.item() == pytest.approx(sum(upper) / size, abs=1e-12)
    assert club(given, conditional="known").value_nats.item() == pytest.approx(
        sum(contrast) / size, abs=1e-12
    )


def test_names_and_kinds_say_which_use_of_the_leave_one_out_mean_it_is() -> None:
    _, given = gaussian_pair(5, 0.5, torch.Generator().manual_seed(1))
    assert (tractable_nce(given).name, tractable_nce(given).kind) == ("tractable_nce", "lower")
    known, learned = (leave_one_out_upper(given, conditional=c) for c in ("known", "learned"))
    assert (known.name, known.kind, learned.kind) == ("leave_one_out_upper", "upper", "neither")
    known, learned = (club(given, conditional=c) for c in ("known", "learned"))
    assert (known.name, known.kind, learned.kind) == ("club", "upper", "neither")
    assert tractable_nce(given).ceiling_nats.item() == pytest.approx(math.log(5))
    assert club(given, conditional="known").ceiling_nats.isinf()


def test_the_truth_lies_between_tractable_nce_and_the_leave_one_out_bound_and_below_club() -> None:
    correlation, generator = 0.9, torch.Generator().manual_seed(2)
    truth = -0.5 * math.log(1 - correlation**2)
    _, given = gaussian_pair(2048, correlation, generator)
    below, above = tractable_nce(given), leave_one_out_upper(given, conditional="known")
    assert below.value_nats <= above.value_nats <= club(given, conditional="known").value_nats
    assert below.value_nats.item() == pytest.approx(truth, abs=4 * below.standard_error_nats.item())
    # CLUB of a Gaussian channel has a closed form: ρ² / (1 − ρ²).
    bound = club(given, conditional="known")
    closed = correlation**2 / (1 - correlation**2)
    assert bound.value_nats.item() == pytest.approx(closed, abs=4 * bound.standard_error_nats.item())


def test_barber_agakov_with_the_exact_entropy_and_posterior_is_the_truth() -> None:
    correlation = 0.7
    y = torch.randn(20_000, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    # X given Y is as Y given X: draw x from it, so that the pairs are those of the joint.
    deviation = math.sqrt(1 - correlation**2)
    noise = torch.randn(20_000, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    log_q = torch.distributions.Normal(correlation * y, deviation).log_prob(
        correlation * y + deviation * noise
    )
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    bound = barber_agakov(log_q, entropy_nats=entropy, entropy_is="exact")
    truth = -0.5 * math.log(1 - correlation**2)
    assert bound.value_nats.item() == pytest.approx(truth, abs=4 * bound.standard_error_nats.item())
    assert (bound.kind, bound.k_effective.item()) == ("lower", 1.0)
    assert barber_agakov(log_q, entropy_nats=entropy, entropy_is="learned").kind == "neither"


def test_standard_errors_are_those_of_repeated_draws() -> None:
    generator = torch.Generator().manual_seed(5)
    draws = [gaussian_pair(48, 0.6, generator)[1] for _ in range(400)]
    for bound in (leave_one_out_upper, club):
        results = [bound(given, conditional="known") for given in draws]
        spread = torch.stack([result.value_nats for result in results]).std().item()
        stated = torch.stack([result.standard_error_nats for result in results]).mean().item()
        assert stated == pytest.approx(spread, rel=0.15), bound.__name__


def test_upper_bounds_need_two_rows_and_a_square() -> None:
    for wrong in (torch.zeros(1, 1), torch.zeros(3, 4)):
        with pytest.raises(InputError, match="square, of two rows or more"):
            leave_one_out_upper(wrong, conditional="known")
        with pytest.raises(InputError, match="square, of two rows or more"):
            club(wrong, conditional="known")


def test_far_densities_stay_finite_in_float32() -> None:
    given = torch.full((5, 5), -1e4).fill_diagonal_(0.0)
    assert leave_one_out_upper(given, conditional="known").value_nats.item() == pytest.approx(1e4)
    assert tractable_nce(given).value_nats.item() == pytest.approx(math.log(5))


def test_a_mask_leaves_out_draws_that_are_not_apart_and_columns_without_any() -> None:
    _, given = gaussian_pair(5, 0.8, torch.Generator().manual_seed(3))
    videos = [0, 0, 1, 0, 2]
    apart = torch.tensor([[a != b for b in videos] for a in videos])
    apart[:, 4] = False  # the last column has no other draw
    g = given.tolist()
    upper, contrast = [], []
    for j in range(4):
        others = [i for i in range(5) if videos[i] != videos[j]]
        upper.append(g[j][j] - math.log(sum(math.exp(g[i][j]) for i in others) / len(others)))
        contrast.append(g[j][j] - sum(g[i][j] for i in others) / len(others))
    one_out = leave_one_out_upper(given, conditional="known", negatives=apart)
    assert one_out.value_nats.item() == pytest.approx(sum(upper) / 4, abs=1e-12)
    assert (int(one_out.counted), int(one_out.excluded)) == (4, 1)
    value = club(given, conditional="learned", negatives=apart).value_nats.item()
    assert value == pytest.approx(sum(contrast) / 4, abs=1e-12)
    leaf = given.clone().requires_grad_()
    leave_one_out_upper(leaf, conditional="known", negatives=apart).value_nats.backward()
    assert leaf.grad is not None
    assert bool(leaf.grad.isfinite().all())
