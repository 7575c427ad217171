"""Histograms of the cosines of positives and negatives, by name → one picture of all of them, as pixels."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Int, UInt8

from avmi.report.figures import COLOURS, LINE, PAPER, drawable, new_figure, pixels

PosNeg = tuple[Int[np.ndarray, "bins"], Int[np.ndarray, "bins"]]

_ROW_INCHES, _MARGIN_INCHES, _WIDTH_INCHES = 0.5, 0.9, 5.4
# More rows than that do not fit a screen; the histograms of all of them are beside it.
_MOST_ROWS = 24


def scores_pixels(histograms: Mapping[str, PosNeg]) -> UInt8[np.ndarray, "height width 3"]:
    """Draw a row for each name, positives and negatives over each other, all over the same cosines from −1 to 1.

    Each histogram is scaled to its own peak: there are many times more negatives.
    """
    names = list(histograms)[:_MOST_ROWS]
    height = _MARGIN_INCHES + _ROW_INCHES * max(1, len(names))
    with new_figure((_WIDTH_INCHES, height), paper=PAPER) as (figure, axes):
        for row, name in enumerate(names):
            for counts, colour, what in zip(
                histograms[name], (COLOURS[0], COLOURS[1]), ("positives", "negatives"), strict=True
            ):
                edges = np.linspace(-1, 1, len(counts) + 1)
                shares = 0.85 * counts / max(1, counts.max())
                label = what if row == 0 else None
                axes.stairs(
                    shares - row, edges, baseline=-row, fill=True, alpha=0.55, color=colour, label=label
                )
        axes.set_xlim(-1, 1)
        axes.set_ylim(0.95 - max(1, len(names)), 1)
        axes.set_yticks([-row for row in range(len(names))], [drawable(n) for n in names], parse_math=False)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x", color=LINE, linewidth=0.6)
        axes.set_xlabel("cosine")
        if names:
            axes.legend(frameon=False, fontsize=7, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        return pixels(figure)
