"""Variational bounds against plain loops, closed forms and their limits."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from avmi.errors import InputError
from avmi.mi.bound import Bound
from avmi.mi.bounds import info_nce
from avmi.mi.variational import (
    donsker_varadhan,
    interpolated,
    jensen_shannon,
    leave_one_out_lower,
    log_mean_of_negatives,
    nwj,
    smile,
    tuba,
    updated_log_mean,
)

BASELINE = 0.7
ALPHA = 0.15
CLIP = 1.1


def random_scores(size: int, *, seed: int, scale: float = 2.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(size, size, generator=generator, dtype=torch.float64)


def symmetric_mask(size: int, *, seed: int) -> Tensor:
    """Random negatives, of which every row and column has at least two."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(size, size, generator=generator) < 0.5
    places = torch.arange(size)
    for step in (1, 2, size - 1, size - 2):
        mask[places, (places + step) % size] = True
    return mask


Lists = list[list[float]]
Others = Callable[[int], list[int]]


def negatives_of(mask: Tensor, *, of_columns: bool = False) -> Others:
    kept = mask.T if of_columns else mask
    return lambda i: [j for j in range(len(kept)) if j != i and bool(kept[i, j])]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def loop_dv(f: Lists, others: Others, *, clip: float = math.inf) -> float:
    rows = [mean([math.exp(max(-clip, min(clip, f[i][j]))) for j in others(i)]) for i in range(len(f))]
    return mean([f[i][i] for i in range(len(f))]) - math.log(mean(rows))


def loop_tuba(f: Lists, others: Others, baseline: list[float]) -> float:
    terms = [
        1 + f[i][i] - baseline[i] - mean([math.exp(f[i][j] - baseline[j]) for j in others(i)])
        for i in range(len(f))
    ]
    return mean(terms)


def loop_interpolated(f: Lists, others: Others, *, alpha: float, log_q: list[float]) -> float:
    """`others(j)` are the x that y_j stands against; f[i][j] scores x_i and y_j."""
    terms = []
    for j in range(len(f)):
        xs, q = others(j), math.exp(log_q[j])
        e = {i: math.exp(f[i][j]) for i in [*xs, j]}
        joint = []
        for left_out in xs:
            m = (e[j] + sum(e[i] for i in xs if i != left_out)) / len(xs)
            joint.append(math.log(e[j] / (alpha * m + (1 - alpha) * q)))
        m = mean([e[i] for i in xs])
        product = mean([e[i] / (alpha * m + (1 - alpha) * q) for i in xs])
        terms.append(1 + mean(joint) - product)
    return mean(terms)


def loop_leave_one_out(f: Lists, others: Others) -> float:
    terms = []
    for j in range(len(f)):
        xs = others(j)
        e = {i: math.exp(f[i][j]) for i in xs}
        baselines = {i: mean([e[k] for k in xs if k != i]) for i in xs}
        joint = mean([f[j][j] - math.log(baselines[i]) for i in xs])
        terms.append(1 + joint - mean([e[i] / baselines[i] for i in xs]))
    return mean(terms)


@pytest.mark.parametrize(("size", "masked"), [(5, False), (8, True), (11, True)])
def test_every_bound_is_its_formula_in_plain_loops(size: int, masked: bool) -> None:
    scores = random_scores(size, seed=size)
    mask = symmetric_mask(size, seed=size) if masked else ~torch.eye(size, dtype=torch.bool)
    given = mask if masked else None
    baseline = torch.linspace(-1, 1, size, dtype=torch.float64)
    rows, columns, f = negatives_of(mask), negatives_of(mask, of_columns=True), scores.tolist()
    expected = {
        donsker_varadhan(scores, negatives=given): loop_dv(f, rows),
        smile(scores, clip=CLIP, negatives=given): loop_dv(f, rows, clip=CLIP),
        nwj(scores, negatives=given): loop_tuba(f, rows, [1.0] * size),
        jensen_shannon(scores, negatives=given): loop_tuba(f, rows, [0.0] * size),
        tuba(scores, log_baseline=baseline, negatives=given): loop_tuba(f, rows, baseline.tolist()),
        interpolated(scores, alpha=ALPHA, log_baseline=baseline, negatives=given): loop_interpolated(
            f, columns, alpha=ALPHA, log_q=baseline.tolist()
        ),
        leave_one_out_lower(scores, negatives=given): loop_leave_one_out(f, columns),
    }
    for bound, value in expected.items():
        assert bound.value_nats.item() == pytest.approx(value, abs=1e-9), bound.name
        assert int(bound.counted) == size
    assert log_mean_of_negatives(scores, negatives=given).item() == pytest.approx(
        mean(scores.diagonal().tolist()) - loop_dv(f, rows), abs=1e-12
    )


ALL: dict[str, Callable[..., Bound]] = {
    "donsker_varadhan": donsker_varadhan,
    "nwj": nwj,
    "jensen_shannon": jensen_shannon,
    "leave_one_out_lower": leave_one_out_lower,
    "tuba": lambda scores, **k: tuba(scores, log_baseline=torch.tensor(BASELINE), **k),
    "smile": lambda scores, **k: smile(scores, clip=CLIP, **k),
    "interpolated": lambda scores, **k: interpolated(
        scores, alpha=ALPHA, log_baseline=torch.tensor(BASELINE), **k
    ),
}


