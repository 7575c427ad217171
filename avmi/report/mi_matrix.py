"""A matrix of bounds between views → a picture of it, and the page of `avmi mi matrix`."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from avmi.metrics import Interval
from avmi.mi.view_matrix import MatrixCell, ViewMatrix
from avmi.report.figures import INK, PAPER, QUIET, drawable, new_figure, pixels, png
from avmi.report.page import Block, Cell, Facts, Figure, Section, Table, Text, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawn

_CELL_INCHES, _SMALL_INCHES = 0.95, 0.55
_LETTER_INCHES = 0.062  # width of a letter of a view's name, at the size of the ticks
_MOST_DETAILED = 9  # views whose cells have room for the error and the ceiling


def matrix_png(matrix: ViewMatrix) -> bytes:
    """Draw the bound of every two views, in nats."""
    with _drawn(matrix) as figure:
        return png(figure)


def matrix_pixels(matrix: ViewMatrix) -> UInt8[np.ndarray, "height width 3"]:
    """Draw the same for TensorBoard."""
    with _drawn(matrix) as figure:
        return pixels(figure)


@contextmanager
def _drawn(matrix: ViewMatrix) -> "Iterator[Drawn]":
    views = [drawable(name) for name in matrix.views]
    detailed = len(views) <= _MOST_DETAILED
    cell = _CELL_INCHES if detailed else _SMALL_INCHES
    names = 0.2 + _LETTER_INCHES * max(map(len, views), default=0)
    side = cell * len(views)
    with new_figure((max(3.2, side + names + 0.2), side + 0.75 * names + 0.75), paper=PAPER) as (
        figure,
        axes,
    ):
        values = _values(matrix)
        top = max(0.1, float(np.nanmax(values, initial=0.1)))
        # Below nothing is nothing: a critic that fits badly says less than that the views share nothing.
        axes.imshow(np.ma.masked_invalid(values), cmap="Blues", vmin=0, vmax=top, interpolation="nearest")
        places = list(range(len(views)))
        axes.set_xticks(places, views, rotation=35, ha="right", rotation_mode="anchor", parse_math=False)
        axes.set_yticks(places, views, parse_math=False)
        axes.tick_params(length=0, labelsize=8)
        axes.spines[:].set_visible(False)
        axes.set_title(_title(matrix), fontsize=8, loc="left", color=INK)
        for found in matrix.cells:
            first, second = (matrix.views.index(name) for name in found.views)
            for row, column in ((first, second), (second, first)):
                _write(axes, found, row=row, column=column, top=top, detailed=detailed)
        yield figure


def _values(matrix: ViewMatrix) -> Float[np.ndarray, "views views"]:
    values = np.full((len(matrix.views),) * 2, np.nan)
    for found in matrix.cells:
        first, second = (matrix.views.index(name) for name in found.views)
        values[first, second] = values[second, first] = found.value_nats
    return values


def _title(matrix: ViewMatrix) -> str:
    """Say what the numbers are, and the ceilings where they are the same for all."""
    title = "bound in nats ± standard error, of its ceiling"
    if not all(found.is_trained for found in matrix.cells):
        title += "\n[ ]: not trained as a pair"
    ceilings = {f"{found.ceiling_nats:.2f}" for found in matrix.cells}
    if len(ceilings) == 1:
        k = f"{matrix.cells[0].k_effective:.0f}"
        title += f"\nlog K = {ceilings.pop()} (K = {k})"
    return title


def _write(axes: "Axes", found: MatrixCell, *, row: int, column: int, top: float, detailed: bool) -> None:
    is_dark = found.value_nats > 0.5 * top
    value = f"{found.value_nats:.2f}".replace("-", "−")
    text = value if found.is_trained else f"[{value}]"
    weight = "bold" if found.is_trained else "normal"
    ink, quiet = ("#ffffff", "#e6ebf0") if is_dark else (INK, QUIET)
    shift = -0.14 if detailed else 0.0
    axes.text(
        column,
        row + shift,
        text,
        ha="center",
        va="center",
        color=ink,
        fontsize=9 if detailed else 7,
        weight=weight,
    )
    if detailed:
        error = f"± {found.standard_error_nats:.2f}" if math.isfinite(found.standard_error_nats) else ""
        below = f"{error}\nof {_lower_ceiling(found)}".strip()
        axes.text(
            column, row + 0.2, below, ha="center", va="center", color=quiet, fontsize=6.5, linespacing=1.25
        )


def _lower_ceiling(found: MatrixCell) -> str:
    """Write the lower of the two ceilings; a bound without one has none.

    Two views that were not trained as a pair are read at a temperature that fits what they share: where that is
    nothing it is high, and the ceiling of cosines says so and no more.
    """
    lower = min(found.ceiling_nats, found.cosine_ceiling_nats) if found.is_trained else found.ceiling_nats
    return f"{lower:.2f}" if math.isfinite(lower) else "any"


def matrix_page(matrix: ViewMatrix, intervals: Sequence[Interval | None], *, source: str) -> str:
    """Build the page of `avmi mi matrix --report`: the picture, and a table with the largest bound first."""
    rows = sorted(zip(matrix.cells, intervals, strict=True), key=lambda row: -row[0].value_nats)
    blocks: list[Block] = [
        Facts(
            [
                ("views", len(matrix.views)),
                ("trained pairs", sum(found.is_trained for found in matrix.cells)),
                ("clips at most", max((found.clips for found in matrix.cells), default=0)),
            ]
        ),
        Figure(matrix_png(matrix), "image/png", alt="bound on the mutual information of every two views"),
        Table(
            ["views", "bound, nats", "95 %", "at most", "log K", "K", "temperature", "clips", "trained"],
            [_row(found, interval) for found, interval in rows],
        ),
        Text(
            "InfoNCE, a lower bound on the mutual information, against clips of other videos; intervals resample "
            "whole videos. A bound near its ceiling says that K was too small, not that the views share that much. "
            "Two views that are not trained as a pair are read by embeddings that were trained for other pairs: "
            "what is found is there, what is not found may be there all the same.",
            tone="quiet",
        ),
    ]
    return render("Bounds between views", [Section("Views", blocks)], subtitle=source)


def _row(found: MatrixCell, interval: Interval | None) -> list[Cell]:
    return [
        " ~ ".join(found.views),
        f"{found.value_nats:.2f}",
        None if interval is None else f"{interval.low:.2f} to {interval.high:.2f}",
        f"{found.cosine_ceiling_nats:.2f}",
        f"{found.ceiling_nats:.2f}",
        round(found.k_effective),
        f"{found.temperature:.2g}",
        found.clips,
        "yes" if found.is_trained else "no",
    ]
