"""Which clips are there, of which video and second → which of them are negatives of which; pure."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Anchors are told to a millisecond: a gap that falls short by half of one is whole.
TOLERANCE_SECONDS = 5e-4


@dataclass(frozen=True)
class NegativeRule:
    """Which clips are negatives of which, told by facts of single clips; who is a negative of whom is mutual.

    Without `seconds` these are the clips of other videos; with them other moments of the same video, at least
    `least_gap_seconds` away.
    """

    present: Bool[Tensor, "clips"]
    videos: Int[Tensor, "clips"]
    seconds: Float[Tensor, "clips"] | None = None
    least_gap_seconds: float = 0.0


def negatives_in_rows(rule: NegativeRule, rows: slice) -> Bool[Tensor, "some clips"]:
    """Say which clips are negatives of some of them."""
    return strangers_in_rows(rule, rows).logical_not_()


def strangers_in_rows(rule: NegativeRule, rows: slice) -> Bool[Tensor, "some clips"]:
    """Say which clips are no negatives of some of them: the complement, which costs fewer passes."""
    present, videos, seconds = rule.present, rule.videos, rule.seconds
    if seconds is None:
        strangers = videos[rows, None] == videos[None, :]
    else:
        strangers = videos[rows, None] != videos[None, :]
        apart = (seconds[rows, None] - seconds[None, :]).abs_()
        strangers |= apart <= rule.least_gap_seconds - TOLERANCE_SECONDS
        clips = torch.arange(len(present), device=present.device)
        strangers |= clips[rows, None] == clips[None, :]
    strangers |= ~present[rows, None]
    strangers |= ~present[None, :]
    return strangers


def other_video_negatives(
    present: Bool[Tensor, "clips"], videos: Int[Tensor, "clips"] | None
) -> Bool[Tensor, "clips clips"]:
    """Take the clips of other videos; without `videos` every clip is of another one."""
    videos = torch.arange(len(present), device=present.device) if videos is None else videos
    return all_negatives(NegativeRule(present, videos))


def same_video_negatives(
    present: Bool[Tensor, "clips"],
    videos: Int[Tensor, "clips"],
    seconds: Float[Tensor, "clips"],
    *,
    least_gap_seconds: float,
    count: int | None = None,
) -> Bool[Tensor, "clips clips"]:
    """Take other moments of the clip's own video, at least `least_gap_seconds` away.

    `count` keeps so many of them for each clip, evenly spread over those that there are, in the order of the
    batch and beginning after the clip itself; None keeps all.
    """
    return all_negatives(NegativeRule(present, videos, seconds, least_gap_seconds), count=count)


def all_negatives(rule: NegativeRule, *, count: int | None = None) -> Bool[Tensor, "clips clips"]:
    """Say of all clips which are negatives of which; `count` as in `same_video_negatives`, and no longer mutual."""
    allowed = negatives_in_rows(rule, slice(None))
    return allowed if count is None else _spread(allowed, count)


def _spread(allowed: Bool[Tensor, "clips clips"], count: int) -> Bool[Tensor, "clips clips"]:
    """Keep min(count, m) of the m allowed clips of each row; nothing is read back, so that no GPU waits."""
    number = allowed.sum(dim=1, keepdim=True)
    before = torch.tril(allowed, diagonal=-1).sum(dim=1, keepdim=True)
    # Number the allowed clips 0 … m−1 cyclically from the row's own clip on; the n-th is kept when the
    # line n · count / m has passed another whole number there.
    place = (allowed.cumsum(dim=1) - 1 - before) % number.clamp(min=1)
    passed = (place + 1) * count // number.clamp(min=1) > place * count // number.clamp(min=1)
    return allowed & (passed | (number <= count))
