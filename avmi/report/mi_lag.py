"""Curves over the lag of the sound, of a corpus and of its files → a picture, and the page of `avmi mi lag`."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from avmi.mi.lag_peak import LagPeak
from avmi.report.figures import COLOURS, INK, LINE, MOST_LETTERS, PAPER, QUIET, drawable, new_figure, png
from avmi.report.page import Block, Cell, Facts, Figure, Section, Table, Text, render

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawn

_WIDTH_INCHES, _CURVE_INCHES, _ROW_INCHES, _NARROW_ROW_INCHES = 6.4, 2.3, 0.16, 0.06
_MOST_NAMED = 60  # files whose names all stand beside their rows; of more, those that are off
_MOST_ROWS = 200  # files that are drawn: those that are off first
_MOST_LISTED = 100  # rows of the page's table


@dataclass(frozen=True)
class CorpusCurve:
    """Bound of all files' moments against moments of other files, lag by lag."""

    bound_nats: tuple[float, ...]
    standard_error_nats: tuple[float, ...]
    intervals: tuple[tuple[float, float] | None, ...]  # 95 %, whole videos resampled
    ceiling_nats: tuple[float, ...]
    cosine_ceiling_nats: tuple[float, ...]
    moments: tuple[int, ...]

    def peak_seconds(self, lags_seconds: Sequence[float]) -> float:
        """Give the lag of the largest bound."""
        return lags_seconds[int(np.nanargmax(self.bound_nats))]


@dataclass(frozen=True)
class FileCurve:
    """One file's curve against its own other moments, and where its peak is."""

    path: str
    label: str
    moments: int
    nats: tuple[float, ...]
    peak: LagPeak
    is_off: bool  # surely off zero

    @property
    def is_told(self) -> bool:
        """Say whether the file has moments enough for its peak to be set against noise."""
        return math.isfinite(self.peak.share)


@dataclass(frozen=True)
class LagReport:
    """All that is drawn."""

    views: tuple[str, str]
    lags_seconds: tuple[float, ...]
    corpus: CorpusCurve
    files: tuple[FileCurve, ...]

    @property
    def off(self) -> list[FileCurve]:
        """Files whose peak is surely off zero, the farthest first."""
        return sorted(
            (file for file in self.files if file.is_off),
            key=lambda file: -abs(self.lags_seconds[file.peak.lag]),
        )


def lag_png(report: LagReport) -> bytes:
    """Draw the corpus's curve, and below it a row for each file: dark where its own curve is high."""
    shown = _shown(report)
    row = _ROW_INCHES if len(shown) <= _MOST_NAMED else _NARROW_ROW_INCHES
    height = _CURVE_INCHES + 0.7 + max(0.6, row * len(shown))
    with new_figure((_WIDTH_INCHES, height), paper=PAPER) as (figure, axes):
        axes.remove()
        rows = height - _CURVE_INCHES
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(_CURVE_INCHES, rows))
        _draw_corpus(above, report)
        _draw_files(below, figure, report, shown)
        return png(figure)


def _shown(report: LagReport) -> list[FileCurve]:
    rest = sorted((file for file in report.files if not file.is_off), key=lambda file: file.path)
    return [*report.off, *rest][:_MOST_ROWS]


def _draw_corpus(axes: "Axes", report: LagReport) -> None:
    corpus, lags = report.corpus, report.lags_seconds
    axes.spines[["top", "right"]].set_visible(False)
    low, high = (
        [math.nan if interval is None else interval[side] for interval in corpus.intervals] for side in (0, 1)
    )
    axes.fill_between(lags, low, high, color=COLOURS[0], alpha=0.18, linewidth=0)
    axes.plot(lags, corpus.bound_nats, color=COLOURS[0], linewidth=1.4, marker="o", markersize=3)
    axes.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    axes.grid(axis="y", color=LINE, linewidth=0.6)
    axes.set_ylabel("bound, nats")
    axes.set_title(
        f"{' ~ '.join(report.views)}: all files, against other files, at most log K = {min(corpus.ceiling_nats):.2f}",
        fontsize=8,
        loc="left",
        color=INK,
        parse_math=False,
    )