@pytest.mark.parametrize("name", ALL)
def test_a_row_without_negatives_is_excluded_and_a_nan_in_it_reaches_nothing(name: str) -> None:
    scores = random_scores(7, seed=3)
    mask = torch.ones(7, 7, dtype=torch.bool)
    mask[2], mask[:, 2] = False, False
    broken = scores.clone()
    broken[2], broken[:, 2] = math.nan, math.nan
    broken.requires_grad_()
    bound = ALL[name](broken, negatives=mask)
    bound.value_nats.backward()  # type: ignore[no-untyped-call]
    kept = [0, 1, 3, 4, 5, 6]
    alone = scores[kept][:, kept].clone().requires_grad_()
    ALL[name](alone).value_nats.backward()
    assert bound.value_nats.item() == pytest.approx(ALL[name](alone).value_nats.item(), abs=1e-12)
    assert (int(bound.counted), int(bound.excluded)) == (6, 1)
    assert broken.grad is not None
    assert alone.grad is not None
    assert torch.allclose(broken.grad[kept][:, kept], alone.grad)
    assert not broken.grad[2].any()
    assert not broken.grad[:, 2].any()


@pytest.mark.parametrize("name", ALL)
def test_without_any_negative_the_value_and_its_gradient_are_zero(name: str) -> None:
    scores = random_scores(4, seed=4).requires_grad_()
    bound = ALL[name](scores, negatives=torch.zeros(4, 4, dtype=torch.bool))
    value = bound.value_nats
    assert int(bound.counted) == 0
    if name in ("donsker_varadhan", "smile"):
        return  # a mean over nothing has no logarithm; the count says so
    value.backward()  # type: ignore[no-untyped-call]
    assert value.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


@pytest.mark.parametrize("name", ["donsker_varadhan", "nwj", "tuba", "leave_one_out_lower", "interpolated"])
def test_the_gradient_is_that_of_the_value(name: str) -> None:
    scores = random_scores(5, seed=6, scale=1.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: ALL[name](s).value_nats, (scores,))


def js_objective(scores: Tensor) -> Tensor:
    size = len(scores)
    total = torch.zeros((), dtype=scores.dtype)
    for i in range(size):
        total = total - torch.log1p(torch.exp(-scores[i, i])) / size
        for j in range(size):
            if i != j:
                total = total - torch.log1p(torch.exp(scores[i, j])) / (size * (size - 1))
    return total


@pytest.mark.parametrize("name", ["jensen_shannon", "smile"])
def test_jensen_shannon_and_smile_train_by_the_divergence(name: str) -> None:
    scores, again = (random_scores(6, seed=8).requires_grad_() for _ in range(2))
    ALL[name](scores).value_nats.backward()
    js_objective(again).backward()  # type: ignore[no-untyped-call]
    assert scores.grad is not None
    assert again.grad is not None
    assert torch.allclose(scores.grad, again.grad, atol=1e-12)


def test_the_divergence_of_a_discrete_pair_is_best_at_the_log_density_ratio() -> None:
    # Every (x, y) of a 2×2 table as rows of the joint: E_p and E_pp' are exact, not sampled.
    joint = torch.tensor([[0.4, 0.1], [0.15, 0.35]], dtype=torch.float64)
    product = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
    f = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([f], max_iter=100, tolerance_grad=1e-12)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = (joint * torch.nn.functional.softplus(-f)).sum()
        value = value + (product * torch.nn.functional.softplus(f)).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    assert torch.allclose(f.detach(), (joint / product).log(), atol=1e-5)


def test_tuba_at_baseline_one_is_nwj_and_jensen_shannon_reports_nwj_of_one_more() -> None:
    scores = random_scores(9, seed=10)
    reference = nwj(scores).value_nats
    assert tuba(scores, log_baseline=torch.tensor(1.0)).value_nats.item() == pytest.approx(reference.item())
    assert jensen_shannon(scores - 1).value_nats.item() == pytest.approx(reference.item())


def test_interpolated_at_alpha_one_is_info_nce_over_one_negative_fewer() -> None:
    scores = random_scores(6, seed=11)
    without_one = []
    for left_out in range(6):
        for j in range(6):
            if j != left_out:
                kept = [i for i in range(6) if i != left_out]
                column = scores[kept, j]
                without_one.append((scores[j, j] - column.logsumexp(0) + math.log(5)).item())
    bound = interpolated(scores, alpha=1.0, log_baseline=torch.tensor(5.0))
    assert bound.value_nats.item() == pytest.approx(mean(without_one), abs=1e-12)


def test_interpolated_near_alpha_zero_is_tuba() -> None:
    scores, baseline = random_scores(6, seed=12), torch.tensor(0.4, dtype=torch.float64)
    near = interpolated(scores, alpha=1e-9, log_baseline=baseline).value_nats
    assert near.item() == pytest.approx(tuba(scores.T, log_baseline=baseline).value_nats.item(), abs=1e-6)


