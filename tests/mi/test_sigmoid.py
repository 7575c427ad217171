"""SigLIP's loss against loops over every two clips, against OpenCLIP's, and of blocks against the matrix."""

import itertools
import math

import pytest
import torch
from embedded_pairs import CLIPS, DIM, RULES, rule_of, unit

from avmi.mi import blocks
from avmi.mi.bounds import info_nce
from avmi.mi.negatives import NegativeRule, negatives_in_rows
from avmi.mi.sigmoid import pairwise_sigmoid, sigmoid_loss_of_embeddings

BORDERS = (0, 11, 12, 30, CLIPS)
EVERYONE = NegativeRule(torch.ones(CLIPS, dtype=torch.bool), torch.arange(CLIPS))


def given() -> list[torch.Tensor]:
    numbers = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (8.0, -0.7)]
    return [unit(CLIPS, DIM, seed=1), unit(CLIPS, DIM, seed=2), *numbers]


def loop(scores: list[list[float]], mask: list[list[bool]]) -> float:
    """Mean over the clips that have a negative of the losses of all their questions."""
    losses = []
    for i, row in enumerate(scores):
        others = [j for j, is_negative in enumerate(mask[i]) if is_negative and j != i]
        if others:
            prior = math.log(len(others))
            of_others = sum(math.log1p(math.exp(row[j] - prior)) for j in others)
            losses.append(math.log1p(math.exp(-(row[i] - prior))) + of_others)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("name", RULES)
def test_loss_and_gradient_of_the_matrix_are_those_of_a_loop_over_every_two_clips(name: str) -> None:
    mask = negatives_in_rows(rule_of(name), slice(None))
    scores = 3 * torch.randn(CLIPS, CLIPS, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    scores.requires_grad_()
    bound = pairwise_sigmoid(scores, negatives=mask)
    assert float(bound.value_nats.detach()) == float(info_nce(scores, negatives=mask).value_nats.detach())
    assert bound.kind == "lower"
    bound.value_nats.backward()
    step, rows = 1e-6, scores.detach().tolist()
    for i, j in ((0, 0), (5, 30), (17, 4), (36, 35)):
        either = []
        for sign in (1, -1):
            moved = [list(row) for row in rows]
            moved[i][j] += sign * step
            either.append(loop(moved, mask.tolist()))
        expected = -(either[0] - either[1]) / (2 * step)
        assert float(scores.grad[i, j]) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("rows", [5, 256])
@pytest.mark.parametrize("name", RULES)
def test_blocks_of_parts_of_the_batch_have_together_the_loss_and_gradients_of_the_matrix(
    name: str, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", rows)
    monkeypatch.setattr(blocks, "BLOCK_SCORES", 1)
    rule, ours, theirs = rule_of(name), given(), given()
    parts = [
        sigmoid_loss_of_embeddings(ours[0][a:b], *ours[1:], negatives=rule, first_clip=a)
        for a, b in itertools.pairwise(BORDERS)
    ]
    mask = negatives_in_rows(rule, slice(None))
    loss = sum(parts) / int(mask.any(dim=1).sum())
    first, second, scale, offset = theirs
    matrix = pairwise_sigmoid(scale * first @ second.T + offset, negatives=mask)
    loss.backward()
    (-matrix.value_nats).backward()
    assert float(loss.detach()) == pytest.approx(
        loop((scale * first @ second.T + offset).tolist(), mask.tolist())
    )
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-11, rtol=1e-10)


def test_it_is_open_clips_loss_where_the_bias_is_the_logarithm_of_the_odds() -> None:
    loss_of = pytest.importorskip("open_clip.loss", reason="open_clip_torch is not installed").SigLipLoss()
    ours, theirs = given(), given()
    sigmoid_loss_of_embeddings(*ours, negatives=EVERYONE).backward()
    first, second, scale, offset = theirs
    bias = offset - math.log(CLIPS - 1)
    (CLIPS * loss_of(first, second, scale, bias)).backward()  # OpenCLIP's is the mean over clips
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=1e-10, rtol=1e-9)


@pytest.mark.parametrize("clips", [40, 400])
def test_the_best_scores_are_the_log_density_ratio_whatever_the_number_of_negatives(clips: int) -> None:
    # Two symbols that agree with probability 0.9: the ratio is 1.8 where they agree and 0.2 where not.
    number = torch.arange(clips)
    first = number % 2
    second = torch.where((number % 20 == 9) | (number % 20 == 10), 1 - first, first)
    agree = (first[:, None] == second[None, :]).double()
    best = [math.log(0.2), math.log(1.8)]
    slopes = []
    for away in (-0.3, 0.0, 0.3):
        table = torch.tensor([value + away for value in best], dtype=torch.float64, requires_grad=True)
        (-pairwise_sigmoid(table[0] + agree * (table[1] - table[0])).value_nats).backward()
        slopes.append(table.grad.tolist())
    for below, at, above in zip(*slopes, strict=True):
        assert abs(at) < 0.15 * min(-below, above)


def test_without_gradient_only_the_loss_is_computed() -> None:
    first, second, scale, offset = given()
    wanted = sigmoid_loss_of_embeddings(first, second, scale, offset, negatives=EVERYONE)
    with torch.no_grad():
        alone = sigmoid_loss_of_embeddings(first, second, scale, offset, negatives=EVERYONE)
    assert float(alone) == pytest.approx(float(wanted.detach()))
    assert not alone.requires_grad


def test_the_operation_is_registered_as_torch_asks_for() -> None:
    first, second = unit(6, DIM, seed=1), unit(6, DIM, seed=2)
    numbers = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (3.0, 0.5)]
    facts = (torch.ones(6, dtype=torch.bool), torch.arange(6), None, 0.0, 0)
    for wanted in (True, False):
        given = (first, second, *numbers) if wanted else tuple(t.detach() for t in (first, second, *numbers))
        torch.library.opcheck(torch.ops.avmi.sigmoid_loss.default, (*given, *facts, wanted))
