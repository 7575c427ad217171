"""Name of a task → samples of two sides whose mutual information is known in closed form.

The tasks are those of Czyż et al. 2023 (arXiv 2306.11078), drawn here from their definitions. A map that can be
inverted on either side changes no mutual information, so that the truth is that of what was mapped.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Samples = tuple[Float[Tensor, "rows x_dim"], Float[Tensor, "rows y_dim"]]
Draw = Callable[[int, torch.Generator], Samples]


@dataclass(frozen=True)
class Task:
    """Samples with a known answer."""

    name: str  # that of the published benchmark, where it is one of its tasks
    truth_nats: float
    draw: Draw

    def mapped(self, name: str, of_x: Callable[[Tensor], Tensor], of_y: Callable[[Tensor], Tensor]) -> "Task":
        """Give the task whose sides go through maps that can be inverted."""

        def draw(rows: int, generator: torch.Generator) -> Samples:
            x, y = self.draw(rows, generator)
            return of_x(x), of_y(y)

        return Task(f"{name}-{self.name}", self.truth_nats, draw)


def normal(name: str, covariance: Float[Tensor, "dims dims"], *, x_dim: int) -> Task:
    """Give a joint Gaussian of mean 0; I = ½ (log det Σ_x + log det Σ_y − log det Σ)."""
    root = torch.linalg.cholesky(covariance)

    def draw(rows: int, generator: torch.Generator) -> Samples:
        noise = torch.randn(rows, len(root), generator=generator, dtype=torch.float64)
        both = noise @ root.T
        return both[:, :x_dim], both[:, x_dim:]

    return Task(name, _gaussian_nats(covariance, x_dim), draw)


def bivariate_normal(correlation: float) -> Task:
    """Give two Gaussians; I = −½ log(1 − ρ²)."""
    covariance = torch.eye(2, dtype=torch.float64)
    covariance[0, 1] = covariance[1, 0] = correlation
    return normal(f"1v1-normal-{correlation:g}", covariance, x_dim=1)


def dense_normal(dim: int, correlation: float) -> Task:
    """Give dim × dim Gaussians, all correlated alike: one canonical pair."""
    covariance = torch.eye(2 * dim, dtype=torch.float64) * (1 - correlation) + correlation
    return normal(f"multinormal-dense-{dim}-{dim}-{correlation:g}", covariance, x_dim=dim)


def sparse_normal(dim: int, *, pairs: int = 2, strength: float = 2.0) -> Task:
    """Give dim × dim Gaussians of which `pairs` are correlated, by strength² / (1 + strength²)."""
    covariance = torch.eye(2 * dim, dtype=torch.float64)
    for place in range(pairs):
        covariance[place, dim + place] = covariance[dim + place, place] = strength**2 / (1 + strength**2)
    return normal(f"multinormal-sparse-{dim}-{dim}-{pairs}-{strength:.1f}", covariance, x_dim=dim)


def additive_uniform(epsilon: float) -> Task:
    """Give X uniform on [0, 1] and Y = X + N, N uniform on [−ε, ε]."""

    def draw(rows: int, generator: torch.Generator) -> Samples:
        x = torch.rand(rows, 1, generator=generator, dtype=torch.float64)
        noise = torch.rand(rows, 1, generator=generator, dtype=torch.float64)
        return x, x + epsilon * (2 * noise - 1)

    truth = 0.25 / epsilon if epsilon > 0.5 else epsilon - math.log(2 * epsilon)
    return Task(f"1v1-additive-{epsilon:g}", truth, draw)


def student(name: str, dispersion: Float[Tensor, "dims dims"], *, x_dim: int, freedom: int) -> Task:
    """Give a joint Student t: what the Gaussian of its dispersion has, and what the common scale adds.

    Also without any correlation both sides tell each other how far out they are.
    """
    gaussian = normal(name, dispersion, x_dim=x_dim)

    def draw(rows: int, generator: torch.Generator) -> Samples:
        x, y = gaussian.draw(rows, generator)
        squares = torch.randn(rows, freedom, generator=generator, dtype=torch.float64).square()
        scale = squares.mean(dim=1, keepdim=True).rsqrt()
        return x * scale, y * scale

    truth = gaussian.truth_nats + _student_excess_nats(x_dim, len(dispersion) - x_dim, freedom)
    return Task(name, truth, draw)


def student_identity(dim: int, freedom: int) -> Task:
    """Give a Student t of dim × dim without correlation."""
    name = f"student-identity-{dim}-{dim}-{freedom}"
    return student(name, torch.eye(2 * dim, dtype=torch.float64), x_dim=dim, freedom=freedom)


def student_dense(dim: int, freedom: int, correlation: float) -> Task:
    """Give a Student t of dim × dim, all correlated alike."""
    dispersion = torch.eye(2 * dim, dtype=torch.float64) * (1 - correlation) + correlation
    name = f"student-dense-{dim}-{dim}-{freedom}-{correlation:g}"
    return student(name, dispersion, x_dim=dim, freedom=freedom)


def wiggly(task: Task) -> Task:
    """Bend each dimension by sines, without turning back."""
    return task.mapped("wiggly", _wiggle_x, _wiggle_y)


def half_cube(task: Task) -> Task:
    """Stretch each dimension to x·√|x|: longer tails."""
    return task.mapped("half_cube", _half_cube, _half_cube)


def asinh(task: Task) -> Task:
    """Draw the tails of each dimension in."""
    return task.mapped("asinh", torch.asinh, torch.asinh)


def normal_cdf(task: Task) -> Task:
    """Give each dimension of a standard Gaussian a uniform margin."""
    return task.mapped("normal_cdf", torch.special.ndtr, torch.special.ndtr)


def bimodal(task: Task) -> Task:
    """Give both sides of a 1 × 1 standard Gaussian two modes each, by the inverse of a mixture's CDF."""
    return task.mapped("bimodal", _bimodal_x, _bimodal_y)


