"""Shapes that are computed against tensors that are made."""

import numpy as np
import pytest
from rows import video_row

from avmi.config.pair_settings import PairSettings
from avmi.config.parts import ImageInput, LogMel
from avmi.config.views import AudioView, FeatureView, FrameView, View
from avmi.corpus.plan import SignalView, cut
from avmi.decode.clip import Clip, Frames, Waveform
from avmi.views.graph import build_graph
from avmi.views.make import ViewMaker
from avmi.views.shapes import most_scores, view_shapes

VIEWS: dict[str, SignalView] = {
    "image": FrameView(kind="frame", augment="strong"),
    "motion": FrameView(kind="frame", at_seconds=1.0, frames=5, spacing_seconds=0.1, motion="differences"),
    "short": AudioView(kind="audio", window_seconds=0.3),
    "long": AudioView(kind="audio", at_seconds=-1.0, window_seconds=10.0),
    "odd": AudioView(kind="audio", at_seconds=2.0, window_seconds=0.4567),
}


def clip_of(anchor_seconds: float, sample_rate_hz: int) -> Clip:
    row = video_row(video_end_seconds=20.0, audio_end_seconds=20.0, last_frame_seconds=19.96)
    spec = cut(row, VIEWS, anchor_seconds)
    times = np.array(spec.frame_seconds)
    pixels = np.zeros((len(times), 50, 70, 3), np.uint8)
    assert spec.audio_seconds is not None
    first, last = spec.audio_seconds
    samples = np.zeros(round((last - first) * sample_rate_hz), np.float32)
    return Clip(spec, Frames(pixels, times), Waveform(samples, sample_rate_hz, first))


@pytest.mark.parametrize(
    "log_mel",
    [LogMel(mel_bins=24), LogMel(mel_bins=40, sample_rate_hz=22050, stft_hop_seconds=0.017, f_max_hz=9000)],
)
@pytest.mark.parametrize("anchor_seconds", [1.0, 3.3337])
def test_the_views_of_a_clip_have_the_shapes_that_were_told(log_mel: LogMel, anchor_seconds: float) -> None:
    image = ImageInput(size_px=36)
    shapes = view_shapes(VIEWS, image=image, log_mel=log_mel)
    made = ViewMaker(VIEWS, image=image, log_mel=log_mel)(
        clip_of(anchor_seconds, log_mel.sample_rate_hz), seed=0
    )
    assert {name: tuple(tensor.shape) for name, tensor in made.items()} == shapes
    assert list(shapes) == list(VIEWS)


def test_the_pair_with_the_most_scores_is_found_and_counted() -> None:
    views: dict[str, View] = {
        **VIEWS,
        "fine": FeatureView(kind="feature", of="image", layer="stage1"),
        "coarse": FeatureView(kind="feature", of="long", layer="stage4"),
    }
    pairs = tuple(
        PairSettings(views=two)
        for two in (
            ("image", "long"),
            ("fine", "long"),
            ("fine", "coarse"),
            ("motion", "short"),
            ("odd", "image"),
        )
    )
    graph = build_graph(views, pairs)
    grids = {"fine": (18, 17), "coarse": (3, 5)}
    assert most_scores(graph.pairs, grids, clips=7) == ("fine~coarse", 7 * 18 * 17 * 7 * 3 * 5)
    assert most_scores(graph.pairs, {}, clips=7) == ("image~long", 49)
    assert most_scores([], {}, clips=7) == ("", 0)


def test_ten_seconds_have_thirty_times_the_bins_of_a_third() -> None:
    shapes = view_shapes(VIEWS, image=ImageInput(size_px=36), log_mel=LogMel(mel_bins=24))
    assert shapes["image"] == (3, 36, 36)
    assert shapes["motion"] == (15, 36, 36)
    # A bin every 10 ms, each 25 ms wide and wholly inside.
    assert (shapes["short"], shapes["long"]) == ((1, 24, 28), (1, 24, 998))
