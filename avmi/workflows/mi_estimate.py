"""`avmi mi estimate`: two files of samples → their mutual information, with every bound that can be read and a plot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avmi.errors import UsageError
from avmi.mi.bound import Bound
from avmi.mi.estimation.of_labels import estimate_labels
from avmi.mi.estimation.of_samples import Estimate, estimate, interval
from avmi.mi.estimation.sample_files import read_labels, read_samples
from avmi.report.mi_plots import BoundBar, bounds_png
from avmi.types import StrPath


@dataclass(frozen=True)
class EstimateResult:
    """An estimate and what it was made of."""

    found: Estimate
    x_columns: int
    y_columns: int | None  # None: class labels
    plot: Path | None

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        found = self.found
        return {
            "value_nats": found.value_nats,
            "interval_nats": list(found.interval_nats),
            "kind": found.bound.kind,
            "bound": found.bound.name,
            "ceiling_nats": found.ceiling_nats,
            "saturated": found.is_saturated,
            "rows": {
                "all": self._rows,
                "train": found.train_rows,
                "validation": found.validation_rows,
                "held_out": found.held_out_rows,
            },
            "x_columns": self.x_columns,
            "y_columns": self.y_columns,
            "bounds": [_bound_json(bound) for bound in found.table],
            "chosen": found.chosen,
            "candidates": [
                {"name": tried.name, "validation_nats": tried.validation_nats} for tried in found.tried
            ],
            "plot": None if self.plot is None else str(self.plot),
        }

    def as_text(self) -> str:
        """Say it in tables."""
        found = self.found
        low, high = found.interval_nats
        y_is = "class labels" if self.y_columns is None else f"{self.y_columns}"
        lines = [
            f"I(X; Y) is at least {found.value_nats:.3f} nats (95 % {low:.3f} to {high:.3f}): {found.bound.kind} bound by "
            f"{found.bound.name}, ceiling {found.ceiling_nats:.2f} nats",
            f"N = {self._rows} rows: {found.train_rows} train, {found.validation_rows} validate, "
            f"{found.held_out_rows} held out; columns: X {self.x_columns}, Y {y_is}",
            f"chosen on validation rows: {found.chosen}",
        ]
        if found.is_saturated and self.y_columns is not None:
            lines.append(
                "saturated: the value is near its ceiling and the truth may be far above; give more rows"
            )
        lines += ["", f"{'held out (nats)':26}{'kind':9}{'value':>8}{'s.e.':>8}{'ceiling':>9}{'K':>7}"]
        lines += [_bound_text(bound) for bound in found.table]
        lines += ["", f"{'candidate':26}{'':9}{'validation':>10}"]
        lines += [f"{tried.name:26}{'':9}{tried.validation_nats:10.3f}" for tried in found.tried]
        lines += ["", *self._remarks()]
        return "\n".join(lines)

    @property
    def _rows(self) -> int:
        return self.found.train_rows + self.found.validation_rows + self.found.held_out_rows

    def _remarks(self) -> list[str]:
        if self.y_columns is None:
            lines = ["H(Y) comes from the label counts; nothing can stand above it."]
        else:
            lines = [
                "A bound from above needs a known density: leave_one_out_upper and club have a learned one, so that",
                "their kind is neither. No N rows can prove more than about log N nats from below.",
            ]
        lines.append("The interval is that of the bound over draws of held-out rows, taken as independent.")
        if self.plot is not None:
            lines.append(f"plot: {self.plot}")
        return lines


def mi_estimate(
    x: StrPath, y: StrPath, *, labels: bool = False, seed: int = 0, plot: StrPath | None = None
) -> EstimateResult:
    """Estimate the mutual information of two files of samples, .npy, .csv or .parquet, row for row.

    With `labels` the second file holds class labels. `plot` is a PNG to write. Raises `InputError` for what cannot be
    used, `UsageError` when the plot cannot be written.
    """
    if plot is not None and not Path(plot).absolute().parent.is_dir():
        raise UsageError(f"cannot write {plot}: there is no such folder; choose another place")
    samples = read_samples(x)
    columns: int | None = None
    if labels:
        found = estimate_labels(samples, read_labels(y, rows=len(samples)), seed=seed)
    else:
        others = read_samples(y)
        columns = _columns(others)
        found = estimate(samples, others, seed=seed)
    if plot is not None:
        _write(found, Path(plot))
    return EstimateResult(found, _columns(samples), columns, None if plot is None else Path(plot))


def _columns(samples: Any) -> int:
    return int(samples.reshape(len(samples), -1).shape[1])


def _write(found: Estimate, plot: Path) -> None:
    bars = [
        BoundBar(bound.name, bound.kind, float(bound.value_nats), *interval(bound)) for bound in found.table
    ]
    try:
        plot.write_bytes(bounds_png(bars, ceiling_nats=found.ceiling_nats))
    except OSError as error:
        raise UsageError(f"cannot write {plot} ({error.strerror or error}): choose another place") from error


def _bound_text(bound: Bound) -> str:
    return (
        f"{bound.name:26}{bound.kind:9}{float(bound.value_nats):8.3f}{float(bound.standard_error_nats):8.3f}"
        f"{_or_none(float(bound.ceiling_nats)):>9}{float(bound.k_effective):7.0f}"
    )


def _or_none(ceiling_nats: float) -> str:
    return "none" if ceiling_nats == float("inf") else f"{ceiling_nats:.2f}"


def _bound_json(bound: Bound) -> dict[str, Any]:
    return {
        "name": bound.name,
        "kind": bound.kind,
        "value_nats": float(bound.value_nats),
        "standard_error_nats": float(bound.standard_error_nats),
        "ceiling_nats": float(bound.ceiling_nats),
        "k_effective": float(bound.k_effective),
    }