def _draw_files(axes: "Axes", figure: "Drawn", report: LagReport, shown: Sequence[FileCurve]) -> None:
    """Draw each file's curve as a row, from its own lowest to its own highest value."""
    lags = np.array(report.lags_seconds)
    half = (lags[1] - lags[0]) / 2
    axes.imshow(
        np.ma.masked_invalid(_rows(shown, len(lags))),
        cmap="Blues",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
        extent=(lags[0] - half, lags[-1] + half, len(shown) - 0.5, -0.5),
    )
    for row, file in enumerate(shown):
        colour = COLOURS[1] if file.is_off else (QUIET if file.is_told else LINE)
        axes.plot(lags[file.peak.lag], row, marker="o", markersize=3.2, color=colour, markeredgewidth=0)
    axes.spines[:].set_visible(False)
    axes.axvline(0, color=QUIET, linewidth=0.6)
    places = [row for row, file in enumerate(shown) if file.is_off or len(shown) <= _MOST_NAMED]
    axes.set_yticks(places, [_ending(shown[row].path) for row in places], parse_math=False)
    for text, row in zip(axes.get_yticklabels(), places, strict=True):
        text.set_color(COLOURS[1] if shown[row].is_off else INK)
    axes.tick_params(axis="y", length=0, labelsize=6)
    axes.set_xlabel("the sound's lag, s (right: the sound comes late)")
    axes.set_title(
        f"each file, against its own other moments: {len(report.off)} of {len(report.files)} are off 0 (orange)",
        fontsize=8,
        loc="left",
        color=INK,
    )


def _ending(path: str) -> str:
    """Shorten a path at its beginning: files of one folder differ at the end."""
    return drawable(path if len(path) <= MOST_LETTERS else "…" + path[-MOST_LETTERS + 1 :])


def _rows(shown: Sequence[FileCurve], lags: int) -> Float[np.ndarray, "files lags"]:
    """Bring every curve to 0 … 1; one that says nothing stays flat, so that noise does not look like a peak."""
    rows = np.array([file.nats for file in shown], dtype=np.float64).reshape(len(shown), lags)
    low = np.nanmin(rows, axis=1, keepdims=True)
    span = np.nanmax(rows, axis=1, keepdims=True) - low
    return np.asarray((rows - low) / np.maximum(span, 0.05))


def lag_page(report: LagReport, *, source: str) -> str:
    """Build the page of `avmi mi lag --report`."""
    told = sum(file.is_told for file in report.files)
    blocks: list[Block] = [
        Facts(
            [
                ("files", len(report.files)),
                ("off 0", len(report.off)),
                ("with moments enough to tell", told),
                ("peak of the corpus", f"{report.corpus.peak_seconds(report.lags_seconds):+g} s"),
            ]
        ),
        Figure(lag_png(report), "image/png", alt="bound against the lag of the sound"),
        Text(
            "Above: InfoNCE, a lower bound, against moments of other files at the same lag; the band is the 95 % "
            "interval over files. Below: each file's own curve, which tells its moments from one another and is no "
            "bound; a dot stands at its largest value. A file is named when that is off 0 beyond noise.",
            tone="quiet",
        ),
    ]
    columns = ["file", "label", "peak, s", "over lag 0, nats", "p", "resamples with this peak", "moments"]
    sections = [Section("Lag", blocks)]
    if report.off:
        sections.append(Section("Files off 0", [Table(columns, [_row(report, f) for f in report.off])]))
    rest = sorted((file for file in report.files if not file.is_off), key=lambda file: file.peak.p_value)
    rest = rest[:_MOST_LISTED]
    if rest:
        sections.append(Section("Other files", [Table(columns, [_row(report, f) for f in rest])]))
    return render("Lag of the sound", sections, subtitle=source)


def _row(report: LagReport, file: FileCurve) -> list[Cell]:
    peak = file.peak
    return [
        file.path,
        file.label or None,
        f"{report.lags_seconds[peak.lag]:+g}",
        f"{peak.gain_nats:.2f} ± {peak.standard_error_nats:.2f}" if file.is_told else f"{peak.gain_nats:.2f}",
        f"{peak.p_value:.2g}" if file.is_told else "too few",
        f"{peak.share:.1%}" if file.is_told else None,
        file.moments,
    ]
