"""Scalars of a run → TensorBoard and metrics.jsonl, on the main process only."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.utils.tensorboard.writer import SummaryWriter

from avmi.mi.bounds import cosine_ceiling_nats
from avmi.objective import Loss, PairTerm
from avmi.training.saturated import remedy_of

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


class RunLog:
    """Writes one record a time to TensorBoard and as a line of JSON; a context manager.

    A resumed run keeps what was logged up to the step it goes on from and drops what came after.
    """

    def __init__(self, run: Path, *, first_step: int) -> None:
        self.path = run / "metrics.jsonl"
        if self.path.is_file():
            kept = [r for r in read_metrics(self.path) if r["step"] <= first_step]
            temporary = self.path.with_suffix(".tmp")
            temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
            temporary.replace(self.path)
        self._file = self.path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / "tensorboard"), purge_step=first_step + 1)

    def write(self, step: int, scalars: Mapping[str, float], *, kind: str) -> None:
        """Record scalars; `kind` says of what: train or valid."""
        self._file.write(json.dumps({"step": step, "kind": kind, **scalars}) + "\n")
        self._file.flush()
        for name, value in scalars.items():
            self._board.add_scalar(f"{kind}/{name}", value, step)

    def write_picture(self, step: int, name: str, pixels: UInt8[np.ndarray, "height width 3"]) -> None:
        """Show a picture in TensorBoard."""
        self._board.add_image(name, pixels, step, dataformats="HWC")

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        self._board.close()


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


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read metrics.jsonl; a torn last line, left by a kill, is dropped."""
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records
