"""InfoNCE against loops, torch's cross-entropy, closed forms and Gaussians of known mutual information."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

import avmi.mi
from avmi.errors import InputError
from avmi.mi.bounds import cosine_ceiling_nats, info_nce


def random_scores(rows: int, columns: int, *, seed: int, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, columns, generator=generator, dtype=torch.float64)


def random_mask(rows: int, columns: int, *, seed: int, share: float = 0.5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(rows, columns, generator=generator) < share


def loop_rows(scores: Tensor, negatives: Tensor) -> list[tuple[float, float]]:
    """Term and log K of every row that has a negative, by plain arithmetic."""
    found = []
    for i in range(len(scores)):
        others = [float(scores[i, j]) for j in range(scores.shape[1]) if j != i and bool(negatives[i, j])]
        if others:
            positive = float(scores[i, i])
            total = math.exp(positive) + sum(math.exp(other) for other in others)
            log_k = math.log(len(others) + 1)
            found.append((math.log(math.exp(positive) / total) + log_k, log_k))
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_rows_and_columns_equal_a_loop_over_a_masked_rectangle() -> None:
    scores, negatives = random_scores(5, 9, seed=0), random_mask(5, 9, seed=1)
    bound = info_nce(scores, negatives=negatives, direction="rows")
    terms = loop_rows(scores, negatives)
    assert bound.value_nats.item() == pytest.approx(mean([term for term, _ in terms]), abs=1e-12)
    assert bound.ceiling_nats.item() == pytest.approx(mean([log_k for _, log_k in terms]), abs=1e-12)
    assert bound.k_effective.item() == pytest.approx(math.exp(bound.ceiling_nats.item()), rel=1e-12)
    turned = info_nce(scores.T, negatives=negatives.T, direction="columns")
    assert turned.value_nats.item() == pytest.approx(bound.value_nats.item(), abs=1e-12)
    assert (bound.name, turned.name) == ("info_nce_rows", "info_nce_columns")


def test_unmasked_value_is_log_k_minus_cross_entropy() -> None:
    scores = random_scores(7, 7, seed=2)
    targets = torch.arange(7)
    rows = math.log(7) - cross_entropy(scores, targets)
    columns = math.log(7) - cross_entropy(scores.T, targets)
    assert torch.allclose(info_nce(scores, direction="rows").value_nats, rows)
    assert torch.allclose(info_nce(scores, direction="columns").value_nats, columns)
    assert torch.allclose(info_nce(scores).value_nats, (rows + columns) / 2)


def test_gradient_equals_that_of_cross_entropy() -> None:
    ours, theirs = (random_scores(6, 6, seed=3).requires_grad_() for _ in range(2))
    info_nce(ours).value_nats.backward()
    targets = torch.arange(6)
    (-(cross_entropy(theirs, targets) + cross_entropy(theirs.T, targets)) / 2).backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-14)


@pytest.mark.parametrize("direction", ["rows", "columns", "symmetric"])
def test_gradient_passes_gradcheck_with_a_mask_that_empties_a_row(direction: str) -> None:
    scores = random_scores(5, 5, seed=4).requires_grad_()
    negatives = random_mask(5, 5, seed=5)
    negatives[2, :] = False
    assert torch.autograd.gradcheck(
        lambda s: info_nce(s, negatives=negatives, direction=direction).value_nats, (scores,)
    )


@pytest.mark.parametrize("constant", [0.0, 100.0, -3.5])
def test_constant_scores_say_nothing(constant: float) -> None:
    bound = info_nce(torch.full((6, 6), constant, dtype=torch.float64))
    assert bound.value_nats.item() == pytest.approx(0.0, abs=1e-12)
    assert bound.standard_error_nats.item() == pytest.approx(0.0, abs=1e-12)


def test_scaled_identity_has_its_closed_form() -> None:
    bound = info_nce(3.0 * torch.eye(8, dtype=torch.float64))
    assert bound.value_nats.item() == pytest.approx(math.log(8) - math.log1p(7 * math.exp(-3)), abs=1e-12)


def test_sharp_positives_reach_the_ceiling_and_wrong_ones_fall_far_below() -> None:
    sharp = info_nce(100.0 * torch.eye(9))
    assert sharp.value_nats.item() == pytest.approx(math.log(9), abs=1e-6)
    assert sharp.ceiling_nats.item() == pytest.approx(math.log(9), abs=1e-6)
    wrong = info_nce(100.0 * torch.eye(9).roll(1, 0), direction="rows")
    assert wrong.value_nats.item() == pytest.approx(math.log(9) - 100.0, abs=1e-4)


def test_a_shift_of_each_row_leaves_the_row_form_alone() -> None:
    scores = random_scores(6, 6, seed=6)
    shifted = scores + random_scores(6, 1, seed=7, scale=30.0)
    one, other = (info_nce(s, direction="rows").value_nats for s in (scores, shifted))
    assert torch.allclose(one, other, atol=1e-12)


def test_masked_items_equal_the_problem_without_them_even_when_they_hold_nan() -> None:
    scores = random_scores(8, 8, seed=8)
    kept = torch.tensor([0, 2, 3, 6, 7])
    present = torch.zeros(8, dtype=torch.bool)
    present[kept] = True
    holed = torch.where(present[:, None] & present, scores, torch.nan).requires_grad_()
    bound = info_nce(holed, negatives=present[:, None] & present)
    small = scores[kept][:, kept].clone().requires_grad_()
    expected = info_nce(small)
    for name in ("value_nats", "ceiling_nats", "k_effective", "standard_error_nats"):
        assert torch.allclose(getattr(bound, name), getattr(expected, name)), name
    assert (bound.counted.item(), bound.excluded.item()) == (5, 3)
    bound.value_nats.backward()
    expected.value_nats.backward()
    assert torch.allclose(holed.grad[kept][:, kept], small.grad)
    assert holed.grad[~present].abs().sum() == 0
    assert holed.grad[:, ~present].abs().sum() == 0


def test_rows_without_negatives_are_left_out_and_counted() -> None:
    scores, negatives = random_scores(5, 5, seed=9), random_mask(5, 5, seed=10, share=0.9)
    negatives[[1, 4], :] = False
    bound = info_nce(scores, negatives=negatives, direction="rows")
    terms = loop_rows(scores, negatives)
    assert len(terms) == 3
    assert bound.value_nats.item() == pytest.approx(mean([term for term, _ in terms]), abs=1e-12)
    assert (bound.counted.item(), bound.excluded.item()) == (3, 2)


def test_no_negatives_at_all_give_zero_with_zero_gradient() -> None:
    scores = random_scores(4, 4, seed=11).requires_grad_()
    bound = info_nce(scores, negatives=torch.zeros(4, 4, dtype=torch.bool))
    bound.value_nats.backward()
    assert (bound.value_nats.item(), bound.ceiling_nats.item(), bound.k_effective.item()) == (0, 0, 1)
    assert (bound.counted.item(), bound.excluded.item()) == (0, 4)
    assert scores.grad.abs().sum() == 0
    assert bound.standard_error_nats.isnan()


def test_the_diagonal_stays_positive_whatever_the_mask_says_of_it() -> None:
    scores, negatives = random_scores(6, 6, seed=12), random_mask(6, 6, seed=13)
    with_diagonal = negatives | torch.eye(6, dtype=torch.bool)
    without = negatives & ~torch.eye(6, dtype=torch.bool)
    values = [info_nce(scores, negatives=mask).value_nats for mask in (with_diagonal, without)]
    assert values[0] == values[1]


def test_the_symmetric_form_counts_items_that_have_a_negative_both_ways() -> None:
    scores, negatives = random_scores(5, 5, seed=21), torch.ones(5, 5, dtype=torch.bool)
    negatives[0, :] = False  # x_0 has no negative, y_0 has four
    bound = info_nce(scores, negatives=negatives)
    of_rows = [term for term, _ in loop_rows(scores, negatives)]
    of_columns = [term for term, _ in loop_rows(scores.T, negatives.T)][1:]
    assert bound.value_nats.item() == pytest.approx((mean(of_rows) + mean(of_columns)) / 2, abs=1e-12)
    assert (bound.counted.item(), bound.excluded.item()) == (4, 1)


def test_standard_error_is_that_of_the_mean_of_the_terms() -> None:
    scores, negatives = random_scores(7, 7, seed=14), random_mask(7, 7, seed=15, share=0.8)
    bound = info_nce(scores, negatives=negatives, direction="rows")
    terms = torch.tensor([term for term, _ in loop_rows(scores, negatives)], dtype=torch.float64)
    assert bound.standard_error_nats.item() == pytest.approx(float(terms.std()) / math.sqrt(len(terms)))
    assert not bound.standard_error_nats.requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_value_and_gradient_are_finite_and_right_at_low_precision(dtype: torch.dtype, scale: float) -> None:
    cosines = normalize(random_scores(33, 8, seed=16), dim=1) @ normalize(
        random_scores(8, 33, seed=17), dim=0
    )
    scores = (scale * cosines).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        bound = info_nce(scores)
    bound.value_nats.backward()
    exact = info_nce(scores.detach().double())
    assert bound.value_nats.dtype == torch.float32
    assert bound.value_nats.item() == pytest.approx(exact.value_nats.item(), abs=2e-5)
    assert scores.grad.isfinite().all()


def test_scores_are_not_changed() -> None:
    scores = random_scores(5, 5, seed=18)
    before = scores.clone()
    info_nce(scores, negatives=random_mask(5, 5, seed=19))
    assert torch.equal(scores, before)


def test_dependent_negatives_void_the_claim_of_a_bound() -> None:
    scores = random_scores(4, 4, seed=20)
    assert info_nce(scores).kind == "lower"
    dependent = info_nce(scores, independent_negatives=False)
    assert dependent.kind == "neither"
    assert dependent.value_nats == info_nce(scores).value_nats


@pytest.mark.parametrize(
    ("shape", "direction"), [((5, 4), "rows"), ((4, 5), "columns"), ((4, 5), "symmetric")]
)
def test_a_missing_positive_is_an_error(shape: tuple[int, int], direction: str) -> None:
    with pytest.raises(InputError, match="diagonal"):
        info_nce(torch.zeros(shape), direction=direction)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 12), st.floats(0.1, 80.0), st.floats(0.05, 1.0))
def test_the_value_never_exceeds_the_ceiling(seed: int, k: int, scale: float, share: float) -> None:
    scores = random_scores(k, k, seed=seed, scale=scale)
    bound = info_nce(scores, negatives=random_mask(k, k, seed=seed + 1, share=share))
    assert bound.value_nats <= bound.ceiling_nats + 1e-9


@pytest.mark.parametrize(("dims", "correlation", "k"), [(1, 0.5, 256), (4, 0.7, 128), (20, 0.9, 64)])
def test_the_exact_critic_on_gaussians_stays_below_the_truth_and_the_ceiling(
    dims: int, correlation: float, k: int
) -> None:
    truth = -dims / 2 * math.log(1 - correlation**2)
    generator = torch.Generator().manual_seed(dims)
    noise_variance = 1 - correlation**2
    bounds = []
    for _ in range(100):
        x = torch.randn(k, dims, generator=generator, dtype=torch.float64)
        noise = torch.randn(k, dims, generator=generator, dtype=torch.float64)
        y = correlation * x + math.sqrt(noise_variance) * noise
        distances = (y[None, :, :] - correlation * x[:, None, :]).square().sum(-1)
        log_ratio = -distances / (2 * noise_variance) + y.square().sum(1) / 2  # up to a constant
        bounds.append(info_nce(log_ratio))
    values = torch.stack([bound.value_nats for bound in bounds])
    chance = 3 * float(values.std()) / math.sqrt(len(values))
    assert values.mean() <= truth + chance
    assert values.max() <= math.log(k)
    if truth > math.log(k) + 2:  # far above the ceiling the exact critic hits it
        assert values.mean() > math.log(k) - 0.01
        return
    assert values.mean() >= truth - chance - 0.05  # far below it, it is tight
    claimed = torch.stack([bound.standard_error_nats for bound in bounds]).mean()
    assert 0.5 < claimed / values.std() < 2  # rows taken as independent are not far off


@pytest.mark.parametrize(("k", "temperature"), [(2, 1.0), (5, 0.2), (9, 0.07)])
def test_a_simplex_of_cosines_reaches_the_cosine_ceiling(k: int, temperature: float) -> None:
    corners = normalize(torch.eye(k, dtype=torch.float64) - 1 / k, dim=1)
    bound = info_nce(corners @ corners.T / temperature)
    assert bound.value_nats.item() == pytest.approx(cosine_ceiling_nats(k, temperature), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 10), st.integers(1, 5), st.floats(0.05, 2.0))
def test_no_cosine_scores_exceed_the_cosine_ceiling(seed: int, k: int, dim: int, temperature: float) -> None:
    x = normalize(random_scores(k, dim, seed=seed), dim=1)
    y = normalize(x + 0.3 * random_scores(k, dim, seed=seed + 1), dim=1)
    value = info_nce(x @ y.T / temperature).value_nats.item()
    assert value <= cosine_ceiling_nats(k, temperature) + 1e-9


def test_the_cosine_ceiling_has_its_published_values() -> None:
    assert cosine_ceiling_nats(4096, 0.2) == pytest.approx(4.97, abs=0.01)
    assert cosine_ceiling_nats(10**9, 1.0) == pytest.approx(1.0, abs=1e-6)
    assert cosine_ceiling_nats(64, 0.01) == pytest.approx(math.log(64), abs=1e-9)
    assert cosine_ceiling_nats(1, 0.07) == 0.0


@pytest.mark.parametrize(("k", "temperature"), [(0.5, 0.1), (8, 0.0), (8, -1.0), (math.nan, 0.1)])
def test_an_impossible_cosine_ceiling_is_an_error(k: float, temperature: float) -> None:
    with pytest.raises(InputError, match="temperature"):
        cosine_ceiling_nats(k, temperature)


def test_the_package_offers_the_bound_by_its_short_name() -> None:
    assert avmi.mi.info_nce is info_nce
