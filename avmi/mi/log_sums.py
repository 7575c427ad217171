"""Embeddings of two views and a scale → log Σ e^score over the negatives of each, both ways; pure.

All that InfoNCE needs of a score matrix is its positives and these sums. Scores are made in blocks of rows that stay in
the processor's cache; a block gives the sums of its rows and its share of the columns'. For the gradient the
exponentials of all scores are kept, or they are made again block by block, in memory that does not grow with the square
of the batch.
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from avmi.mi.negatives import NegativeRule, strangers_in_rows

# Scores of a block, 2 MB. Of 2^16 to 2^20 this was the fastest or nearly, for 1,024 and 2,048 clips (docs/training.md).
BLOCK_SCORES = 1 << 19
# Cosines times a scale lie within 2 · scale of each other, and e^−87 is the least that float32 has: up to here one
# exponential serves rows and columns, beyond it each has a maximum of its own.
LARGEST_FIXED_SCALE = 40.0


def log_sums_of_negatives(
    first: Float[Tensor, "some places dim"],
    second: Float[Tensor, "clips other_places dim"],
    scale: Float[Tensor, ""],
    *,
    negatives: NegativeRule,
    keeps_exponentials: bool,
    first_clip: int = 0,
) -> tuple[Float[Tensor, "some places"], Float[Tensor, "clips other_places"], Int[Tensor, "some"]]:
    """Sum e^(scale · cosine) over the negatives of every place, of the first view and of the second, in log space.

    `first` holds the clips from `first_clip` on, all of them or some; the sums of the second view then are over these
    alone. Embeddings are of unit length, or zeros, and finite. Gives the number of negative clips of each of `first`,
    too; the logarithm is −inf where there is none. The gradient goes to embeddings and scale.
    """
    some, places, dim = first.shape
    clips, other_places, _ = second.shape
    rows, columns, number, _ = torch.ops.avmi.log_sums(
        first.reshape(-1, dim),
        second.reshape(-1, dim),
        scale,
        *(negatives.present, negatives.videos, negatives.seconds, negatives.least_gap_seconds),
        *(first_clip, some, keeps_exponentials),
    )
    return rows.view(some, places), columns.view(clips, other_places), number


@torch.library.custom_op("avmi::log_sums", mutates_args=())
def log_sums(
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    present: Tensor,
    videos: Tensor,
    seconds: Tensor | None,
    least_gap_seconds: float,
    first_clip: int,
    some: int,
    keeps: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give the sums of rows and columns, the number of negatives, and what is kept for the gradient."""
    kept = x.new_empty((len(x), len(y)) if keeps else (0, 0))
    scratch = None if keeps else _scratch(x, y, some)
    hide = _Hiding(NegativeRule(present, videos, seconds, least_gap_seconds), first_clip)
    rows, number = x.new_empty(len(x)), videos.new_empty(some)
    is_fixed = _is_fixed(scale)
    shift = scale if is_fixed else x.new_full((len(y),), -math.inf)
    sums = x.new_zeros(len(y))
    for clips, at in _blocks(x, y, some):
        scores = kept[at] if scratch is None else scratch[: at.stop - at.start]
        torch.mm(x[at] * scale, y.T, out=scores)
        number[clips] = len(present) - hide(scores, clips)
        if is_fixed:
            scores.sub_(shift).exp_()
            rows[at] = scores.sum(dim=1).log_().add_(shift)
            sums += scores.sum(dim=0)
        else:
            rows[at] = scores.logsumexp(dim=1)
            higher = torch.maximum(shift, scores.amax(dim=0))
            finite = higher.masked_fill(higher == -math.inf, 0.0)
            sums = sums * (shift - finite).exp() + (scores - finite).exp_().sum(dim=0)
            shift = higher
    return rows, sums.log().add_(shift), number, kept


