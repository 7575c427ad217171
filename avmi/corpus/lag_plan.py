"""A video, a picture view, a sound view and lags → on which seconds to cut pictures and sounds; pure arithmetic."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from avmi.config.views import AudioView, FrameView
from avmi.corpus.manifest import Video
from avmi.corpus.plan import ClipSpec, anchors_of_view, cut
from avmi.errors import InputError

Moments = Literal["common", "each"]


@dataclass(frozen=True)
class LagPlan:
    """Moments of one video on a grid of seconds, and the places of the sounds that they are set against.

    Place n of the grid is the anchor `first_seconds` + n · `step_seconds`.
    """

    video: Video
    first_seconds: float
    step_seconds: float
    moments: tuple[int, ...]  # places of the pictures
    lags: tuple[int, ...]  # in steps; a moment's sound stands at its place plus the lag
    sounds: frozenset[int]  # places whose sound the video has and some moment needs

    def seconds(self, place: int) -> float:
        """Give the anchor at a place."""
        return self.first_seconds + place * self.step_seconds

    def place(self, anchor_seconds: float) -> int:
        """Give the place of an anchor."""
        return round((anchor_seconds - self.first_seconds) / self.step_seconds)

    def specs(self, views: Mapping[str, FrameView | AudioView]) -> list[ClipSpec]:
        """List what to cut, each picture and each sound once, in the order of time."""
        specs = []
        moments = set(self.moments)
        for place in sorted(moments | self.sounds):
            wanted = {
                name: view
                for name, view in views.items()
                if place in (moments if isinstance(view, FrameView) else self.sounds)
            }
            specs.append(cut(self.video, wanted, self.seconds(place)))
        return specs


def lags_in_steps(from_seconds: float, to_seconds: float, step_seconds: float) -> tuple[int, ...]:
    """Give the lags as whole numbers of steps; raises `InputError` when they are none, or 0 is not among them."""
    if not step_seconds > 0 or not all(math.isfinite(s) for s in (from_seconds, to_seconds, step_seconds)):
        raise InputError(f"the step is above 0 and all are finite, got {step_seconds:g} s")
    ends = [seconds / step_seconds for seconds in (from_seconds, to_seconds)]
    if any(abs(end - round(end)) > 1e-6 for end in ends):
        raise InputError(
            f"lags from {from_seconds:g} to {to_seconds:g} s are no whole numbers of steps of {step_seconds:g} s: "
            "choose ends that are multiples of the step"
        )
    if not from_seconds <= 0 <= to_seconds or from_seconds == to_seconds:
        raise InputError(
            f"lags from {from_seconds:g} to {to_seconds:g} s must hold 0 and another one: every lag is set against 0"
        )
    return tuple(range(round(ends[0]), round(ends[1]) + 1))


def plan_lags(
    video: Video,
    picture: FrameView,
    sound: AudioView,
    *,
    lags: Sequence[int],
    step_seconds: float,
    moments: Moments,
    most_moments: int,
) -> LagPlan | None:
    """Place moments on a grid of the step; None when the video has room for none.

    `common`: moments whose sound is there at every lag. `each`: moments whose sound is there at lag 0; at other lags
    those count that have it. When there are more than `most_moments`, every second, third … one is taken.
    """
    pictures, sounds = anchors_of_view(video, picture), anchors_of_view(video, sound)
    if pictures is None or sounds is None:
        return None
    first, last = (lags[0] * step_seconds, lags[-1] * step_seconds) if moments == "common" else (0.0, 0.0)
    low, high = max(pictures[0], sounds[0] - first), min(pictures[1], sounds[1] - last)
    room = math.floor((high - low) / step_seconds + 1e-9) + 1
    if room < 1:
        return None
    places = tuple(range(0, room, math.ceil(room / most_moments)))
    edge = 1e-9
    heard = frozenset(
        place + lag
        for place in places
        for lag in lags
        if sounds[0] - edge <= low + (place + lag) * step_seconds <= sounds[1] + edge
    )
    return LagPlan(video, low, step_seconds, places, tuple(lags), heard)
