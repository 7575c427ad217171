"""Losses of batches → counts of those in which a pair had no clips."""

import logging

import pytest
import torch

from avmi.objective import Loss, PairTerm
from avmi.training.watching.skipped import SkippedTerms


def loss(**clips: int) -> Loss:
    zero = torch.tensor(0.0)
    terms = {
        name: PairTerm(zero, zero, zero, torch.tensor(1.0), zero, torch.tensor(count), zero, "lower")
        for name, count in clips.items()
    }
    return Loss(zero, terms, zero)


def test_batches_without_clips_are_counted_between_two_records() -> None:
    skipped = SkippedTerms()
    for far in (0, 3, 0, 0):
        skipped.add(loss(near=5, far=far))
    assert skipped.scalars() == {"skipped_batches/near": 0.0, "skipped_batches/far": 3.0}
    assert skipped.scalars() == {}
    skipped.add(loss(near=0, far=2))
    assert skipped.scalars() == {"skipped_batches/near": 1.0, "skipped_batches/far": 0.0}


def test_a_pair_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    skipped = SkippedTerms()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            skipped.add(loss(near=5, far=0))
            skipped.add(loss(near=5, far=0))
            skipped.scalars()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("far was left out of 2 batches: no two clips in them had both views")


def test_counting_reads_nothing_back_from_the_device() -> None:
    # Tensors on the meta device have no values: whatever asks for one fails.
    skipped = SkippedTerms()
    for _ in range(2):
        there = loss(near=1, far=0)
        for term in there.terms.values():
            object.__setattr__(term, "clips", torch.zeros((), dtype=torch.long, device="meta"))
        skipped.add(there)
