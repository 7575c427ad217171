"""Embeddings of two views and a rule of negatives → blocks of rows of their scores, and what is hidden in each; pure."""

import math
from collections.abc import Iterator

import numpy as np
from torch import Tensor

from avmi.mi.negatives import NegativeRule, strangers_in_rows

# Scores of a block, 2 MB. Of 2^16 to 2^20 this was the fastest or nearly, for 1,024 and 2,048 clips (docs/training.md).
BLOCK_SCORES = 1 << 19


def blocks_of(x: Tensor, y: Tensor, some: int) -> Iterator[slice]:
    """Give blocks of the clips that x holds."""
    step = _clips_of_block(x, y, some)
    for start in range(0, some, step):
        yield slice(start, min(start + step, some))


def rows_of(block: slice, places: int, first_clip: int = 0) -> slice:
    """Give the rows of a block's clips, where clips from another one on are counted."""
    return slice((first_clip + block.start) * places, (first_clip + block.stop) * places)


def _clips_of_block(x: Tensor, y: Tensor, some: int) -> int:
    places = len(x) // some
    return min(max(BLOCK_SCORES // (len(y) * places), -(-16 // places)), some)


def scratch_of(x: Tensor, y: Tensor, some: int) -> Tensor:
    """Give room for the scores of one block."""
    return x.new_empty(_clips_of_block(x, y, some) * (len(x) // some), len(y))


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