def test_interpolated_reaches_its_ceiling_of_one_plus_log_k_over_alpha_and_no_more() -> None:
    scores = torch.full((5, 5), -60.0, dtype=torch.float64).fill_diagonal_(60.0)
    bound = interpolated(scores, alpha=0.1, log_baseline=torch.tensor(0.0))
    assert bound.value_nats.item() == pytest.approx(1 + math.log(4 / 0.1), abs=1e-9)
    assert bound.ceiling_nats.item() == pytest.approx(1 + math.log(4 / 0.1))
    assert bound.k_effective.item() == pytest.approx(4)
    for seed in range(40):
        other = interpolated(
            random_scores(5, seed=seed, scale=30.0), alpha=0.1, log_baseline=torch.tensor(0.0)
        )
        assert other.value_nats <= bound.ceiling_nats


def test_leaving_one_out_does_not_cancel_where_one_score_is_far_above_the_rest() -> None:
    scores = torch.zeros(4, 4)
    scores[2, :] = 80.0  # e^80 + 1 − e^80 is 0 in any float: a difference would lose the rest
    exact = leave_one_out_lower(scores.double()).value_nats
    assert leave_one_out_lower(scores).value_nats.item() == pytest.approx(exact.item(), rel=1e-5)
    assert loop_leave_one_out(scores.tolist(), lambda j: [i for i in range(4) if i != j]) == pytest.approx(
        exact.item(), rel=1e-9
    )


def test_a_running_denominator_changes_the_gradient_as_mine_does_and_leaves_the_value() -> None:
    scores = random_scores(5, seed=14).requires_grad_()
    running = torch.tensor(0.9, dtype=torch.float64)
    bound = donsker_varadhan(scores, running_log_mean=running)
    bound.value_nats.backward()  # type: ignore[no-untyped-call]
    assert bound.value_nats.item() == pytest.approx(donsker_varadhan(scores).value_nats.item())
    weights = -scores.detach().exp() / (5 * 4) / math.exp(0.9)
    expected = weights.fill_diagonal_(1 / 5)
    assert scores.grad is not None
    assert torch.allclose(scores.grad, expected, atol=1e-12)


def test_the_running_denominator_is_a_mean_in_plain_space_and_starts_at_the_first() -> None:
    first = updated_log_mean(None, torch.tensor(2.0), decay=0.9)
    second = updated_log_mean(first, torch.tensor(3.0), decay=0.9)
    assert second.item() == pytest.approx(math.log(0.9 * math.exp(2) + 0.1 * math.exp(3)))
    assert updated_log_mean(second, torch.tensor(-math.inf), decay=0.9).item() == second.item()


def test_kinds_and_ceilings_say_what_can_be_read_from_a_value() -> None:
    scores = random_scores(6, seed=15)
    kinds = {name: bound(scores).kind for name, bound in ALL.items()}
    assert kinds == {
        "donsker_varadhan": "neither",
        "smile": "neither",
        "nwj": "lower",
        "jensen_shannon": "lower",
        "tuba": "lower",
        "leave_one_out_lower": "lower",
        "interpolated": "lower",
    }
    assert {bound(scores, independent_negatives=False).kind for bound in ALL.values()} == {"neither"}
    assert {n for n, bound in ALL.items() if bound(scores).ceiling_nats.isfinite()} == {"interpolated"}


@pytest.mark.parametrize("name", ["donsker_varadhan", "smile", "nwj", "tuba", "jensen_shannon"])
def test_the_standard_error_is_that_of_repeated_draws(name: str) -> None:
    generator = torch.Generator().manual_seed(16)
    values, errors = [], []
    for _ in range(400):
        x = torch.randn(48, 1, generator=generator, dtype=torch.float64)
        y = 0.6 * x + 0.8 * torch.randn(48, 1, generator=generator, dtype=torch.float64)
        bound = ALL[name](0.5 * x * y.T)
        values.append(bound.value_nats.item())
        errors.append(bound.standard_error_nats.item())
    assert mean(errors) == pytest.approx(torch.tensor(values).std().item(), rel=0.15)


@pytest.mark.parametrize("bound", ALL.values(), ids=ALL.keys())
def test_scores_that_are_not_square_are_an_error(bound: Callable[..., Bound]) -> None:
    with pytest.raises(InputError, match="square"):
        bound(torch.zeros(3, 4))


def test_numbers_out_of_range_are_errors() -> None:
    with pytest.raises(InputError, match="alpha must be above 0"):
        interpolated(torch.zeros(3, 3), alpha=0.0, log_baseline=torch.tensor(0.0))
    with pytest.raises(InputError, match="clip must be above 0"):
        smile(torch.zeros(3, 3), clip=0.0)


def test_info_nce_of_the_same_scores_is_at_most_its_ceiling_where_nwj_is_not() -> None:
    scores = torch.full((4, 4), -50.0, dtype=torch.float64).fill_diagonal_(4.0)
    assert info_nce(scores).value_nats <= math.log(4)
    assert nwj(scores).value_nats.item() == pytest.approx(4.0)
