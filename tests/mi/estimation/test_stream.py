"""A stream of batches: what it reads of Gaussians and of other dependences, and how it takes a change."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal

from avmi.mi.estimation.protocol import RAMP, STREAM
from avmi.mi.estimation.ramp import (
    CRITIC_ESTIMATORS,
    ramp_batches,
    read_by_critic,
    read_by_stream_estimator,
    windows,
)
from avmi.mi.estimation.stream import GaussianFit, ResidualNetwork, StreamEstimator

SMALL = replace(RAMP, dim=3, batch_rows=48, levels_nats=(1.0, 3.0), steps_per_level=320)


def gaussians(
    correlation: float, *, batches: int, seed: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    for _ in range(batches):
        x, noise = torch.randn(2, 64, 2, generator=generator).unbind()
        yield x, correlation * x + math.sqrt(1 - correlation**2) * noise


def test_a_fit_is_the_conditional_and_the_margin_of_its_gaussian() -> None:
    generator = torch.Generator().manual_seed(1)
    root = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    covariance = root @ root.T + torch.eye(5)
    fit = GaussianFit.of(covariance * 1e9, rows=10**9, x_dim=2)
    both = torch.randn(7, 5, generator=generator, dtype=torch.float64)
    zeros = torch.zeros(5, dtype=torch.float64)
    joint = MultivariateNormal(zeros, covariance).log_prob(both)
    of_x = MultivariateNormal(zeros[:2], covariance[:2, :2]).log_prob(both[:, :2])
    of_y = MultivariateNormal(zeros[2:], covariance[2:, 2:]).log_prob(both[:, 2:])
    assert torch.allclose(fit.log_conditional(both[:, :2], both[:, 2:]), joint - of_x, atol=1e-6)
    assert torch.allclose(fit.log_margin(both[:, 2:]), of_y, atol=1e-6)


def test_a_network_begins_at_the_standard_gaussian_and_learns() -> None:
    generator = torch.Generator().manual_seed(2)
    network = ResidualNetwork(2, 3, settings=replace(STREAM, learning_rate=1e-2), generator=generator)
    x, residuals = torch.randn(64, 2, generator=generator), torch.randn(64, 3, generator=generator)
    assert torch.allclose(network(x, residuals), Normal(0.0, 1.0).log_prob(residuals).sum(dim=1), atol=1e-5)
    shifted = 2 + 0.1 * residuals
    before = float(network(x, shifted).mean().detach())
    for _ in range(100):
        network.learn(x, shifted)
    assert float(network(x, shifted).mean().detach()) > before + 5


def test_the_first_batches_read_nothing() -> None:
    estimator = StreamEstimator(generator=torch.Generator().manual_seed(3))
    readings = [estimator.read(x, y) for x, y in gaussians(0.9, batches=STREAM.blind_steps + 1)]
    assert [reading.chosen for reading in readings[:-1]] == ["nothing"] * STREAM.blind_steps
    assert readings[-1].chosen != "nothing"
    assert set(readings[-1].by_candidate) > {"gaussian"}


def test_a_batch_is_read_before_it_is_learned_from() -> None:
    first, second = (StreamEstimator(generator=torch.Generator().manual_seed(4)) for _ in range(2))
    for x, y in gaussians(0.5, batches=20):
        first.read(x, y)
        second.read(x, y)
    x, y = next(gaussians(0.5, batches=1, seed=9))
    expected = first.read(x, y).value_nats
    halves = [StreamEstimator(generator=torch.Generator().manual_seed(4)) for _ in range(2)]
    parts = []
    for half, rows in zip(halves, (slice(32), slice(32, 64)), strict=True):
        for batch_x, batch_y in gaussians(0.5, batches=20):
            half.read(batch_x, batch_y)
        parts.append(half.read(x[rows], y[rows]).value_nats)
    assert sum(parts) / 2 == pytest.approx(expected, abs=1e-6)


def test_independent_sides_read_about_nothing() -> None:
    estimator = StreamEstimator(generator=torch.Generator().manual_seed(5))
    values = [estimator.read(x, y).value_nats for x, y in gaussians(0.0, batches=120)]
    assert abs(sum(values[60:]) / 60) < 0.02


def test_a_dependence_that_no_gaussian_has_is_left_to_a_network() -> None:
    estimator = StreamEstimator(
        generator=torch.Generator().manual_seed(6), settings=replace(STREAM, learning_rate=5e-3)
    )
    generator = torch.Generator().manual_seed(7)
    readings = []
    for _ in range(250):
        x, noise = torch.randn(2, 64, 1, generator=generator).unbind()
        readings.append(estimator.read(x, x.abs() + 0.2 * noise))
    late = readings[-60:]
    assert {reading.chosen for reading in late} <= {"gaussian + network", "network"}
    assert sum(reading.value_nats for reading in late) / 60 > 0.6
    assert abs(sum(reading.by_candidate["gaussian"] for reading in late) / 60) < 0.05


def test_a_small_ramp_is_read_without_being_told_of_its_levels() -> None:
    reading = read_by_stream_estimator("gaussian", seed=1, protocol=SMALL)
    assert reading.kind == "neither"
    assert len(reading.step_values_nats) == 640
    assert reading.level_means_nats == pytest.approx((1.0, 3.0), abs=0.15)


def test_a_rising_map_of_a_side_changes_nothing() -> None:
    short = replace(SMALL, levels_nats=(1.0,), steps_per_level=60)
    readings = [read_by_stream_estimator(shape, seed=2, protocol=short) for shape in ("gaussian", "cubic")]  # type: ignore[arg-type]
    # Scores between fitted values are linear in the values, which a cube bends a little.
    assert readings[0].level_means_nats == pytest.approx(readings[1].level_means_nats, abs=0.01)


def test_the_levels_of_the_ramp_have_their_mutual_information() -> None:
    batches = list(ramp_batches("gaussian", generator=torch.Generator().manual_seed(8), protocol=SMALL))
    for level, begin in zip(SMALL.levels_nats, (0, 320), strict=True):
        x, y = (torch.cat(side) for side in zip(*batches[begin : begin + 320], strict=True))
        correlations = torch.stack([torch.corrcoef(torch.stack([x[:, d], y[:, d]]))[0, 1] for d in range(3)])
        assert float(-0.5 * (1 - correlations.square()).log().sum()) == pytest.approx(level, abs=0.06)


def test_the_cubic_ramp_is_the_cube_of_the_same_stream() -> None:
    streams = [ramp_batches(shape, generator=torch.Generator().manual_seed(9), protocol=SMALL) for shape in ("gaussian", "cubic")]  # type: ignore[arg-type]  # fmt: skip
    (x, y), (same_x, cubed) = next(streams[0]), next(streams[1])
    assert torch.equal(x, same_x)
    assert torch.equal(y**3, cubed)


def test_the_window_is_the_last_quarter_of_each_level() -> None:
    assert windows(SMALL) == [range(240, 320), range(560, 640)]


@pytest.mark.parametrize("name", CRITIC_ESTIMATORS)
def test_every_other_estimator_reads_the_ramp(name: str) -> None:
    short = replace(SMALL, levels_nats=(1.0,), steps_per_level=120, critic_hidden_dims=(32,))
    reading = read_by_critic(name, "gaussian", seed=2, protocol=short)
    assert reading.kind == ("neither" if name in {"donsker_varadhan", "smile"} else "lower")
    assert 0.1 < reading.level_means_nats[0] < 1.8


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="ksg is none of info_nce, nwj"):
        read_by_critic("ksg", "gaussian", seed=0, protocol=SMALL)
