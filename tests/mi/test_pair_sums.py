"""Sums of parts of a batch, joined, against those of the whole batch; the bound and its gradients with them."""

import itertools
import math

import pytest
import torch
from embedded_pairs import CLIPS, RULES, rule_of, tensors

from avmi.mi.negatives import NegativeRule, negatives_in_rows
from avmi.mi.pair_sums import PairSums, info_nce_of_embeddings, info_nce_of_sums, log_mean_of_sums, pair_sums

BORDERS = (0, 11, 12, 30, CLIPS)


@pytest.mark.parametrize("temperature", [0.07, 0.01])
@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("name", RULES)
def test_parts_of_a_batch_have_together_the_bound_and_gradients_of_the_whole(
    name: str, memory: str, temperature: float
) -> None:
    rule = rule_of(name)
    ours, theirs = tensors(temperature, places=(3, 2)), tensors(temperature, places=(3, 2))
    parts = [
        pair_sums(ours[0][a:b], *ours[1:], negatives=rule, memory=memory, first_clip=a)
        for a, b in itertools.pairwise(BORDERS)
    ]
    bound = info_nce_of_sums(PairSums.joined(parts))
    whole = info_nce_of_embeddings(*theirs, negatives=rule, memory=memory)
    for field in ("value_nats", "ceiling_nats", "standard_error_nats", "counted", "excluded"):
        torch.testing.assert_close(getattr(bound, field), getattr(whole, field), atol=1e-12, rtol=1e-12)
    bound.value_nats.backward()
    whole.value_nats.backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-11, rtol=1e-10)


def test_a_clip_without_negatives_in_any_part_has_no_part_in_the_gradient() -> None:
    ours = tensors(0.07)
    videos = torch.zeros(CLIPS, dtype=torch.long)
    videos[:2] = 1  # the other clips are of one video: all of them stand against these two alone
    present = torch.ones(CLIPS, dtype=torch.bool)
    present[:2] = False  # … which are not there
    rule = NegativeRule(present, videos)
    parts = [
        pair_sums(ours[0][a:b], *ours[1:], negatives=rule, first_clip=a) for a, b in ((0, 20), (20, CLIPS))
    ]
    joined = PairSums.joined(parts)
    assert bool((joined.of_columns == -math.inf).all())
    info_nce_of_sums(joined).value_nats.backward()
    assert all(float(tensor.grad.abs().max()) == 0 for tensor in ours)


@pytest.mark.parametrize("name", RULES)
def test_the_log_mean_is_that_of_the_exponentials_of_each_clip_s_negatives(name: str) -> None:
    rule, (first, second, temperature) = rule_of(name), tensors(0.5, places=(3, 2))
    found = log_mean_of_sums(pair_sums(first, second, temperature, negatives=rule))
    scores = torch.einsum("ipd,jqd->ipjq", first, second) / temperature
    mask = negatives_in_rows(rule, slice(None))
    means = [
        scores[i, p, mask[i]].exp().mean().item() for i in range(CLIPS) if mask[i].any() for p in range(3)
    ]
    assert float(found.detach()) == pytest.approx(math.log(sum(means) / len(means)))


def test_without_any_negative_the_log_mean_is_0() -> None:
    rule = NegativeRule(torch.ones(CLIPS, dtype=torch.bool), torch.zeros(CLIPS, dtype=torch.long))
    assert float(log_mean_of_sums(pair_sums(*tensors(0.5), negatives=rule)).detach()) == 0.0