@torch.library.custom_op("avmi::log_sums_backward", mutates_args=())
def log_sums_backward(
    of_rows: Tensor,
    of_columns: Tensor,
    x: Tensor,
    y: Tensor,
    scale: Tensor,
    present: Tensor,
    videos: Tensor,
    seconds: Tensor | None,
    least_gap_seconds: float,
    first_clip: int,
    some: int,
    rows: Tensor,
    columns: Tensor,
    kept: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give the gradients of x, y and scale: of score (i, j) it is g_i e^(s − row_i) + h_j e^(s − column_j)."""
    hide = _Hiding(NegativeRule(present, videos, seconds, least_gap_seconds), first_clip)
    keeps, is_fixed = kept.numel() > 0, _is_fixed(scale)
    # Without a negative every exponential is 0: the sum, −inf, must not make it NaN.
    rows, columns = (sums.masked_fill(sums == -math.inf, math.inf) for sums in (rows, columns))
    a, b = of_rows * (scale - rows).exp(), of_columns * (scale - columns).exp()
    of_x, of_y, scratch = torch.empty_like(x), torch.zeros_like(y), _scratch(x, y, some)
    for clips, at in _blocks(x, y, some):
        gradient = scratch[: at.stop - at.start]
        if is_fixed and keeps:
            torch.add(a[at, None], b, out=gradient).mul_(kept[at])
        else:
            scores = kept[at] if keeps else gradient
            if not keeps:
                torch.mm(x[at] * scale, y.T, out=scores)
                hide(scores, clips)
            if is_fixed:
                gradient = scores.sub_(scale).exp_().mul_(a[at, None] + b)
            else:
                by_row = (scores - rows[at, None]).exp_().mul_(of_rows[at, None])
                gradient = by_row.addcmul_((scores - columns).exp_(), of_columns)
        torch.mm(gradient, y, out=of_x[at])
        of_y.addmm_(gradient.T, x[at])
    return of_x * scale, of_y * scale, (of_x * x).sum()


def _blocks(x: Tensor, y: Tensor, some: int) -> Iterator[tuple[slice, slice]]:
    """Give blocks of the clips that x holds, and of their rows."""
    places, step = len(x) // some, _clips_of_block(x, y, some)
    for start in range(0, some, step):
        stop = min(start + step, some)
        yield slice(start, stop), slice(start * places, stop * places)


def _clips_of_block(x: Tensor, y: Tensor, some: int) -> int:
    places = len(x) // some
    return min(max(BLOCK_SCORES // (len(y) * places), -(-16 // places)), some)


def _scratch(x: Tensor, y: Tensor, some: int) -> Tensor:
    return x.new_empty(_clips_of_block(x, y, some) * (len(x) // some), len(y))


class _Hiding:
    """Writes −inf over the scores of a block that are no negatives'."""

    def __init__(self, rule: NegativeRule, first_clip: int) -> None:
        self._rule, self._clips, self._first = rule, len(rule.present), first_clip
        self._is_diagonal = _are_all_of_other_videos(rule)

    def __call__(self, scores: Tensor, block: slice) -> Tensor | int:
        """Give how many clips are no negatives of each clip of the block, itself among them."""
        block = slice(self._first + block.start, self._first + block.stop)
        by_clip = scores.view(block.stop - block.start, -1, self._clips, scores.shape[1] // self._clips)
        if self._is_diagonal:
            by_clip.diagonal(block.start, dim1=0, dim2=2).fill_(-math.inf)
            return 1
        strangers = strangers_in_rows(self._rule, block)
        by_clip.masked_fill_(strangers[:, None, :, None], -math.inf)
        return strangers.sum(dim=1)


def _are_all_of_other_videos(rule: NegativeRule) -> bool:
    """Whether all clips are there, each of a video of its own, as far as that is known without waiting for a GPU."""
    if rule.seconds is not None or rule.present.device.type != "cpu":
        return False
    return bool(rule.present.numpy().all()) and len(np.unique(rule.videos.numpy())) == len(rule.present)


def _is_fixed(scale: Tensor) -> bool:
    # Reading a scalar of a GPU would make it wait; there the way that is right for every scale is taken.
    return scale.device.type == "cpu" and float(scale.detach().numpy()) <= LARGEST_FIXED_SCALE


@log_sums.register_fake
def _(x, y, scale, present, videos, seconds, least_gap_seconds, first_clip, some, keeps):  # type: ignore[no-untyped-def]
    kept = x.new_empty((len(x), len(y)) if keeps else (0, 0))
    return x.new_empty(len(x)), x.new_empty(len(y)), videos.new_empty(some), kept


@log_sums_backward.register_fake
def _(of_rows, of_columns, x, y, scale, *_facts):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), torch.empty_like(y), torch.empty_like(scale)


def _remember(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *facts, least_gap_seconds, first_clip, some, _keeps = inputs
    rows, columns, _number, kept = output
    ctx.numbers = (least_gap_seconds, first_clip, some)
    ctx.set_materialize_grads(False)  # or zeros as large as what is kept are made for its gradient
    ctx.save_for_backward(*facts, rows, columns, kept)


def _backward(ctx, of_rows, of_columns, _of_number, _of_kept):  # type: ignore[no-untyped-def]
    *facts, rows, columns, kept = ctx.saved_tensors
    of_rows = torch.zeros_like(rows) if of_rows is None else of_rows
    of_columns = torch.zeros_like(columns) if of_columns is None else of_columns
    gradients = torch.ops.avmi.log_sums_backward(
        of_rows, of_columns, *facts, *ctx.numbers, rows, columns, kept
    )
    return *gradients, None, None, None, None, None, None, None


log_sums.register_autograd(_backward, setup_context=_remember)
