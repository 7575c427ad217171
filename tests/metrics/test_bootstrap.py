"""The bootstrap interval against the standard error of known draws, and what groups do to it."""

import math

import pytest
import torch

from avmi.metrics import Interval, bootstrap_interval


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_interval_of_independent_values_is_that_of_the_normal_distribution() -> None:
    values = torch.randn(400, generator=seeded(0), dtype=torch.float64)
    found = bootstrap_interval(values, torch.arange(400), generator=seeded(1), resamples=2000)
    half = 1.96 * float(values.std()) / math.sqrt(400)
    assert found.low == pytest.approx(float(values.mean()) - half, abs=0.02)
    assert found.high == pytest.approx(float(values.mean()) + half, abs=0.02)


def test_clips_of_one_video_are_no_more_evidence_than_the_video() -> None:
    by_video = (torch.rand(50, generator=seeded(2)) < 0.4).double()
    once = bootstrap_interval(by_video, torch.arange(50), generator=seeded(3))
    many = bootstrap_interval(
        by_video.repeat_interleave(20), torch.arange(50).repeat_interleave(20), generator=seeded(3)
    )
    assert many.low == pytest.approx(once.low)
    assert many.high == pytest.approx(once.high)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for trial in range(200):
        generator = seeded(100 + trial)
        by_video = torch.randn(40, generator=generator)
        values = (by_video[:, None] + torch.randn(40, 5, generator=generator)).flatten()
        found = bootstrap_interval(
            values, torch.arange(40).repeat_interleave(5), generator=generator, resamples=200
        )
        covered += found.low <= 0 <= found.high
    assert 175 <= covered <= 199  # 190 expected; a percentile interval of 40 videos covers a little less


def test_the_median_has_an_interval_too() -> None:
    values = torch.tensor([1.0] * 30 + [50.0] * 10)
    found = bootstrap_interval(values, torch.arange(40), generator=seeded(4), statistic="median")
    assert found == Interval(low=1.0, high=1.0)


def test_the_same_generator_gives_the_same_interval_whatever_the_names_of_the_groups() -> None:
    values, groups = torch.rand(30, generator=seeded(5)), torch.arange(30) % 7
    one = bootstrap_interval(values, groups, generator=seeded(6))
    other = bootstrap_interval(values, groups * 10 - 3, generator=seeded(6))
    assert one == other
    assert one != bootstrap_interval(values, groups, generator=seeded(7))


@pytest.mark.parametrize("queries", [0, 5])
def test_fewer_than_two_videos_have_no_interval(queries: int) -> None:
    groups = torch.zeros(queries, dtype=torch.int64)
    assert bootstrap_interval(torch.rand(queries), groups, generator=seeded(8)) is None
