"""Pictures and pages of bounds: what stands in them, and that they can be drawn for odd names and few numbers."""

import dataclasses
import io
import math
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from avmi.metrics import Interval
from avmi.mi.lag_peak import LagPeak
from avmi.mi.view_matrix import MatrixCell, ViewMatrix
from avmi.report.mi_lag import CorpusCurve, FileCurve, LagReport, lag_page, lag_png
from avmi.report.mi_matrix import matrix_page, matrix_pixels, matrix_png

CELL = MatrixCell(
    views=("image", "sound"),
    is_trained=True,
    value_nats=1.5,
    standard_error_nats=0.1,
    ceiling_nats=4.0,
    cosine_ceiling_nats=3.9,
    k_effective=54.6,
    temperature=0.07,
    clips=60,
)


def matrix_of(*views: str) -> ViewMatrix:
    cells = [
        dataclasses.replace(CELL, views=names, is_trained="sound" in names)
        for names in combinations(views, 2)
    ]
    return ViewMatrix(views, tuple(cells))


def size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        return image.size


def test_the_picture_grows_with_the_views_and_is_the_same_twice() -> None:
    small, large = (
        matrix_png(matrix_of("image", "sound")),
        matrix_png(matrix_of("image", "sound", "a", "b", "c")),
    )
    assert size(small)[1] < size(large)[1]
    assert matrix_png(matrix_of("image", "sound")) == small
    pixels = matrix_pixels(matrix_of("image", "sound"))
    assert pixels.shape == (*size(small)[::-1], 3)
    assert pixels.dtype == np.uint8
    assert (pixels < 100).any()


@pytest.mark.parametrize(
    "matrix",
    [
        ViewMatrix(("image", "sound"), ()),
        matrix_of(*(f"view_{number}" for number in range(12))),
        matrix_of("$x_{1}$", "sound", "a" * 60),
        ViewMatrix(
            ("a", "b"),
            (
                dataclasses.replace(
                    CELL, views=("a", "b"), value_nats=-3.0, ceiling_nats=math.inf, cosine_ceiling_nats=math.inf,
                    standard_error_nats=math.nan,
                ),
            ),
        ),
    ],
)  # fmt: skip
def test_odd_matrices_are_drawn(matrix: ViewMatrix) -> None:
    assert size(matrix_png(matrix))[0] > 300


def test_the_page_lists_pairs_with_the_largest_bound_first_and_marks_the_trained() -> None:
    matrix = matrix_of("image", "sound", "motion")
    larger = dataclasses.replace(matrix.cells[1], value_nats=2.5)
    matrix = ViewMatrix(matrix.views, (matrix.cells[0], larger, matrix.cells[2]))
    page = matrix_page(matrix, (Interval(1.25, 1.75), None, None), source="RUN on CORPUS")
    assert page.index("image ~ motion") < page.index("image ~ sound")
    assert "1.25 to 1.75" in page
    assert page.count("<td>no</td>") == 1 or page.count(">no<") == 1


def report(*, off: bool) -> LagReport:
    lags = (-1.0, -0.5, 0.0, 0.5, 1.0)
    corpus = CorpusCurve(
        bound_nats=(0.1, 0.2, 0.9, 0.3, 0.1),
        standard_error_nats=(0.05,) * 5,
        intervals=((0.0, 0.2), (0.1, 0.3), (0.7, 1.1), None, (0.0, 0.2)),
        ceiling_nats=(3.0,) * 5,
        cosine_ceiling_nats=(2.9,) * 5,
        moments=(40,) * 5,
    )
    late = FileCurve(
        "b/<late>.mp4", "b", 20, (0.0, 0.1, 0.2, 0.9, 0.1), LagPeak(3, 0.7, 0.1, 0.001, 0.99), off
    )
    short = FileCurve(
        "a/short.mp4", "", 2, (0.0, math.nan, 0.2, 0.1, 0.1), LagPeak(2, 0.0, math.nan, 1.0, math.nan), False
    )
    return LagReport(("image", "sound"), lags, corpus, (short, late))


def test_files_that_are_off_come_first_and_are_named_with_their_lag() -> None:
    page = lag_page(report(off=True), source="RUN on CORPUS")
    assert "Files off 0" in page
    assert "&lt;late&gt;.mp4" in page
    assert "+0.5" in page
    assert "too few" in page
    assert page.index("late") < page.index("a/short.mp4")
    assert "Files off 0" not in lag_page(report(off=False), source="")


def test_the_curves_are_drawn_with_files_of_few_numbers() -> None:
    picture = lag_png(report(off=True))
    assert size(picture)[0] == 1280
    assert lag_png(report(off=True)) == picture
    assert lag_png(report(off=False)) != picture
