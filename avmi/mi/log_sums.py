"""Embeddings of two views and a scale → scores of positives, and log Σ e^score over the negatives, both ways; pure.

That is all that InfoNCE needs of a score matrix. Scores are made in blocks of rows that stay in the processor's cache; a
block gives the sums of its rows and its share of the columns'. For the gradient the exponentials of all scores are
kept, or they are made again block by block, in memory that does not grow with the square of the batch.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avmi.mi.blocks import Hiding, blocks_of, rows_of, scratch_of
from avmi.mi.negatives import NegativeRule

# Cosines times a scale lie within ± scale. Up to here e^±score and sums of 2^50 of them are numbers of single precision,
# so that one exponential serves rows and columns as it is; beyond it each has a maximum of its own.
LARGEST_PLAIN_SCALE = 40.0


def scores_and_log_sums(
    first: Float[Tensor, "some places dim"],
    second: Float[Tensor, "clips other_places dim"],
    scale: Float[Tensor, ""],
    *,
    negatives: NegativeRule,
    keeps_exponentials: bool,
    first_clip: int = 0,
) -> tuple[
    Float[Tensor, "some places other_places"],
    Float[Tensor, "some places"],
    Float[Tensor, "clips other_places"],
    Int[Tensor, "some"],
]:
    """Score the views of each clip by scale · cosine, and sum e^score over the negatives of every place, in log space.

    `first` holds the clips from `first_clip` on, all of them or some. Gives the scores of their positives, the sums of
    the first view's places, those of the second view's (over these clips alone), and the number of negative clips of
    each of `first`; a logarithm is −inf where there is none. Embeddings are of unit length, or zeros, and finite. The
    gradient goes to embeddings and scale.
    """
    some, places, dim = first.shape
    clips, other_places, _ = second.shape
    positives, rows, columns, number, _ = torch.ops.avmi.log_sums(
        first.reshape(-1, dim),
        second.reshape(-1, dim),
        scale,
        *(negatives.present, negatives.videos, negatives.seconds, negatives.least_gap_seconds),
        *(first_clip, some, keeps_exponentials),
    )
    return positives, rows.view(some, places), columns.view(clips, other_places), number


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
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Give the positives, the sums of rows and columns, the number of negatives, and what is kept for the gradient."""
    kept = x.new_empty((len(x), len(y)) if keeps else (0, 0))
    scratch = None if keeps else scratch_of(x, y, some, low=not keeps)
    hide = Hiding(NegativeRule(present, videos, seconds, least_gap_seconds), first_clip)
    places, other_places = len(x) // some, len(y) // len(present)
    positives = x.new_empty(some, places, other_places)
    rows, number = x.new_empty(len(x)), videos.new_empty(some)
    is_plain = _is_plain(scale)
    shift = scale.new_zeros(()) if is_plain else x.new_full((len(y),), -math.inf)
    sums = x.new_zeros(len(y))
    for clips in blocks_of(x, y, some, low=not keeps):
        at, same = rows_of(clips, places), rows_of(clips, other_places, first_clip)
        scores = kept[at] if scratch is None else scratch[: at.stop - at.start]
        scaled = x[at] * scale
        torch.mm(scaled, y.T, out=scores)
        positives[clips] = _products(scaled, y[same], clips.stop - clips.start)
        number[clips] = len(present) - hide(scores, clips)
        if is_plain:
            scores.exp_()
            rows[at] = scores.sum(dim=1).log_()
            sums += scores.sum(dim=0)
        else:
            rows[at] = scores.logsumexp(dim=1)
            higher = torch.maximum(shift, scores.amax(dim=0))
            finite = higher.masked_fill(higher == -math.inf, 0.0)
            sums = sums * (shift - finite).exp() + (scores - finite).exp_().sum(dim=0)
            shift = higher
    return positives, rows, sums.log().add_(shift), number, kept


