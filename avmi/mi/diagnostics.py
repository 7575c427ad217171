"""Embeddings of unit length → how they lie: alignment, uniformity, effective rank, deviation; pure.

All are read without gradient. Rows are clips; where a view keeps places, rows are its places.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def alignment(first: Float[Tensor, "clips dim"], second: Float[Tensor, "clips dim"]) -> Float[Tensor, ""]:
    """Give the mean squared distance of the two embeddings of a clip; 0 when they agree, 2 when unrelated.

    Wang & Isola 2020 (arXiv 2005.10242), section 4.1, with α = 2. For views that keep places give the mean over a
    clip's places: the value is then that over all pairs of places. Nan without clips.
    """
    return (2 - 2 * (first * second).sum(dim=1)).mean()


def uniformity(embeddings: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
    """Give log E exp(−2‖x − y‖²) over pairs of different rows: 0 when all are alike, down to −4 when spread.

    Wang & Isola 2020 (arXiv 2005.10242), section 4.1, with t = 2. Nan below two rows.
    """
    rows = len(embeddings)
    if rows < 2:
        return embeddings.new_full((), math.nan)
    cosines = embeddings @ embeddings.T
    lengths = cosines.diagonal()
    # −2‖x − y‖²; the diagonal is taken out of the sum exactly, not subtracted from it.
    exponents = 4 * cosines - 2 * (lengths[:, None] + lengths[None, :])
    exponents = exponents.masked_fill(torch.eye(rows, dtype=torch.bool, device=exponents.device), -math.inf)
    return exponents.flatten().logsumexp(dim=0) - math.log(rows * (rows - 1))


def effective_rank(embeddings: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
    """Give the exponential of the entropy of the singular values, each as its share of their sum.

    From 1, when all rows are multiples of one, to min(rows, dim). Roy & Vetterli 2007 (EUSIPCO, definition 1); of
    embeddings, and like here not centred: RankMe (Garrido et al. 2023, arXiv 2210.02885). Nan when all are 0, or one is
    no number.
    """
    if not embeddings.isfinite().all():
        return embeddings.new_full((), math.nan)
    values = torch.linalg.svdvals(embeddings)
    shares = values / values.sum()
    rank: Tensor = torch.special.entr(shares).sum().exp()
    return rank


def embedding_deviation(embeddings: Float[Tensor, "rows dim"]) -> Float[Tensor, ""]:
    """Give the standard deviation over rows, averaged over dimensions; nan below two rows.

    0 when all are alike; 1/√dim, `uniform_deviation`, for a code that is uniform on the sphere.
    """
    return embeddings.std(dim=0).mean() if len(embeddings) > 1 else embeddings.new_full((), math.nan)


def uniform_deviation(dim: int) -> float:
    """Give the deviation of every dimension of a code that is uniform on the unit sphere: 1/√dim."""
    return 1 / math.sqrt(dim)


def place_means(
    embeddings: Float[Tensor, "clips places dim"], present: Bool[Tensor, "clips"]
) -> Float[Tensor, "_ dim"]:
    """Average over the places of the clips that are there; a view without places has one, and stays as it is."""
    return embeddings[present].mean(dim=1)
