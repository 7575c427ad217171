"""InfoNCE of embeddings against the same bound of the whole score matrix, and sums against logsumexp of a mask."""

import math

import pytest
import torch
from embedded_pairs import CLIPS, DIM, RULES, rule_of, tensors, unit
from torch import Tensor

from avmi.mi import blocks
from avmi.mi.log_sums import scores_and_log_sums
from avmi.mi.multi_positive import multi_positive_info_nce
from avmi.mi.negatives import NegativeRule, negatives_in_rows
from avmi.mi.pair_sums import info_nce_of_embeddings
from avmi.mi.places import place_scores


@pytest.fixture(params=[5, 256], ids=["many blocks", "one block"])
def block_scores(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BLOCK_ROWS", "LEAST_LOW_ROWS"):
        monkeypatch.setattr(blocks, name, request.param)
    monkeypatch.setattr(blocks, "BLOCK_SCORES", 1)


@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("places", [(1, 1), (3, 2)])
@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(
    "temperature", [0.5, 0.07, 0.01]
)  # beyond 1/40 rows and columns have their own maxima
def test_value_and_gradients_are_those_of_the_whole_matrix(
    temperature: float, name: str, places: tuple[int, int], memory: str, block_scores: None
) -> None:
    rule = rule_of(name)
    ours, theirs = tensors(temperature, places=places), tensors(temperature, places=places)
    bound = info_nce_of_embeddings(*ours, negatives=rule, memory=memory)
    whole = multi_positive_info_nce(place_scores(*theirs), negatives=negatives_in_rows(rule, slice(None)))
    for field in ("value_nats", "ceiling_nats", "k_effective", "standard_error_nats", "counted", "excluded"):
        torch.testing.assert_close(getattr(bound, field), getattr(whole, field), atol=1e-12, rtol=1e-12)
    bound.value_nats.backward()
    whole.value_nats.backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-11, rtol=1e-10)


@pytest.mark.parametrize("memory", ["fast", "low"])
@pytest.mark.parametrize("temperature", [0.07, 0.01])
def test_single_precision_differs_from_double_by_a_millionth(temperature: float, memory: str) -> None:
    rule = rule_of("other videos")
    single, double = tensors(temperature, dtype=torch.float32), tensors(temperature)
    found = info_nce_of_embeddings(*single, negatives=rule, memory=memory).value_nats
    truth = info_nce_of_embeddings(*double, negatives=rule, memory=memory).value_nats
    assert float(found.detach()) == pytest.approx(float(truth.detach()), rel=1e-6, abs=1e-5)
    found.backward()
    truth.backward()
    for one, other in zip(single, double, strict=True):
        error = (one.grad.double() - other.grad).abs().max() / other.grad.abs().max()
        assert float(error) < (1e-5 if temperature == 0.01 else 2e-6)


def test_sums_are_those_over_the_mask_both_ways() -> None:
    rule = rule_of("clips missing")
    first, second, scale = (
        unit(CLIPS, 1, DIM, seed=1),
        unit(CLIPS, 1, DIM, seed=2),
        torch.tensor(9.0, dtype=torch.float64),
    )
    positives, rows, columns, number = scores_and_log_sums(
        first, second, scale, negatives=rule, keeps_exponentials=True
    )
    mask = torch.tensor(
        [
            [bool(p and q) and i // 3 != j // 3 for j, q in enumerate(rule.present)]
            for i, p in enumerate(rule.present)
        ]
    )
    torch.testing.assert_close(positives[:, 0, 0], scale * (first * second).sum(dim=(1, 2)))
    scores = (scale * first[:, 0] @ second[:, 0].T).masked_fill(~mask, -math.inf)
    torch.testing.assert_close(rows[:, 0], scores.logsumexp(dim=1))
    torch.testing.assert_close(columns[:, 0], scores.logsumexp(dim=0))
    assert number.tolist() == mask.sum(dim=1).tolist()


@pytest.mark.parametrize("way", [0, 1])
def test_the_sums_of_one_way_alone_have_their_gradient(way: int) -> None:
    rule, (first, second, _) = rule_of("clips missing"), tensors(0.1)
    scale = torch.tensor(7.0, dtype=torch.float64)
    found = scores_and_log_sums(first, second, scale, negatives=rule, keeps_exponentials=True)[1 + way]
    found[rule.present].sum().backward()
    gradients = [first.grad.clone(), second.grad.clone()]
    first.grad = second.grad = None
    mask = negatives_in_rows(rule, slice(None))
    scores = (scale * first[:, 0] @ second[:, 0].T).masked_fill(~mask, -math.inf)
    scores.logsumexp(dim=1 - way)[rule.present].sum().backward()
    for ours, theirs in zip(gradients, (first.grad, second.grad), strict=True):
        torch.testing.assert_close(ours, theirs.nan_to_num())


@pytest.mark.parametrize("temperature", [0.07, 0.01])
def test_clips_without_negatives_have_no_part_in_value_or_gradient(temperature: float) -> None:
    ours = tensors(temperature)
    rule = NegativeRule(torch.ones(CLIPS, dtype=torch.bool), torch.zeros(CLIPS, dtype=torch.long))
    bound = info_nce_of_embeddings(*ours, negatives=rule)
    bound.value_nats.backward()
    assert (float(bound.value_nats.detach()), int(bound.counted)) == (0.0, 0)
    assert all(float(tensor.grad.abs().max()) == 0 for tensor in ours)


def test_no_exponential_is_lost_where_all_negatives_of_a_view_are_far_below_others() -> None:
    # The last clip of the second view is opposite to everything: its column lies 200 below the largest score.
    first = torch.zeros(6, 1, 4, dtype=torch.float32)
    first[:, 0, 0] = 1
    second = first.clone()
    second[5] *= -1
    scale = torch.tensor(100.0)
    rule = NegativeRule(torch.ones(6, dtype=torch.bool), torch.arange(6))
    _, _, columns, _ = scores_and_log_sums(first, second, scale, negatives=rule, keeps_exponentials=False)
    assert columns[:, 0].tolist() == pytest.approx([100 + math.log(5)] * 5 + [-100 + math.log(5)], abs=1e-4)


def test_the_operation_is_registered_as_torch_asks_for() -> None:
    first, second = unit(6, DIM, seed=1), unit(6, DIM, seed=2)
    scale = torch.tensor(3.0, dtype=torch.float64, requires_grad=True)
    facts = (torch.ones(6, dtype=torch.bool), torch.arange(6), None, 0.0, 0, 6)
    for keeps in (True, False):
        torch.library.opcheck(torch.ops.avmi.log_sums.default, (first, second, scale, *facts, keeps))


def test_a_compiled_bound_is_the_same() -> None:
    rule, given = rule_of("other videos"), tensors(0.07)

    def value(first: Tensor, second: Tensor, temperature: Tensor) -> Tensor:
        return info_nce_of_embeddings(first, second, temperature, negatives=rule).value_nats

    compiled = torch.compile(value, backend="aot_eager", fullgraph=False)
    torch.testing.assert_close(compiled(*given), value(*given))