@torch.library.custom_op("avmi::log_sums_backward", mutates_args=())
def log_sums_backward(
    of_positives: Tensor,
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
    """Give the gradients of x, y and scale: of a negative's score it is g_i e^(s − row_i) + h_j e^(s − column_j)."""
    hide = Hiding(NegativeRule(present, videos, seconds, least_gap_seconds), first_clip)
    keeps, is_plain = kept.numel() > 0, _is_plain(scale)
    _, places, other_places = of_positives.shape
    # Without a negative every exponential is 0: the sum, −inf, must not make it NaN.
    rows, columns = (sums.masked_fill(sums == -math.inf, math.inf) for sums in (rows, columns))
    a, b = of_rows * (-rows).exp(), of_columns * (-columns).exp()
    of_x, of_y, of_scale = torch.empty_like(x), torch.zeros_like(y), torch.zeros_like(scale)
    scratch = scratch_of(x, y, some, low=not keeps)
    weights = torch.empty_like(scratch) if is_plain and not keeps else scratch
    for clips in blocks_of(x, y, some, low=not keeps):
        at, same = rows_of(clips, places), rows_of(clips, other_places, first_clip)
        scores = kept[at] if keeps else scratch[: at.stop - at.start]
        if not keeps:
            torch.mm(x[at] * scale, y.T, out=scores)
            hide(scores, clips)
        if is_plain:
            exponentials = scores if keeps else scores.exp_()
            gradient = torch.add(a[at, None], b, out=weights[: len(scores)]).mul_(exponentials)
        else:
            by_row = (scores - rows[at, None]).exp_().mul_(of_rows[at, None])
            gradient = by_row.addcmul_((scores - columns).exp_(), of_columns)
        torch.mm(gradient, y, out=of_x[at])
        of_y.addmm_(gradient.T, x[at])
        _add_of_products(of_x[at], of_y[same], of_positives[clips], x[at], y[same])
        of_scale += (of_x[at] * x[at]).sum()
    return of_x.mul_(scale), of_y.mul_(scale), of_scale


def _products(x: Tensor, y: Tensor, clips: int) -> Tensor:
    """Multiply the places of each clip's views: clips, places, other places."""
    if len(x) == len(y) == clips:  # thousands of 1 × 1 products take ten times longer as matrices
        return (x * y).sum(dim=1)[:, None, None]
    return x.view(clips, -1, x.shape[1]) @ y.view(clips, -1, y.shape[1]).transpose(1, 2)


def _add_of_products(of_x: Tensor, of_y: Tensor, of_products: Tensor, x: Tensor, y: Tensor) -> None:
    """Add what the gradient of the products says of their factors."""
    clips, places, other_places = of_products.shape
    if places == other_places == 1:
        of_x.addcmul_(of_products[:, 0], y)
        of_y.addcmul_(of_products[:, 0], x)
        return
    of_x.view(clips, places, -1).baddbmm_(of_products, y.view(clips, other_places, -1))
    of_y.view(clips, other_places, -1).baddbmm_(of_products.transpose(1, 2), x.view(clips, places, -1))


def _is_plain(scale: Tensor) -> bool:
    # Reading a scalar of a GPU would make it wait; there the way that is right for every scale is taken.
    return scale.device.type == "cpu" and float(scale.detach().numpy()) <= LARGEST_PLAIN_SCALE


@log_sums.register_fake
def _(x, y, scale, present, videos, seconds, least_gap_seconds, first_clip, some, keeps):  # type: ignore[no-untyped-def]
    kept = x.new_empty((len(x), len(y)) if keeps else (0, 0))
    positives = x.new_empty(some, len(x) // some, len(y) // len(present))
    return positives, x.new_empty(len(x)), x.new_empty(len(y)), videos.new_empty(some), kept


@log_sums_backward.register_fake
def _(of_positives, of_rows, of_columns, x, y, scale, *_facts):  # type: ignore[no-untyped-def]
    return torch.empty_like(x), torch.empty_like(y), torch.empty_like(scale)


def _remember(ctx, inputs, output):  # type: ignore[no-untyped-def]
    *facts, least_gap_seconds, first_clip, some, _keeps = inputs
    positives, rows, columns, _number, kept = output
    ctx.numbers = (least_gap_seconds, first_clip, some)
    ctx.shape = positives.shape
    ctx.set_materialize_grads(False)  # or zeros as large as what is kept are made for its gradient
    ctx.save_for_backward(*facts, rows, columns, kept)


def _backward(ctx, of_positives, of_rows, of_columns, _of_number, _of_kept):  # type: ignore[no-untyped-def]
    *facts, rows, columns, kept = ctx.saved_tensors
    of_positives = rows.new_zeros(ctx.shape) if of_positives is None else of_positives
    of_rows = torch.zeros_like(rows) if of_rows is None else of_rows
    of_columns = torch.zeros_like(columns) if of_columns is None else of_columns
    gradients = torch.ops.avmi.log_sums_backward(
        of_positives, of_rows, of_columns, *facts, *ctx.numbers, rows, columns, kept
    )
    return *gradients, None, None, None, None, None, None, None


log_sums.register_autograd(_backward, setup_context=_remember)
