"""Bounds of one estimate, and estimates against the truth → PNG pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from avmi.report.figures import COLOURS, INK, LINE, PAPER, QUIET, new_figure, png

_KIND_COLOURS = {"lower": COLOURS[0], "upper": COLOURS[1], "neither": QUIET}


@dataclass(frozen=True)
class BoundBar:
    """A bound as it is drawn: its value with a 95 % interval."""

    name: str
    kind: str  # lower, upper, neither
    value_nats: float
    low_nats: float
    high_nats: float


@dataclass(frozen=True)
class TaskPoint:
    """One estimate of a task with known truth."""

    truth_nats: float
    estimate_nats: float
    is_unseen: bool  # not looked at while the estimator was made


@dataclass(frozen=True)
class LevelCurve:
    """What an estimator read at each level of a ramp."""

    name: str
    shape: str
    means_nats: Sequence[float]
    is_ours: bool


def bounds_png(bars: Sequence[BoundBar], *, ceiling_nats: float) -> bytes:
    """Draw bounds below each other, coloured by kind; the dashed line is the ceiling of the first, if it is near.

    Values far beyond the ceiling are cut off: those of CLUB with a learned conditional can be tens of nats.
    """
    from matplotlib.lines import Line2D

    first = bars[0]
    most = max(1.3 * max(first.high_nats, 0.0), first.high_nats + 0.5, 0.5)
    right = min(max(most, *(bar.high_nats for bar in bars)), 1.5 * most)
    left = min(0.0, first.low_nats - 0.05)
    with new_figure((5.2, 0.6 + 0.28 * len(bars)), paper=PAPER) as (figure, axes):
        for place, bar in enumerate(bars):
            colour = _KIND_COLOURS[bar.kind]
            axes.plot([bar.low_nats, bar.high_nats], [place, place], color=colour, linewidth=1.3)
            axes.plot([bar.value_nats], [place], color=colour, marker="o", markersize=4)
            if bar.value_nats > right:
                text = f"{bar.value_nats:.1f} →"
                axes.text(right, place, text, color=colour, ha="right", va="center", fontsize=7)
        if ceiling_nats <= right:
            axes.axvline(ceiling_nats, color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
        axes.set_xlim(left, right * 1.02)
        axes.set_ylim(len(bars) - 0.5, -0.5)
        axes.set_yticks(range(len(bars)), [bar.name.replace("_", " ") for bar in bars])
        axes.set_xlabel("nats (95 % interval)")
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        kinds = [kind for kind in _KIND_COLOURS if any(bar.kind == kind for bar in bars)]
        handles = [Line2D([], [], color=_KIND_COLOURS[kind], marker="o", markersize=4) for kind in kinds]
        axes.legend(handles, kinds, frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return png(figure)


def benchmark_png(
    points: Sequence[TaskPoint], curves: Sequence[LevelCurve], *, levels_nats: Sequence[float]
) -> bytes:
    """Draw the ramp of each shape with every estimator, and the tasks' estimates against their truths."""
    shapes = list(dict.fromkeys(curve.shape for curve in curves))
    with new_figure((3.0 * (len(shapes) + 1), 2.9), paper=PAPER) as (figure, axes):
        axes.remove()
        panels = figure.subplots(1, len(shapes) + 1)
        for panel, shape in zip(panels, shapes, strict=False):
            _draw_ramp(panel, [curve for curve in curves if curve.shape == shape], levels_nats)
            panel.set_title(f"ramp, {shape}", fontsize=8)
        _draw_tasks(panels[-1], points)
        for panel in panels:
            panel.spines[["top", "right"]].set_visible(False)
            panel.grid(color=LINE, linewidth=0.6)
        return png(figure)


def _draw_ramp(panel: "object", curves: Sequence[LevelCurve], levels_nats: Sequence[float]) -> None:
    draw = panel.plot  # type: ignore[attr-defined]
    draw(levels_nats, levels_nats, color=INK, linewidth=1.0, linestyle=(0, (4, 3)), label="truth")
    others = [curve for curve in curves if not curve.is_ours]
    for number, curve in enumerate(others):
        colour = COLOURS[1 + number % (len(COLOURS) - 1)]
        draw(levels_nats, curve.means_nats, color=colour, linewidth=1.0, label=curve.name.replace("_", " "))
    for curve in curves:
        if curve.is_ours:
            label = curve.name.replace("_", " ")
            draw(
                levels_nats,
                curve.means_nats,
                color=COLOURS[0],
                marker="o",
                markersize=4,
                linewidth=0,
                label=label,
            )
    panel.set_ylim(0, 1.25 * max(levels_nats))  # type: ignore[attr-defined]
    panel.set_xlabel("truth (nats)")  # type: ignore[attr-defined]
    panel.set_ylabel("mean of the window (nats)")  # type: ignore[attr-defined]
    panel.legend(frameon=False, fontsize=6, loc="upper left")  # type: ignore[attr-defined]


def _draw_tasks(panel: "object", points: Sequence[TaskPoint]) -> None:
    draw = panel.plot  # type: ignore[attr-defined]
    top = 1.05 * float(np.max([max(point.truth_nats, point.estimate_nats) for point in points], initial=0.1))
    draw([0, top], [0, top], color=INK, linewidth=1.0, linestyle=(0, (4, 3)))
    for is_unseen, name, colour in ((False, "the ten", COLOURS[0]), (True, "not looked at", COLOURS[1])):
        kept = [point for point in points if point.is_unseen == is_unseen]
        truths, estimates = [p.truth_nats for p in kept], [p.estimate_nats for p in kept]
        draw(truths, estimates, color=colour, marker="o", markersize=3.5, linewidth=0, alpha=0.6, label=name)
    panel.set_title("tasks", fontsize=8)  # type: ignore[attr-defined]
    panel.set_xlabel("truth (nats)")  # type: ignore[attr-defined]
    panel.set_ylabel("estimate (nats)")  # type: ignore[attr-defined]
    panel.legend(frameon=False, fontsize=6, loc="upper left")  # type: ignore[attr-defined]
