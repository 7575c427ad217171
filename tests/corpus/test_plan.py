"""Videos and views → clip specs, against brute force over a fine grid of anchors."""

import random
from itertools import pairwise

import numpy as np
import pytest
from corpora import video_row
from hypothesis import given, settings
from hypothesis import strategies as st

from avmi.config.views import AudioView, FrameView
from avmi.corpus.manifest import Video
from avmi.corpus.plan import (
    SignalView,
    anchors_of_all,
    anchors_of_pairs,
    anchors_of_view,
    cut,
    draw_anchor,
    evaluation_clips,
    spread_anchors,
)

# Streams and views start and end at multiples of 10 ms; anchors are tried every 5 ms, 2.5 ms beside
# them, so that no anchor is within EDGE_SECONDS of an end.
GRID = np.arange(-8.0, 8.0, 0.005) + 0.0025
CENTISECONDS = st.integers(0, 300).map(lambda n: n / 100)


def frame_views() -> st.SearchStrategy[FrameView]:
    return st.builds(
        FrameView,
        kind=st.just("frame"),
        at_seconds=st.integers(-200, 200).map(lambda n: n / 100),
        frames=st.integers(1, 4),
        spacing_seconds=st.integers(1, 40).map(lambda n: n / 50),
    )


def audio_views() -> st.SearchStrategy[AudioView]:
    return st.builds(
        AudioView,
        kind=st.just("audio"),
        at_seconds=st.integers(-200, 200).map(lambda n: n / 100),
        window_seconds=st.integers(10, 250).map(lambda n: n / 100),
    )


@st.composite
def videos(draw: st.DrawFn) -> Video:
    video_start, audio_start = draw(CENTISECONDS), draw(CENTISECONDS)
    return video_row(
        video_start_seconds=video_start,
        video_end_seconds=video_start + 0.04 + draw(CENTISECONDS),
        audio_start_seconds=audio_start,
        audio_end_seconds=audio_start + 0.04 + draw(CENTISECONDS),
    )


def is_reached(video: Video, view: SignalView) -> np.ndarray:
    """Say by the definition at which anchors of the grid every picture or sample of a view is there."""
    if isinstance(view, AudioView):
        begin = GRID + view.at_seconds
        inside = begin >= video.audio_start_seconds
        return inside & (begin + view.window_seconds <= video.audio_end_seconds)
    reached = np.ones(len(GRID), bool)
    for number in range(view.frames):
        seconds = GRID + view.at_seconds + view.spacing_seconds * (number - (view.frames - 1) / 2)
        reached &= (video.video_start_seconds <= seconds) & (seconds < video.video_end_seconds)
    return reached


def is_within(*intervals: tuple[float, float] | None) -> np.ndarray:
    """Say which anchors of the grid lie in one of these intervals."""
    inside = np.zeros(len(GRID), bool)
    for interval in intervals:
        if interval is not None:
            inside |= (interval[0] <= GRID) & (interval[1] >= GRID)
    return inside


@given(videos(), st.one_of(frame_views(), audio_views()))
def test_the_anchors_of_a_view_are_those_at_which_all_of_it_is_there(video, view) -> None:
    np.testing.assert_array_equal(is_within(anchors_of_view(video, view)), is_reached(video, view))


@settings(max_examples=60)
@given(videos(), frame_views(), audio_views(), audio_views())
def test_the_anchors_of_pairs_are_those_at_which_some_pair_is_whole(video, image, near, far) -> None:
    views = {"image": image, "near": near, "far": far}
    found = anchors_of_pairs(video, views, [("image", "near"), ("far", "image")])

    reached = {name: is_reached(video, view) for name, view in views.items()}
    brute = reached["image"] & (reached["near"] | reached["far"])
    np.testing.assert_array_equal(is_within(*found), brute)
    assert all(a[1] < b[0] for a, b in pairwise(found))


@settings(max_examples=60)
@given(videos(), frame_views(), audio_views())
def test_the_anchors_of_all_views_are_those_of_each(video, image, sound) -> None:
    found = anchors_of_all(video, [image, sound])
    np.testing.assert_array_equal(is_within(found), is_reached(video, image) & is_reached(video, sound))


@settings(max_examples=60)
@given(videos(), frame_views(), audio_views(), audio_views(), st.integers(0, len(GRID) - 1))
def test_a_clip_has_exactly_the_views_that_the_video_reaches(video, image, near, far, place) -> None:
    views = {"image": image, "near": near, "far": far}
    anchor = float(GRID[place])
    spec = cut(video, views, anchor)

    assert spec.views == tuple(name for name, view in views.items() if is_reached(video, view)[place])
    offsets = image.frame_offsets_seconds if "image" in spec.views else ()
    assert spec.frame_seconds == pytest.approx([anchor + offset for offset in offsets])
    sounds = [views[name] for name in spec.views if name != "image"]
    if not sounds:
        assert spec.audio_seconds is None
    else:
        first = min(view.at_seconds for view in sounds)
        last = max(view.at_seconds + view.window_seconds for view in sounds)
        assert spec.audio_seconds == pytest.approx((anchor + first, anchor + last))


def test_a_window_as_long_as_the_sound_fits_once_and_one_millisecond_is_forgiven() -> None:
    def reached(seconds: float) -> tuple[float, float] | None:
        video = video_row(audio_start_seconds=0.25, audio_end_seconds=0.25 + seconds)
        return anchors_of_view(video, AudioView(kind="audio", at_seconds=-0.5, window_seconds=2.0))

    assert reached(2.0) == pytest.approx((0.75, 0.75))
    assert reached(1.9992) == pytest.approx((0.75, 0.75))
    assert reached(1.998) is None


