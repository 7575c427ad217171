"""Embeddings whose sounds are moved by known lags → curves and peaks, and how often noise is taken for one."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avmi.mi.bounds import info_nce
from avmi.mi.lag import FileMoments, corpus_bounds, file_temperature, file_terms
from avmi.mi.lag_peak import LagPeak, lag_peak, surely_off_zero

LAGS, ZERO, BLOCK = 11, 5, 3


def smooth(steps: int, generator: torch.Generator, *, dim: int = 12) -> Tensor:
    """Draw a signal whose neighbours overlap, as windows do that are longer than the step."""
    noise = torch.randn(steps + BLOCK - 1, dim, generator=generator)
    return noise.unfold(0, BLOCK, 1).sum(dim=2)


def file_of(moments: int, *, late: int, tie: float, seed: int) -> FileMoments:
    """Make a file whose sound stands `late` steps after its pictures; `tie` 0: the two have nothing in common."""
    generator = torch.Generator().manual_seed(seed)
    shared = smooth(moments + 4 * LAGS, generator)
    pictures = normalize(tie * shared + smooth(len(shared), generator), dim=1)
    sounds = normalize(tie * shared + smooth(len(shared), generator), dim=1)
    first = 2 * LAGS
    heard = [sounds[first + lag - ZERO - late :][:moments] for lag in range(LAGS)]
    return FileMoments(
        pictures[first : first + moments], torch.stack(heard), torch.ones(LAGS, moments, dtype=torch.bool)
    )


def peak_of(file: FileMoments, *, resamples: int = 500) -> LagPeak:
    generator = torch.Generator().manual_seed(0)
    terms = file_terms(file, temperature=0.2)
    return lag_peak(terms, zero=ZERO, block=BLOCK, resamples=resamples, generator=generator)


def test_a_file_has_info_nce_against_its_own_moments_at_every_lag() -> None:
    file = file_of(14, late=0, tie=1.0, seed=0)
    terms = file_terms(file, temperature=0.3)
    for lag in (0, 4, 10):
        scores = file.pictures @ file.sounds[lag].T / 0.3
        assert float(terms[lag].mean()) == pytest.approx(float(info_nce(scores).value_nats), abs=1e-5)


def test_moments_without_a_sound_have_no_term_and_are_no_negatives() -> None:
    file = file_of(14, late=0, tie=1.0, seed=0)
    present = file.present.clone()
    present[3, 9:] = False
    terms = file_terms(FileMoments(file.pictures, file.sounds, present), temperature=0.3)
    assert terms[3].isnan().tolist() == [False] * 9 + [True] * 5
    shorter = FileMoments(file.pictures[:9], file.sounds[:, :9], file.present[:, :9])
    torch.testing.assert_close(terms[3, :9], file_terms(shorter, temperature=0.3)[3], atol=1e-5, rtol=1e-5)


def test_the_peak_is_at_the_lag_that_the_sound_was_moved_by() -> None:
    for late in (-4, -1, 2, 3):
        peak = peak_of(file_of(40, late=late, tie=1.5, seed=7 + late))
        assert peak.lag - ZERO == late
        assert surely_off_zero([peak]) == [True]


def test_files_in_time_and_files_without_a_tie_are_seldom_named() -> None:
    for tie, most in ((1.0, 0), (0.0, 2)):
        peaks = [peak_of(file_of(36, late=0, tie=tie, seed=seed)) for seed in range(100)]
        assert sum(surely_off_zero([peak])[0] for peak in peaks) <= most
        assert sum(surely_off_zero(peaks)) <= most


def test_one_file_among_many_is_found() -> None:
    peaks = [peak_of(file_of(40, late=0, tie=1.0, seed=seed), resamples=2000) for seed in range(30)]
    peaks[17] = peak_of(file_of(40, late=2, tie=1.0, seed=99), resamples=2000)
    assert [number for number, named in enumerate(surely_off_zero(peaks)) if named] == [17]


def test_too_few_moments_are_never_named() -> None:
    peak = peak_of(file_of(11, late=3, tie=3.0, seed=1))
    assert peak.lag - ZERO == 3
    assert (peak.p_value, math.isnan(peak.share)) == (1.0, True)
    assert surely_off_zero([peak]) == [False]


def test_a_lag_that_few_moments_have_is_not_looked_at() -> None:
    terms = torch.randn(LAGS, 20, generator=torch.Generator().manual_seed(0))
    terms[8, 4:] = math.nan
    terms[8, :4] = 50.0
    terms[2] += 3
    found = lag_peak(terms, zero=ZERO, block=1, resamples=200, generator=torch.Generator().manual_seed(0))
    assert found.lag == 2


def test_the_corpus_is_bounded_against_other_files_at_the_same_lag() -> None:
    files = [file_of(12, late=1, tie=2.0, seed=seed) for seed in range(5)]
    bounds, videos = corpus_bounds(files, most_moments=1000)
    assert videos.tolist() == [n for n in range(5) for _ in range(12)]
    values = [bound.value_nats for bound in bounds]
    assert values.index(max(values)) == ZERO + 1
    assert all(bound.ceiling_nats == pytest.approx(math.log(1 + 48)) for bound in bounds)
    few, kept = corpus_bounds(files, most_moments=20)
    assert len(kept) == 20
    assert len(set(kept.tolist())) == 5
    assert len(few[0].terms) == 20


def test_the_temperature_of_files_is_sharp_for_what_is_tied_and_dull_for_noise() -> None:
    tied = [file_of(40, late=2, tie=4.0, seed=seed) for seed in range(3)]
    loose = [file_of(40, late=0, tie=0.0, seed=seed) for seed in range(3)]
    assert file_temperature(tied) < 0.3 < file_temperature(loose)
