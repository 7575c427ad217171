"""Log densities G[i, j] = log p(y_j | x_i), known or learned → bounds on I(X; Y) that a conditional gives; pure.

Barber & Agakov 2003; Poole et al. 2019 (arXiv 1905.06922); Cheng et al. 2020 (arXiv 2006.12013). The upper bounds hold
for the conditional that the y were drawn from and for no other: with a learned one their kind is `neither`.
"""

import math
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from avmi.errors import InputError
from avmi.mi.bound import Bound, BoundKind, summed_up
from avmi.mi.bounds import info_nce

Conditional = Literal["known", "learned"]


def barber_agakov(
    log_conditional: Float[Tensor, "rows"],
    *,
    entropy_nats: Float[Tensor, ""] | float,
    entropy_is: Literal["exact", "learned"],
) -> Bound:
    """Bound by H(X) + E log q(x | y) (Barber & Agakov 2003), from log q(x_i | y_i) of every positive.

    A lower bound for every normalized q when the entropy is exact. For a continuous X that is a differential
    entropy, known in special cases only; with a learned one (difference of entropies) the kind is `neither`.
    It needs no negatives: K is 1, and there is no ceiling.
    """
    everything = torch.ones_like(log_conditional, dtype=torch.bool)
    return summed_up(
        log_conditional + entropy_nats,
        torch.zeros_like(log_conditional),
        counted=everything,
        name="barber_agakov",
        kind="lower" if entropy_is == "exact" else "neither",
        ceilings=torch.full_like(log_conditional, math.inf),
    )


def tractable_nce(log_conditional: Float[Tensor, "rows columns"]) -> Bound:
    """Bound from below by E log p(y_j | x_j) − log 1/K Σ_i p(y_j | x_i), the sum with i = j in it.

    InfoNCE over columns whose critic is the log conditional (Poole et al. 2019, section 2.5): at most log K, and a
    lower bound for a learned conditional, too, because every critic bounds from below.
    """
    return replace(info_nce(log_conditional, direction="columns"), name="tractable_nce")


def leave_one_out_upper(
    log_conditional: Float[Tensor, "rows columns"],
    *,
    conditional: Conditional,
    negatives: Bool[Tensor, "rows columns"] | None = None,
) -> Bound:
    """Bound from above by E log p(y_j | x_j) − log 1/(K−1) Σ_{i≠j} p(y_j | x_i) (Poole et al. 2019, eq. 16).

    `negatives[i, j]` says that x_i is a draw apart from x_j; without it all others are. A y without any is left out.
    Raises `InputError` below two rows.
    """
    square, others = _square(log_conditional, negatives)
    number = others.sum(dim=0).to(square.dtype)
    # A column of −inf alone has no gradient.
    kept = square.masked_fill(~others, -math.inf).masked_fill(number == 0, 0.0)
    marginal = kept.logsumexp(dim=0) - number.clamp(min=1).log()
    shares = (kept - marginal).detach().exp() / number.clamp(min=1)
    in_others = 1 - shares.masked_fill(number == 0, 0.0).sum(dim=1)
    terms = square.diagonal() - marginal
    return _upper(terms, number, in_others, name="leave_one_out_upper", conditional=conditional)


def club(
    log_conditional: Float[Tensor, "rows columns"],
    *,
    conditional: Conditional,
    negatives: Bool[Tensor, "rows columns"] | None = None,
) -> Bound:
    """Bound from above by E_p log p(y | x) − E_pp' log p(y | x) (CLUB; vCLUB with a learned conditional).

    Looser than the leave-one-out form, by Jensen. `negatives` are those of `leave_one_out_upper`. Raises `InputError`
    below two rows.
    """
    square, others = _square(log_conditional, negatives)
    number = others.sum(dim=0).to(square.dtype)
    kept = square.masked_fill(~others, 0.0) / number.clamp(min=1)
    of_rows = kept.sum(dim=1).detach()
    terms = square.diagonal() - kept.sum(dim=0)
    return _upper(terms, number, of_rows.mean() - of_rows, name="club", conditional=conditional)


def _square(
    log_conditional: Float[Tensor, "rows columns"], negatives: Bool[Tensor, "rows columns"] | None
) -> tuple[Float[Tensor, "rows columns"], Bool[Tensor, "rows columns"]]:
    """Give the densities in float32 or better, and which of them are of other draws."""
    rows, columns = log_conditional.shape
    if rows != columns or rows < 2:
        raise InputError(
            f"log densities of {rows}×{columns} give no upper bound: they must be square, of two rows or more"
        )
    square = log_conditional if log_conditional.dtype == torch.float64 else log_conditional.float()
    others = ~torch.eye(rows, dtype=torch.bool, device=square.device)
    return square, others if negatives is None else negatives & others


def _upper(
    terms: Float[Tensor, "rows"],
    number: Float[Tensor, "rows"],
    in_other_rows: Float[Tensor, "rows"],
    *,
    name: str,
    conditional: Conditional,
) -> Bound:
    kind: BoundKind = "upper" if conditional == "known" else "neither"
    return summed_up(
        terms,
        (1 + number).log(),
        counted=number > 0,
        name=name,
        kind=kind,
        ceilings=torch.full_like(terms, math.inf),
        in_other_rows=in_other_rows,
    )
