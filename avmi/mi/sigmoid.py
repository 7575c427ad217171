"""Scores of views, or their embeddings → SigLIP's loss of every two clips by itself, and InfoNCE beside it; pure.

Zhai et al. 2023 (arXiv 2303.15343): every clip with every other is a question of its own, same moment or not, answered by
a sigmoid. A clip meets K − 1 negatives for its one positive, so the score that answers best is the log density ratio less
log(K − 1), the odds before anything is seen; SigLIP starts its bias at −10, which is this of a batch of 22,000 clips. Here
the odds are counted, and what is learned beside them, the offset, starts at 0 whatever the batch.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from avmi.mi.blocks import Hiding, blocks_of, scratch_of
from avmi.mi.bound import Bound
from avmi.mi.bounds import info_nce
from avmi.mi.negatives import NegativeRule
from avmi.mi.prepared import prepared_scores


def pairwise_sigmoid(
    scores: Float[Tensor, "rows columns"],
    *,
    negatives: Bool[Tensor, "rows columns"] | None = None,
    independent_negatives: bool = True,
) -> Bound:
    """Train by SigLIP's loss and report InfoNCE of the same scores, both ways, which is a lower bound.

    The gradient is that of −E [sp(−g_ii) + Σ_j sp(g_ij)], sp the softplus, g the scores less the logarithm of the
    number of the row's negatives j. That objective is best where the scores are the log density ratio. Adding a number
    to all scores changes the gradient and not the value.
    """
    given = prepared_scores(scores, negatives)
    log_odds = given.scores - given.number.log()[:, None]
    of_negatives = softplus(log_odds).masked_fill(~(given.mask & given.counted[:, None]), 0.0).sum(dim=1)
    loss = given.mean(softplus(-log_odds.diagonal()) + of_negatives)
    bound = info_nce(scores.detach(), negatives=negatives, independent_negatives=independent_negatives)
    return trained_by_sigmoid(bound, loss)


def trained_by_sigmoid(bound: Bound, loss: Float[Tensor, ""]) -> Bound:
    """Give the bound the gradient of the loss, which is minimized."""
    value = bound.value_nats.detach() - (loss - loss.detach())
    return replace(bound, name="pairwise_sigmoid", value_nats=value)


def sigmoid_loss_of_embeddings(
    first: Float[Tensor, "some dim"],
    second: Float[Tensor, "clips dim"],
    scale: Float[Tensor, ""],
    offset: Float[Tensor, ""],
    *,
    negatives: NegativeRule,
    first_clip: int = 0,
) -> Float[Tensor, ""]:
    """Add up SigLIP's loss over the clips from `first_clip` on, as many as `first` holds, that have a negative.

    Scores are scale · cosine + offset, made block by block. Where a gradient is wanted it is formed with the value, so
    that nothing of the size of a score matrix is kept.
    """
    wanted = torch.is_grad_enabled() and any(t.requires_grad for t in (first, second, scale, offset))
    facts = (negatives.present, negatives.videos, negatives.seconds, negatives.least_gap_seconds)
    loss: Tensor
    loss, *_ = torch.ops.avmi.sigmoid_loss(first, second, scale, offset, *facts, first_clip, wanted)
    return loss


@torch.library.custom_op("avmi::sigmoid_loss", mutates_args=())
def sigmoid_loss(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    offset: Tensor,
    present: Tensor,
    videos: Tensor,
    seconds: Tensor | None,
    least_gap_seconds: float,
    first_clip: int,
    wanted: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Give the sum of the losses and its gradients for x, y, scale and offset, these empty where they are not wanted."""
    some, hide = len(x), Hiding(NegativeRule(present, videos, seconds, least_gap_seconds), first_clip)
    loss, of_offset, of_scale = (torch.zeros_like(scale) for _ in range(3))
    of_x = torch.empty_like(x) if wanted else x.new_empty(0)
    of_y = torch.zeros_like(y) if wanted else y.new_empty(0)
    scratch = scratch_of(x, y, some, low=False)
    for block in blocks_of(x, y, some, low=False):
        same = slice(first_clip + block.start, first_clip + block.stop)
        log_odds = scratch[: block.stop - block.start]
        torch.mm(x[block] * scale, y.T, out=log_odds)
        number = len(present) - hide(log_odds, block)
        odds = torch.as_tensor(number, device=x.device).to(x.dtype).expand(len(log_odds))
        shift = offset - odds.clamp(min=1).log()
        log_odds.add_(shift[:, None])
        counted = (odds > 0).to(x.dtype)
        of_same = (x[block] * y[same]).sum(dim=1) * scale + shift
        loss += softplus(log_odds).sum() + (softplus(-of_same) * counted).sum()
        if not wanted:
            continue
        gradient, of_positive = log_odds.sigmoid_(), -(-of_same).sigmoid() * counted
        torch.mm(gradient, y, out=of_x[block]).addcmul_(of_positive[:, None], y[same])
        of_y.addmm_(gradient.T, x[block])
        of_y[same].addcmul_(of_positive[:, None], x[block])
        of_offset += gradient.sum() + of_positive.sum()
        of_scale += (of_x[block] * x[block]).sum()
    return loss, of_x.mul_(scale), of_y.mul_(scale), of_scale, of_offset


@sigmoid_loss.register_fake
def _(x, y, scale, offset, present, videos, seconds, gap, first_clip, wanted):  # type: ignore[no-untyped-def]
    of_x, of_y = (torch.empty_like(t) if wanted else t.new_empty(0) for t in (x, y))
    return torch.empty_like(scale), of_x, of_y, torch.empty_like(scale), torch.empty_like(scale)


def _remember(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*output[1:])


def _backward(ctx, of_loss, *_of_gradients):  # type: ignore[no-untyped-def]
    return *(of_loss * gradient for gradient in ctx.saved_tensors), None, None, None, None, None, None


sigmoid_loss.register_autograd(_backward, setup_context=_remember)
