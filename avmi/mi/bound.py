"""Per-row terms of a bound → its value with what is needed to read it: kind, ceiling, K, standard error."""

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Bool, Float, Int
from torch import Tensor

BoundKind = Literal["lower", "upper", "neither"]


@dataclass(frozen=True)
class Bound:
    """Value of a bound with what is needed to read it. All tensors are scalars on the scores' device."""

    name: str
    kind: BoundKind
    value_nats: Float[Tensor, ""]  # its gradient is that of the objective, which some bounds have apart
    ceiling_nats: Float[
        Tensor, ""
    ]  # the most that the value can be: mean log K for InfoNCE, inf without a limit
    k_effective: Float[Tensor, ""]  # geometric mean of K = 1 + number of negatives
    standard_error_nats: Float[Tensor, ""]  # rows taken as independent draws; nan below two rows
    counted: Int[Tensor, ""]  # positives that had a negative
    excluded: Int[Tensor, ""]  # positives without any negative: they say nothing


def summed_up(
    terms: Float[Tensor, "rows"],
    log_k: Float[Tensor, "rows"],
    *,
    counted: Bool[Tensor, "rows"],
    name: str,
    kind: BoundKind,
    ceilings: Float[Tensor, "rows"] | None = None,
    in_other_rows: Float[Tensor, "rows"] | None = None,
) -> Bound:
    """Average the terms of the rows that count into a bound; rows are taken as independent draws.

    `ceilings` are the most that each row can say; without them it is its log K. `in_other_rows` is what each draw
    adds to the terms of others as their negative, to first order and of mean 0: it belongs to the standard error.
    """
    number = counted.sum()
    divisor = number.clamp(min=1)
    value = terms.masked_fill(~counted, 0.0).sum() / divisor
    mean_log_k = log_k.masked_fill(~counted, 0.0).sum() / divisor
    ceiling = mean_log_k if ceilings is None else ceilings.masked_fill(~counted, 0.0).sum() / divisor
    deviations = terms - value if in_other_rows is None else terms - value + in_other_rows
    deviations = deviations.detach().masked_fill(~counted, 0.0)
    return Bound(
        name=name,
        kind=kind,
        value_nats=value,
        ceiling_nats=ceiling,
        k_effective=mean_log_k.exp(),
        standard_error_nats=(deviations.square().sum() / (number - 1) / number).sqrt(),
        counted=number,
        excluded=counted.numel() - number,
    )
