"""Histograms of positives and negatives → a picture: what lies where, by its colour."""

import numpy as np

from avmi.report.score_plots import scores_pixels

BINS = 100


def spike(place: int, count: int) -> np.ndarray:
    counts = np.zeros(BINS, np.int64)
    counts[place] = count
    return counts


def columns_of(pixels: np.ndarray, *, is_blue: bool) -> np.ndarray:
    """Columns that hold fields of positives (blue) or negatives (vermilion)."""
    red, blue = pixels[:, :, 0].astype(int), pixels[:, :, 2].astype(int)
    mask = (blue - red > 60) if is_blue else (red - blue > 60)
    tall = mask.sum(axis=0) > pixels.shape[0] // 8  # and not a mark of the legend
    return np.flatnonzero(tall)


def test_positives_and_negatives_stand_at_their_cosines_on_one_axis() -> None:
    apart = scores_pixels({"image~sound": (spike(80, 3), spike(30, 5000))})
    positives, negatives = columns_of(apart, is_blue=True), columns_of(apart, is_blue=False)
    assert positives.min() > negatives.max()
    swapped = scores_pixels({"image~sound": (spike(30, 7), spike(80, 100))})
    np.testing.assert_array_equal(columns_of(swapped, is_blue=True), negatives)
    np.testing.assert_array_equal(columns_of(swapped, is_blue=False), positives)


def test_every_term_has_a_row_up_to_what_a_screen_holds_and_none_are_drawn() -> None:
    heights = [
        scores_pixels({f"a~b_{n}": (spike(60, 4), spike(40, 9)) for n in range(number)}).shape[0]
        for number in (1, 3, 24, 60)
    ]
    assert heights[0] < heights[1] < heights[2] == heights[3]
    assert scores_pixels({}).shape[2] == 3
