"""Estimates from samples: against closed forms, what chooses, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from avmi.errors import InputError
from avmi.mi import Estimate, estimate, info_nce
from avmi.mi.estimation.candidates import candidates, score_blocks, validation_nats
from avmi.mi.estimation.correction import CorrectionNetwork, Inputs, all_scores, train_correction
from avmi.mi.estimation.of_samples import _influences, readings
from avmi.mi.estimation.protocol import ESTIMATOR
from avmi.mi.estimation.tasks import bivariate_normal, student_identity

QUICK = replace(ESTIMATOR, most_steps=60, patience_steps=50, check_rows=128)


def samples(rows: int = 600, correlation: float = 0.8, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    return bivariate_normal(correlation).draw(rows, torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def found() -> Estimate:
    return estimate(*samples(), settings=QUICK)


def test_a_gaussian_pair_reads_its_closed_form(found: Estimate) -> None:
    truth = -0.5 * math.log(1 - 0.8**2)
    assert found.value_nats == pytest.approx(truth, abs=4 * float(found.bound.standard_error_nats))
    assert found.interval_nats[0] < found.value_nats < found.interval_nats[1]


def test_half_of_the_rows_train_a_quarter_validates_and_a_quarter_is_reported(found: Estimate) -> None:
    assert (found.train_rows, found.validation_rows, found.held_out_rows) == (300, 150, 150)
    assert found.ceiling_nats == pytest.approx(math.log(150))
    assert len(found.log_ratios) == 150


def test_what_validation_rows_like_best_is_chosen(found: Estimate) -> None:
    best = max(found.tried, key=lambda tried: tried.validation_nats)
    assert found.chosen == best.name
    assert "nothing" in [tried.name for tried in found.tried]


def test_held_out_rows_choose_nothing() -> None:
    x, y = samples()
    held_out = torch.randperm(600, generator=torch.Generator().manual_seed(0))[450:]
    other = y.clone()
    other[held_out] = torch.randn(150, 1, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    first, second = estimate(x, y, settings=QUICK), estimate(x, other, settings=QUICK)
    assert first.tried == second.tried
    assert first.chosen == second.chosen
    assert second.value_nats < 0.1 < first.value_nats


def test_the_same_seed_gives_the_same_answer_and_another_splits_otherwise(found: Estimate) -> None:
    x, y = samples()
    assert estimate(x.numpy(), y.numpy(), settings=QUICK).value_nats == found.value_nats
    assert estimate(x, y, seed=4, settings=QUICK).value_nats != found.value_nats


def test_one_dimension_is_one_column(found: Estimate) -> None:
    x, y = samples()
    assert estimate(x[:, 0], y[:, 0], settings=QUICK).value_nats == found.value_nats


def test_independent_sides_read_about_nothing() -> None:
    x, y = samples(800, correlation=0.0)
    assert abs(estimate(x, y, settings=QUICK).value_nats) < 0.05


def test_the_dependence_of_radii_alone_is_found() -> None:
    x, y = student_identity(1, 1).draw(2000, torch.Generator().manual_seed(2))
    assert estimate(x, y, settings=replace(QUICK, most_steps=300, patience_steps=300)).value_nats > 0.12


def test_more_dimensions_than_rows_are_cut_down() -> None:
    generator = torch.Generator().manual_seed(3)
    common = torch.randn(300, 1, generator=generator)
    x, y = (
        common + torch.randn(300, 170, generator=generator),
        common + torch.randn(300, 180, generator=generator),
    )
    assert estimate(x, y, settings=QUICK).value_nats > 1.0


def test_only_readings_that_hold_for_every_critic_are_called_bounds(found: Estimate) -> None:
    assert {bound.name: bound.kind for bound in found.table} == {
        "info_nce": "lower",
        "nwj": "lower",
        "interpolated": "lower",
        "donsker_varadhan": "neither",
        "smile": "neither",
        "difference_of_entropies": "neither",
        "leave_one_out_upper": "neither",
        "club": "neither",
    }


def test_readings_of_the_exact_critic_agree_with_the_truth() -> None:
    x, y = samples(1500)
    residual = (y.T - 0.8 * x).square() / (1 - 0.8**2)
    ratios = -0.5 * math.log(1 - 0.8**2) + (y.T.square() - residual) / 2
    for bound in readings(ratios):
        if bound.name != "club":  # loose by Jensen, also with the exact conditional
            assert float(bound.value_nats) == pytest.approx(0.511, abs=0.1), bound.name


def test_the_error_is_that_of_leaving_each_row_out() -> None:
    scores = torch.randn(60, 60, generator=torch.Generator().manual_seed(4), dtype=torch.float64) + torch.eye(
        60
    )
    kept = [[place for place in range(60) if place != row] for row in range(60)]
    left_out = torch.stack([info_nce(scores[rows][:, rows]).value_nats for rows in kept])
    jackknife = ((left_out - left_out.mean()).square().sum() * 59 / 60).sqrt()
    error = _influences(scores).std() / math.sqrt(60)
    assert float(error) == pytest.approx(float(jackknife), rel=0.06)


def test_the_influences_have_the_mean_of_the_bound() -> None:
    scores = torch.randn(30, 30, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    assert float(_influences(scores).mean() + math.log(30) + 1) == pytest.approx(
        float(info_nce(scores).value_nats)
    )


def test_many_rows_are_read_in_blocks() -> None:
    x, y = samples(1000)
    found = estimate(x, y, settings=replace(QUICK, most_negatives=90))
    assert float(found.bound.k_effective) == pytest.approx(83.3, abs=0.1)
    assert int(found.bound.counted) == 250
    assert found.ceiling_nats == pytest.approx(math.log(83.3), abs=0.01)
    assert found.value_nats == pytest.approx(0.511, abs=0.2)


def test_a_network_begins_at_nothing() -> None:
    network = CorrectionNetwork(3, 2, width=8, layers=3)
    assert torch.equal(network(torch.randn(4, 3), torch.randn(5, 2)), torch.zeros(4, 5))


def test_a_network_learns_what_no_line_can_and_groups_score_each_by_itself() -> None:
    generator = torch.Generator().manual_seed(6)
    x = torch.randn(1024, 1, generator=generator)
    y = x.square() + 0.3 * torch.randn(1024, 1, generator=generator)
    none = torch.zeros(1024, 0)
    train, valid = (
        Inputs(x[rows], y[rows], none[rows], none[rows]) for rows in (slice(512), slice(512, 1024))
    )
    network = train_correction(
        train,
        valid,
        correlations=torch.zeros(0),
        generator=generator,
        settings=replace(QUICK, most_steps=200),
    )
    assert float(info_nce(all_scores(network, valid.x, valid.y)).value_nats) > 0.5
    grouped = network(x[:12].view(3, 4, 1), y[:12].view(3, 4, 1))
    assert torch.allclose(grouped[1], network(x[4:8], y[4:8]), atol=1e-6)


def test_a_network_that_helps_nothing_is_left_at_its_beginning() -> None:
    generator = torch.Generator().manual_seed(7)
    noise = [torch.randn(256, 1, generator=generator) for _ in range(2)]
    none = torch.zeros(256, 0)
    train = Inputs(*noise, none, none)
    valid = Inputs(noise[0], noise[1].flip(0), none, none)
    quick = replace(QUICK, most_steps=100)
    network = train_correction(train, valid, correlations=torch.zeros(0), generator=generator, settings=quick)
    assert float(info_nce(all_scores(network, valid.x, valid.y)).value_nats) >= 0


def test_the_candidates_validation_values_are_those_of_their_critics() -> None:
    x, y = samples()
    train, valid = (x[:300], y[:300]), (x[300:], y[300:])
    for candidate in candidates(train, valid, generator=torch.Generator().manual_seed(8), settings=QUICK):
        assert validation_nats(candidate.critic, valid, QUICK) == pytest.approx(
            candidate.validation_nats, abs=1e-6
        )
        assert next(score_blocks(candidate.critic, valid, QUICK)).shape == (300, 300)


ROWS = np.arange(1200.0).reshape(600, 2)
BAD = {
    "text": (ROWS.astype(str), "X holds text, not numbers"),
    "objects": (np.array([{}, 1] * 300, dtype=object), "X holds objects, not numbers"),
    "empty": (np.empty((0, 3)), r"X is empty \(shape 0×3\)"),
    "not finite": (
        np.where(ROWS == 7, np.nan, ROWS),
        "X has 1 values that are not finite, the first in row 4, column 2",
    ),
    "infinite": (
        np.where(ROWS == 8, np.inf, ROWS),
        "X has 1 values that are not finite, the first in row 5, column 1",
    ),
    "constant": (ROWS * [1, 0], "X has 1 constant columns of 2, the first is column 2"),
    "length": (ROWS[:599], "X has 599 rows and Y has 600"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_used_is_told_in_one_sentence(name: str) -> None:
    x, told = BAD[name]
    with pytest.raises(InputError, match=told):
        estimate(x, ROWS)


def test_fewer_rows_than_two_batches_are_refused() -> None:
    with pytest.raises(InputError, match="X and Y have 255 rows, and 256 are the fewest"):
        estimate(ROWS[:255], ROWS[:255])


def test_a_column_that_is_constant_where_it_trains_is_refused() -> None:
    x, y = samples()
    held_out = torch.randperm(600, generator=torch.Generator().manual_seed(0))[450:]
    spike = torch.zeros(600, 1, dtype=torch.float64)
    spike[held_out[0]] = 1.0
    with pytest.raises(InputError, match="Y has 1 constant columns of 2"):
        estimate(x, torch.cat([y, spike], dim=1), settings=QUICK)
