"""Videos and lags → moments and sounds to cut, counted by hand."""

import pytest
from rows import video_row

from avmi.config.views import AudioView, FrameView
from avmi.corpus.lag_plan import lags_in_steps, plan_lags

PICTURE = FrameView(kind="frame", at_seconds=0.5)
SOUND = AudioView(kind="audio", at_seconds=0.0, window_seconds=1.0)


def plan(seconds: float, *, moments: str = "common", most: int = 99, lags=(-2, -1, 0, 1, 2, 3)):
    video = video_row("a.mp4", video_end_seconds=seconds, audio_end_seconds=seconds)
    return plan_lags(video, PICTURE, SOUND, lags=lags, step_seconds=0.5, moments=moments, most_moments=most)


def test_common_moments_have_their_sound_at_every_lag() -> None:
    # Sounds begin at 0 … 5 s; moments at 1 … 3.5 s.
    found = plan(6.0)
    assert found.first_seconds == pytest.approx(1.0)
    assert found.moments == tuple(range(6))
    assert found.seconds(5) == pytest.approx(3.5)
    assert found.sounds == frozenset(range(-2, 9))
    assert found.place(3.4999999) == 5


def test_each_lag_has_the_moments_that_the_video_holds() -> None:
    found = plan(6.0, moments="each")
    assert found.first_seconds == pytest.approx(0.0)
    assert found.moments == tuple(range(11))
    assert found.sounds == frozenset(range(11))


def test_every_picture_and_every_sound_is_cut_once_in_the_order_of_time() -> None:
    found = plan(6.0)
    specs = found.specs({"image": PICTURE, "sound": SOUND})
    assert [spec.anchor_seconds for spec in specs] == pytest.approx([0.5 * n for n in range(11)])
    assert [spec.views for spec in specs] == [("sound",)] * 2 + [("image", "sound")] * 6 + [("sound",)] * 3
    assert specs[0].frame_seconds == ()


def test_many_moments_are_thinned_out_evenly() -> None:
    found = plan(6.0, most=3, lags=(0, 1))
    assert found.moments == (0, 4, 8)
    assert found.sounds == frozenset((0, 1, 4, 5, 8, 9))


def test_a_video_without_room_has_no_plan() -> None:
    assert plan(3.0) is None
    assert plan(3.6).moments == (0,)
    assert plan(0.8, moments="each") is None


def test_lags_are_whole_steps_with_zero_among_them() -> None:
    assert lags_in_steps(-1.0, 0.5, 0.25) == (-4, -3, -2, -1, 0, 1, 2)
    assert lags_in_steps(-0.3, 0.3, 0.1) == (-3, -2, -1, 0, 1, 2, 3)
