"""Tasks with known truth: their truths by other means, and that the maps can be inverted."""

import math

import pytest
import torch
from scipy import stats

from avmi.mi.estimation import tasks
from avmi.mi.estimation.tasks import Task

PUBLISHED = {
    "1v1-normal-0.75": 0.413,
    "1v1-additive-0.1": 1.709,
    "wiggly-1v1-normal-0.75": 0.413,
    "swissroll_x-1v1-normal-0.75": 0.413,
    "multinormal-dense-25-25-0.5": 1.292,
    "multinormal-sparse-25-25-2-2.0": 1.022,
    "half_cube-multinormal-sparse-25-25-2-2.0": 1.022,
    "spiral-multinormal-sparse-25-25-2-2.0": 1.022,
    "student-identity-1-1-1": 0.224,
    "student-identity-5-5-2": 0.448,
}


def drawn(task: Task, rows: int = 500, seed: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return task.draw(rows, torch.Generator().manual_seed(seed))


def test_the_ten_truths_are_those_of_the_published_benchmark() -> None:
    assert {task.name: round(task.truth_nats, 3) for task in tasks.published_tasks()} == PUBLISHED


def test_no_unseen_task_is_one_of_the_ten() -> None:
    names = [task.name for task in tasks.unseen_tasks()]
    assert len(set(names)) == len(names)
    assert not set(names) & set(PUBLISHED)


@pytest.mark.parametrize(
    "task", [*tasks.published_tasks(), *tasks.unseen_tasks()], ids=lambda task: task.name
)
def test_every_task_draws_finite_rows_and_the_same_again(task: Task) -> None:
    x, y = drawn(task, rows=70)
    assert len(x) == len(y) == 70
    assert x.isfinite().all()
    assert y.isfinite().all()
    again = drawn(task, rows=70)
    assert torch.equal(x, again[0])
    assert torch.equal(y, again[1])


def test_a_students_truth_is_the_mean_of_its_log_density_ratio() -> None:
    task = tasks.student_dense(2, 3, 0.5)
    x, y = (side.numpy() for side in drawn(task, rows=40_000))
    dispersion = torch.eye(4).mul(0.5).add(0.5).numpy()
    ratio = (
        stats.multivariate_t(shape=dispersion, df=3).logpdf(
            torch.cat([torch.tensor(x), torch.tensor(y)], 1).numpy()
        )
        - stats.multivariate_t(shape=dispersion[:2, :2], df=3).logpdf(x)
        - stats.multivariate_t(shape=dispersion[2:, 2:], df=3).logpdf(y)
    )
    assert abs(ratio.mean() - task.truth_nats) < 4 * ratio.std() / math.sqrt(len(ratio))


@pytest.mark.parametrize("epsilon", [0.1, 0.75])
def test_the_truth_of_additive_noise_is_the_difference_of_entropies(epsilon: float) -> None:
    # The density of y is a trapezoid; its entropy by a sum over a fine grid.
    y = torch.linspace(-epsilon, 1 + epsilon, 200_001, dtype=torch.float64)
    density = ((y + epsilon).clamp(max=1) - (y - epsilon).clamp(min=0)).clamp(min=0) / (2 * epsilon)
    entropy = float(torch.special.entr(density).sum() * (y[1] - y[0]))
    assert tasks.additive_uniform(epsilon).truth_nats == pytest.approx(
        entropy - math.log(2 * epsilon), abs=1e-4
    )


def test_wiggles_never_turn_back() -> None:
    at = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    identity = Task("identity", 0.0, lambda rows, generator: (at[:, None], at[:, None]))
    x, y = drawn(tasks.wiggly(identity))
    assert (x.diff(dim=0) > 0).all()
    assert (y.diff(dim=0) > 0).all()


def test_a_bimodal_side_goes_back_to_the_gaussian_it_came_from() -> None:
    base = tasks.bivariate_normal(0.6)
    (x, y), (mapped_x, mapped_y) = drawn(base), drawn(tasks.bimodal(base))
    cdf = torch.special.ndtr
    assert torch.allclose(0.3 * cdf(mapped_x) + 0.7 * cdf(mapped_x - 5), cdf(x), atol=1e-12)
    assert torch.allclose(0.5 * cdf(mapped_y + 1) + 0.5 * cdf(mapped_y - 3), cdf(y), atol=1e-12)


def test_a_spiral_turns_one_plane_of_each_side_and_keeps_lengths() -> None:
    base = tasks.sparse_normal(4)
    (x, y), (turned_x, turned_y) = drawn(base), drawn(tasks.spiral(base, x_dim=4, y_dim=4))
    assert torch.allclose(x.norm(dim=1), turned_x.norm(dim=1))
    assert torch.equal(x[:, 2:], turned_x[:, 2:])
    assert torch.equal(y[:, [0, 3]], turned_y[:, [0, 3]])
    angle = x[0].square().sum() / 4
    assert turned_x[0, 0] == pytest.approx(float(angle.cos() * x[0, 0] - angle.sin() * x[0, 1]))


def test_a_swiss_roll_winds_once_and_never_crosses_itself() -> None:
    x, y = drawn(tasks.swiss_roll(tasks.bivariate_normal(0.5)))
    radius = 21 * x.norm(dim=1)
    assert 1.5 * math.pi <= radius.min()
    assert radius.max() <= 4.5 * math.pi
    assert x.shape[1] == 2
    assert y.min() > 0
    assert y.max() < 1