def swiss_roll(task: Task) -> Task:
    """Roll the X of a 1 × 1 standard Gaussian up in a plane, and give Y a uniform margin."""
    return task.mapped("swissroll_x", _swiss_roll, torch.special.ndtr)


def spiral(task: Task, *, x_dim: int, y_dim: int, speed: float = 1.0) -> Task:
    """Turn one plane of each side by |x|² · speed / dim: dimensions 0 and 1 of X, 1 and 2 of Y."""
    return task.mapped(
        "spiral",
        lambda x: _turned(x, plane=(0, 1), speed=speed / x_dim),
        lambda y: _turned(y, plane=(1, 2), speed=speed / y_dim),
    )


def _gaussian_nats(covariance: Float[Tensor, "dims dims"], x_dim: int) -> float:
    both = torch.logdet(covariance)
    return float(
        (torch.logdet(covariance[:x_dim, :x_dim]) + torch.logdet(covariance[x_dim:, x_dim:]) - both) / 2
    )


def _student_excess_nats(x_dim: int, y_dim: int, freedom: int) -> float:
    """Give what a Student t has beyond the Gaussian of its dispersion (Arellano-Valle et al. 2013).

    It is the mutual information at identity dispersion, h_x + h_y − h_xy.
    """
    return (
        _student_entropy(x_dim, freedom)
        + _student_entropy(y_dim, freedom)
        - _student_entropy(x_dim + y_dim, freedom)
    )


def _student_entropy(dim: int, freedom: int) -> float:
    """Give the differential entropy of a Student t with identity dispersion."""
    half, whole = freedom / 2, (freedom + dim) / 2
    digamma = [float(torch.digamma(torch.tensor(value, dtype=torch.float64))) for value in (whole, half)]
    constant = math.lgamma(half) - math.lgamma(whole) + dim / 2 * math.log(freedom * math.pi)
    return constant + whole * (digamma[0] - digamma[1])


def _half_cube(x: Tensor) -> Tensor:
    return x * x.abs().sqrt()


def _wiggle_x(x: Tensor) -> Tensor:
    return x + 0.4 * x.sin() + 0.2 * (1.7 * x + 1).sin() + 0.03 * (3.3 * x - 2.5).sin()


def _wiggle_y(y: Tensor) -> Tensor:
    return y - 0.4 * (0.4 * y).sin() + 0.17 * (1.3 * y + 3.5).sin() + 0.02 * (4.3 * y - 2.5).sin()


def _swiss_roll(x: Tensor) -> Tensor:
    turn = 1.5 * math.pi * (1 + 2 * torch.special.ndtr(x))
    return torch.cat([turn * turn.cos(), turn * turn.sin()], dim=1) / 21


def _turned(x: Tensor, *, plane: tuple[int, int], speed: float) -> Tensor:
    angle = x.square().sum(dim=1) * speed
    first, second = (x[:, place] for place in plane)
    turned = x.clone()
    turned[:, plane[0]] = angle.cos() * first - angle.sin() * second
    turned[:, plane[1]] = angle.sin() * first + angle.cos() * second
    return turned


def _bimodal_x(x: Tensor) -> Tensor:
    return _inverse(
        lambda at: 0.3 * torch.special.ndtr(at) + 0.7 * torch.special.ndtr(at - 5), torch.special.ndtr(x)
    )


def _bimodal_y(y: Tensor) -> Tensor:
    return _inverse(
        lambda at: 0.5 * torch.special.ndtr(at + 1) + 0.5 * torch.special.ndtr(at - 3), torch.special.ndtr(y)
    )


def _inverse(cdf: Callable[[Tensor], Tensor], share: Tensor) -> Tensor:
    """Invert a CDF by bisection; 60 halvings of 40 reach the precision of float64."""
    low, high = torch.full_like(share, -20.0), torch.full_like(share, 20.0)
    for _ in range(60):
        middle = (low + high) / 2
        below = cdf(middle) < share
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2


def published_tasks() -> tuple[Task, ...]:
    """Give the ten tasks that the estimator was developed on."""
    pair, sparse = bivariate_normal(0.75), sparse_normal(25)
    return (
        pair,
        additive_uniform(0.1),
        wiggly(pair),
        swiss_roll(pair),
        dense_normal(25, 0.5),
        sparse,
        half_cube(sparse),
        spiral(sparse, x_dim=25, y_dim=25),
        student_identity(1, 1),
        student_identity(5, 2),
    )


def unseen_tasks() -> tuple[Task, ...]:
    """Give tasks that were run once, after everything was frozen."""
    return (
        additive_uniform(0.75),
        bimodal(bivariate_normal(0.75)),
        normal_cdf(sparse_normal(5)),
        student_dense(3, 3, 0.5),
        asinh(student_identity(5, 2)),
    )