def test_the_very_end_of_the_last_picture_is_not_reached() -> None:
    video = video_row(video_start_seconds=0.5, video_end_seconds=3.0)
    still = anchors_of_view(video, FrameView(kind="frame", at_seconds=1.0))
    assert still == pytest.approx((-0.5, 1.999))
    whole = FrameView(kind="frame", frames=2, spacing_seconds=2.5)  # from the first second to the end
    assert anchors_of_view(video, whole) is None


def test_pictures_that_two_views_share_are_decoded_once_and_in_order() -> None:
    views = {
        "late": FrameView(kind="frame", at_seconds=1.0),
        "motion": FrameView(kind="frame", at_seconds=0.5, frames=3, spacing_seconds=0.5),
        "image": FrameView(kind="frame", at_seconds=0.0),
    }
    assert cut(video_row(), views, 0.25).frame_seconds == (0.25, 0.75, 1.25)


def test_one_interval_of_sound_covers_every_window_whatever_their_order() -> None:
    views = {
        "late": AudioView(kind="audio", at_seconds=1.5, window_seconds=0.5),
        "long": AudioView(kind="audio", at_seconds=0.5, window_seconds=3.0),
        "early": AudioView(kind="audio", at_seconds=-0.25, window_seconds=1.0),
        "too_late": AudioView(kind="audio", at_seconds=4.0, window_seconds=1.0),
    }
    spec = cut(video_row(), views, 0.375)
    assert spec.views == ("late", "long", "early")
    assert spec.audio_seconds == (0.125, 3.875)


def test_a_clip_is_named_by_video_and_millisecond() -> None:
    views = {"image": FrameView(kind="frame")}
    assert cut(video_row("b.mp4"), views, 1.23456).clip_id == "id-of-b.mp4@1235"


def test_anchors_are_drawn_uniformly_over_all_intervals() -> None:
    rng = random.Random(3)
    drawn = np.array([draw_anchor([(0.0, 1.0), (4.0, 4.0), (5.0, 8.0)], rng) for _ in range(6000)])

    first = (drawn >= 0) & (drawn <= 1)
    second = (drawn >= 5) & (drawn <= 8)
    assert (first | second).all()
    # Standard deviations of the shares are below 0.007.
    counts, _ = np.histogram(drawn, bins=[0, 0.5, 1, 5, 6, 7, 8])
    assert counts / 6000 == pytest.approx([1 / 8, 1 / 8, 0, 1 / 4, 1 / 4, 1 / 4], abs=0.03)


def test_an_interval_of_one_anchor_is_drawn_as_it_is() -> None:
    assert draw_anchor([(2.5, 2.5), (3.0, 3.0)], random.Random(0)) == 2.5


def test_spread_anchors_stand_a_hop_apart_while_there_is_room() -> None:
    assert spread_anchors((0.5, 3.0), hop_seconds=1.0, most=9) == pytest.approx((0.5, 1.5, 2.5))
    assert spread_anchors((0.5, 2.9), hop_seconds=1.0, most=3) == pytest.approx((0.5, 1.5, 2.5))
    assert spread_anchors((0.5, 0.9), hop_seconds=1.0, most=9) == pytest.approx((0.5,))
    # 0.1 has no exact binary form: the sixth hop is not lost to rounding.
    assert len(spread_anchors((0.0, 0.6), hop_seconds=0.1, most=9)) == 7


def test_more_anchors_than_asked_for_are_spread_from_end_to_end() -> None:
    assert spread_anchors((1.0, 7.0), hop_seconds=0.5, most=4) == pytest.approx((1.0, 3.0, 5.0, 7.0))
    assert spread_anchors((1.0, 7.0), hop_seconds=0.5, most=1) == pytest.approx((4.0,))


@given(st.floats(-5, 5), st.floats(0, 30), st.floats(0.05, 10), st.integers(1, 12))
def test_spread_anchors_ascend_inside_the_interval_and_are_never_too_many(low, length, hop, most) -> None:
    anchors = spread_anchors((low, low + length), hop_seconds=hop, most=most)
    assert 1 <= len(anchors) <= most
    assert all(low - 1e-9 <= anchor <= low + length + 1e-9 for anchor in anchors)
    distances = np.diff(anchors)
    assert (distances >= hop - 1e-6).all()
    assert np.ptp(distances) < 1e-6 if len(distances) else True


def test_evaluation_clips_leave_out_videos_that_lack_a_required_view() -> None:
    views = {
        "image": FrameView(kind="frame", at_seconds=0.5),
        "sound": AudioView(kind="audio", window_seconds=1.0),
        "far": AudioView(kind="audio", at_seconds=3.0, window_seconds=1.0),
    }
    long, short, mute = (
        video_row("long.mp4", video_end_seconds=6.0, audio_end_seconds=5.0),
        video_row("short.mp4", audio_end_seconds=1.5),
        video_row("mute.mp4", audio_end_seconds=0.5),
    )
    specs = evaluation_clips(
        [long, mute, short], views, required=("image", "sound"), hop_seconds=2.0, most_per_video=5
    )

    assert [(spec.video.path, spec.anchor_seconds) for spec in specs] == [
        ("long.mp4", 0.0), ("long.mp4", 2.0), ("long.mp4", 4.0), ("short.mp4", 0.0)
    ]  # fmt: skip
    assert [spec.views for spec in specs] == [
        ("image", "sound", "far"), ("image", "sound"), ("image", "sound"), ("image", "sound")
    ]  # fmt: skip
