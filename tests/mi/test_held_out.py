"""Held-out bounds with a fitted temperature, against `info_nce` at every temperature and a known truth."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avmi.mi.bounds import info_nce
from avmi.mi.held_out import clip_terms, clustered_error, held_out_bound
from avmi.mi.negatives import other_video_negatives

VIDEOS = torch.tensor([0, 0, 1, 1, 1, 2, 3, 3, 4])


def unit(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def negatives(videos: Tensor, *missing: int) -> Tensor:
    present = torch.ones(len(videos), dtype=torch.bool)
    present[list(missing)] = False
    return other_video_negatives(present, videos)


def test_the_mean_of_the_terms_is_info_nce_at_that_temperature() -> None:
    cosines = unit(9, 6, seed=0) @ unit(9, 6, seed=1).T
    mask = negatives(VIDEOS)
    for temperature in (0.05, 0.3, 2.0):
        terms = clip_terms(cosines, mask, temperature=temperature)
        expected = info_nce(cosines / temperature, negatives=mask).value_nats
        assert float(terms.mean()) == pytest.approx(float(expected), abs=1e-5)


def test_each_half_is_read_at_the_temperature_that_is_best_on_the_other() -> None:
    first = unit(9, 6, seed=2)
    cosines = first @ normalize(first + 0.4 * unit(9, 6, seed=3), dim=1).T
    mask = negatives(VIDEOS)
    found = held_out_bound(cosines, mask, VIDEOS)
    grid = torch.logspace(-2, 1, 31).tolist()
    by_temperature = {t: clip_terms(cosines, mask, temperature=t) for t in grid}
    odd = VIDEOS % 2 == 1
    best = {
        half: max(grid, key=lambda t: float(by_temperature[t][odd == half].mean())) for half in (True, False)
    }
    expected = [float(by_temperature[best[not odd[i]]][i]) for i in range(9)]
    assert found.terms.tolist() == pytest.approx(expected, abs=1e-5)
    assert found.temperature == pytest.approx(math.sqrt(best[True] * best[False]))
    assert found.ceiling_nats == pytest.approx(
        sum(math.log(1 + 9 - n) for n in (2, 2, 3, 3, 3, 1, 2, 2, 1)) / 9
    )


def test_clips_without_a_view_are_left_out() -> None:
    cosines = unit(9, 6, seed=0) @ unit(9, 6, seed=1).T
    broken = cosines.clone()
    found = held_out_bound(broken, negatives(VIDEOS, 4, 6), VIDEOS)
    assert found.rows.tolist() == [0, 1, 2, 3, 5, 7, 8]
    assert len(found.terms) == 7
    kept = found.rows
    alone = held_out_bound(cosines[kept][:, kept], negatives(VIDEOS[kept]), VIDEOS[kept])
    assert found.value_nats == pytest.approx(alone.value_nats, abs=1e-5)


def test_views_that_share_nothing_are_told_nothing_and_not_less() -> None:
    values = []
    for seed in range(20):
        cosines = unit(80, 8, seed=seed) @ unit(80, 8, seed=100 + seed).T
        values.append(held_out_bound(cosines, negatives(torch.arange(80)), torch.arange(80)).value_nats)
    assert -0.1 < sum(values) / 20 < 0.03


def test_one_video_gives_no_bound() -> None:
    found = held_out_bound(
        torch.eye(4), negatives(torch.zeros(4, dtype=torch.long)), torch.zeros(4, dtype=torch.long)
    )
    assert len(found.terms) == 0
    assert math.isnan(found.value_nats)
    assert (found.ceiling_nats, found.cosine_ceiling_nats) == (0.0, 0.0)


def test_the_error_is_that_of_video_means_when_videos_are_of_one_size() -> None:
    terms = torch.randn(12, generator=torch.Generator().manual_seed(0))
    videos = torch.arange(12) // 3
    means = terms.view(4, 3).mean(dim=1)
    assert clustered_error(terms, videos) == pytest.approx(float(means.std()) / 2, abs=1e-6)
    assert math.isnan(clustered_error(terms, torch.zeros(12, dtype=torch.long)))
