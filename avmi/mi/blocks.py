"""Embeddings of two views and a rule of negatives → blocks of rows of their scores, and what is hidden in each; pure."""

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from avmi.mi.negatives import NegativeRule, strangers_in_rows

# Scores of a block, 2 MB, and the least rows that it has: the products of matrices are up to twice as slow with 16 rows as
# with 256. Where memory is short two blocks are held beside the gradients of two views: they get 64 rows and more where
# there are more clips, so that they stay small beside these (docs/training.md has the curves).
BLOCK_SCORES, BLOCK_ROWS = 1 << 19, 256
LEAST_LOW_ROWS, CLIPS_A_LOW_ROW = 64, 64


def blocks_of(x: Tensor, y: Tensor, some: int, *, low: bool) -> Iterator[slice]:
    """Give blocks of the clips that x holds; low ones are small."""
    step = _clips_of_block(x, y, some, low)
    for start in range(0, some, step):
        yield slice(start, min(start + step, some))


def rows_of(block: slice, places: int, first_clip: int = 0) -> slice:
    """Give the rows of a block's clips, where clips from another one on are counted."""
    return slice((first_clip + block.start) * places, (first_clip + block.stop) * places)


def scratch_of(x: Tensor, y: Tensor, some: int, *, low: bool) -> Tensor:
    """Give room for the scores of one block."""
    return x.new_empty(_clips_of_block(x, y, some, low) * (len(x) // some), len(y))


def _clips_of_block(x: Tensor, y: Tensor, some: int, low: bool) -> int:
    if low:
        rows = min(max(LEAST_LOW_ROWS, len(y) // CLIPS_A_LOW_ROW), BLOCK_ROWS)
    else:
        rows = max(BLOCK_ROWS, BLOCK_SCORES // len(y))
    return min(max(1, rows * some // len(x)), some)


class Hiding:
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
