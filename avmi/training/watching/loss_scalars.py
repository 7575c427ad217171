"""A loss and the terms of its pairs → scalars by name, read from the device at once."""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from avmi.mi.bounds import cosine_ceiling_nats
from avmi.objective import Loss, PairTerm
from avmi.training.watching.saturated import remedy_of

# What is recorded of every term; the names are those of `PairTerm`.
COLUMNS = (
    "loss",
    "bound_nats",
    "ceiling_nats",
    "k_effective",
    "standard_error_nats",
    "temperature",
    "clips",
)


def scalars_of(loss: Loss) -> dict[str, float]:
    """Read the loss and the terms of all pairs; on a GPU this waits for them, so it is called seldom."""
    total, temperature = torch.stack([loss.total.detach(), loss.temperature]).tolist()
    of_codes = {name: float(value) for name, value in loss.codes.items()}
    return {"loss": total, "temperature": temperature} | of_codes | scalars_of_terms(loss.terms)


def scalars_of_terms(terms: Mapping[str, PairTerm]) -> dict[str, float]:
    """Read the terms of all pairs, with the ceiling that cosines have, and 1 where one is saturated.

    What is infinite or no number, such as the ceiling of a bound without one, is left out.
    """
    scalars: dict[str, float] = {}
    table = torch.stack([_row(term) for term in terms.values()]).tolist()  # one wait for all
    for name, row in zip(terms, table, strict=True):
        scalars |= {f"{column}/{name}": value for column, value in zip(COLUMNS, row, strict=True)}
        if terms[name].bound.startswith("info_nce"):  # the ceiling of other bounds is another
            best = cosine_ceiling_nats(scalars[f"k_effective/{name}"], scalars[f"temperature/{name}"])
            scalars[f"cosine_ceiling_nats/{name}"] = best
        scalars[f"saturated/{name}"] = float(remedy_of(scalars, name) is not None)
    return {name: value for name, value in scalars.items() if not _is_without(name, value)}


def _row(term: PairTerm) -> Float[Tensor, "columns"]:
    values = [getattr(term, column).detach() for column in COLUMNS]
    return torch.stack([value.float() for value in values])


def _is_without(name: str, value: float) -> bool:
    return name.startswith(("ceiling_nats/", "standard_error_nats/")) and not math.isfinite(value)
