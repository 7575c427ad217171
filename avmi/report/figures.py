"""An empty figure with the house's type and colours, and a drawn one as PNG or as pixels."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import UInt8

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Pictures are drawn at twice the size at which a page shows them, so that they are sharp on dense screens.
DOTS_PER_INCH = 200

PAPER, INK, QUIET, LINE = "#ffffff", "#1d2125", "#626a73", "#e2e4e6"
NIGHT, NIGHT_INK = "#14171a", "#c9d0d6"
# Okabe and Ito's colours, which the colour-blind can tell apart, without the yellow that paper swallows.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")

# Fonts for scripts that matplotlib's own has no letters of, where the machine has them.
_MORE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)

MOST_LETTERS = 28  # of a label on an axis


@contextmanager
def new_figure(size_inches: tuple[float, float], *, paper: str) -> "Iterator[tuple[Figure, Axes]]":
    """Give an empty figure that no global list knows, with the house's type and colours."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    ink = INK if paper == PAPER else NIGHT_INK
    style = {
        "font.family": list(_fonts()),
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.edgecolor": QUIET,
        "axes.linewidth": 0.6,
        "axes.facecolor": paper,
        "text.color": ink,
        "axes.labelcolor": ink,
        "xtick.color": ink,
        "ytick.color": ink,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
    }
    with rc_context(style), warnings.catch_warnings():
        # A letter that no font has is drawn as a box; a line on stderr for each helps nobody.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # Thumbnails have labels of known size; laying them out by measuring would double their time.
        layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06) if paper == PAPER else None
        figure = Figure(figsize=size_inches, dpi=DOTS_PER_INCH, layout=layout, facecolor=paper)
        FigureCanvasAgg(figure)
        width, height = size_inches
        room = (0.45 / width, 0.22 / height, 1 - 0.53 / width, 1 - 0.28 / height)
        axes = figure.add_subplot() if paper == PAPER else figure.add_axes(room)
        axes.spines[["top", "right"]].set_visible(False)
        yield figure, axes


def png(figure: "Figure") -> bytes:
    """Draw a figure; the same numbers give the same bytes."""
    out = io.BytesIO()
    # Not savefig, which draws twice; without the version in it, the same numbers give the same bytes.
    figure.canvas.print_png(out, metadata={"Software": None})  # type: ignore[attr-defined]
    return out.getvalue()


def pixels(figure: "Figure") -> UInt8[np.ndarray, "height width 3"]:
    """Draw a figure as an array, for a place that packs its pictures itself."""
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba())[:, :, :3]  # type: ignore[attr-defined]


def drawable(text: str) -> str:
    """Shorten a label and show what cannot be drawn (a name that is no UTF-8, control characters) escaped."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text if len(text) <= MOST_LETTERS else text[: MOST_LETTERS - 1] + "…"


@cache
def _fonts() -> tuple[str, ...]:
    from matplotlib.font_manager import get_font_names

    logging.getLogger("matplotlib.font_manager").setLevel(logging.ERROR)
    there = set(get_font_names())
    return ("DejaVu Sans", *(name for name in _MORE_FONTS if name in there))


def no_ticks() -> Any:
    """Place no ticks on an axis."""
    from matplotlib.ticker import NullLocator

    return NullLocator()


def whole_ticks() -> Any:
    """Place a few ticks on round numbers."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(nbins=4, steps=[1, 2, 2.5, 5, 10])
