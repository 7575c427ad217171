"""Pictures at moments and sounds at those moments plus a lag → the bound of every moment at every lag; pure.

Everywhere lags come first: `sounds[k, m]` is the sound of moment m at the k-th lag, and a moment whose sound is not
there has `present[k, m]` false.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avmi.mi.held_out import HeldOutBound, clip_terms, held_out_bound
from avmi.mi.negatives import other_video_negatives

# From as sharp as training allows to where a bound of a few dozen moments is linear in the cosines.
FILE_TEMPERATURES = (0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 3.0)


@dataclass(frozen=True)
class FileMoments:
    """Moments of one file, in the order of time, and their sounds at every lag."""

    pictures: Float[Tensor, "moments dim"]
    sounds: Float[Tensor, "lags moments dim"]
    present: Bool[Tensor, "lags moments"]


def corpus_bounds(
    files: Sequence[FileMoments], *, most_moments: int
) -> tuple[tuple[HeldOutBound, ...], Int[Tensor, "moments"]]:
    """Bound the MI of the picture at t and the sound at t + lag, lag by lag, against moments of other files.

    Negatives of a moment are the moments of other files at the same lag: draws of the marginal, so that each value
    is a lower bound. At most `most_moments`, evenly spread over all and the same at every lag, are taken. Also gives
    the number of each one's file.
    """
    numbers = torch.tensor([n for n, file in enumerate(files) for _ in range(len(file.pictures))])
    kept = torch.arange(len(numbers))
    if len(kept) > most_moments:
        kept = torch.linspace(0, len(kept) - 1, most_moments).round().long()
    pictures = torch.cat([file.pictures for file in files])[kept]
    sounds = torch.cat([file.sounds for file in files], dim=1)[:, kept]
    present = torch.cat([file.present for file in files], dim=1)[:, kept]
    videos = numbers[kept]
    # Files differ in their lags, so that one half of them does not say how sharp the other is: halves of each file do.
    late = torch.cat([2 * torch.arange(len(file.pictures)) >= len(file.pictures) for file in files])[kept]
    bounds = tuple(
        held_out_bound(pictures @ heard.T, other_video_negatives(there, videos), videos, is_second_half=late)
        for heard, there in zip(sounds, present, strict=True)
    )
    return bounds, videos


def file_terms(file: FileMoments, *, temperature: float) -> Float[Tensor, "lags moments"]:
    """Give every moment's term of symmetric InfoNCE against the other moments of its file, at every lag.

    The others are taken at the same lag. They are no draws of the marginal: the mean is neither a lower nor an upper
    bound, and its use is that the lags of one file can be compared. Nan where the sound is not there, or no other is.
    """
    cosines = torch.einsum("md,knd->kmn", file.pictures, file.sounds)
    others = ~torch.eye(len(file.pictures), dtype=torch.bool)
    negatives = others & file.present[:, :, None] & file.present[:, None, :]
    terms = clip_terms(cosines, negatives, temperature=temperature)
    return terms.masked_fill(~negatives.any(dim=2), math.nan)


def file_temperature(files: Iterable[FileMoments]) -> float:
    """Choose the temperature at which the mean over all files' moments is largest at its best lag.

    One for all files and lags: it decides how the cosines are read, and favours no lag.
    """
    by_lag: Tensor | None = None
    counts: Tensor | None = None
    for file in files:
        terms = torch.stack([file_terms(file, temperature=t) for t in FILE_TEMPERATURES]).double()
        total, number = terms.nansum(dim=2), (~terms.isnan()).sum(dim=2)
        by_lag = total if by_lag is None else by_lag + total
        counts = number if counts is None else counts + number
    if by_lag is None or counts is None:
        return FILE_TEMPERATURES[-1]
    best = (by_lag / counts.clamp(min=1)).amax(dim=1).argmax()
    return FILE_TEMPERATURES[int(best)]
