"""Facts of a whole file and an interval of it → the facts of that part, or why it is unusable.

An interval that reaches beyond its file stands for the part that lies inside, when that is long enough. The
manifest does not keep the times of single pictures: the last one of a part is taken to come up one picture's
time before the end.
"""

import math
from collections.abc import Mapping
from typing import Any

from avmi.errors import DecodeError
from avmi.types import Needs

Span = tuple[float, float]

# Cutting and encoding move an end by a picture or a packet of sound.
_SLACK_SECONDS = 0.1
SHORTEST_SECONDS = 0.5  # of what is needed; below it no view of this package fits

NO_PICTURES: dict[str, Any] = {
    "video_start_seconds": 0.0,
    "video_end_seconds": 0.0,
    "last_frame_seconds": 0.0,
    "frame_rate": 0.0,
    "is_variable_frame_rate": False,
    "width_px": 0,
    "height_px": 0,
    "rotation_degrees": 0,
    "video_codec": "",
    "is_still": False,
    "picture_hashes": (),
}
"""What stands in a row without pictures."""

NO_SOUND: dict[str, Any] = {
    "audio_start_seconds": 0.0,
    "audio_end_seconds": 0.0,
    "audio_codec": "",
    "sample_rate_hz": 0,
    "channels": 0,
    "loudness_dbfs": -120.0,
    "is_silent": False,
    "sound_marks": "",
}
"""What stands in a row without sound."""


def part_of(
    facts: Mapping[str, Any], start_seconds: float | None, end_seconds: float | None, *, needs: Needs
) -> dict[str, Any]:
    """Clamp the streams to an interval; one that has nothing in it is left out when it is not needed.

    Raises `DecodeError` (interval_outside, too_short) when less than `SHORTEST_SECONDS` of what is needed are
    inside.
    """
    asked = -math.inf if start_seconds is None else start_seconds
    until = math.inf if end_seconds is None else end_seconds
    pictures = _clamped(facts, "video", asked, until)
    sound = _clamped(facts, "audio", asked, until)
    try:
        check_length(facts, pictures, sound, needs=needs)
    except DecodeError as error:
        reason = "too_short" if pictures or sound else "interval_outside"
        raise DecodeError(f"from {asked:g} to {until:g} s {error}", reason=reason) from None
    part = dict(facts)
    if pictures is None:
        part |= NO_PICTURES
    else:
        last = min(facts["last_frame_seconds"], pictures[1] - 1 / facts["frame_rate"])
        part["video_start_seconds"], part["video_end_seconds"] = pictures
        part["last_frame_seconds"] = max(last, pictures[0])
    if sound is None:
        part |= NO_SOUND
    else:
        part["audio_start_seconds"], part["audio_end_seconds"] = sound
    return part


def check_length(
    facts: Mapping[str, Any], pictures: Span | None, sound: Span | None, *, needs: Needs
) -> None:
    """Raise `DecodeError` when there is too little of what is needed; `facts` are those of the whole file."""
    match needs:
        case "both":
            streams, what = [pictures, sound], "picture and sound share"
        case "picture":
            streams, what = [pictures], "the pictures last"
        case "sound":
            streams, what = [sound], "the sound lasts"
    spans = [span for span in streams if span is not None]
    held = min(end for _, end in spans) - max(start for start, _ in spans) if spans == streams else 0.0
    if held < SHORTEST_SECONDS:
        parts = [
            f"{name} from {facts[f'{stream}_start_seconds']:.2f} to {facts[f'{stream}_end_seconds']:.2f} s"
            for stream, name in (("video", "pictures"), ("audio", "sound"))
            if facts[f"{stream}_end_seconds"] > facts[f"{stream}_start_seconds"]
        ]
        raise DecodeError(
            f"{what} {max(held, 0.0):.2f} s, less than {SHORTEST_SECONDS} s: the file has {', '.join(parts)}",
            reason="too_short",
        )


def reaches_beyond(facts: Mapping[str, Any], start_seconds: float | None, end_seconds: float | None) -> bool:
    """Whether an interval begins before its file does or ends after it, by more than encoders do."""
    starts = min(span[0] for span in _spans(facts))
    ends = max(span[1] for span in _spans(facts))
    early = start_seconds is not None and start_seconds < starts - _SLACK_SECONDS
    return early or (end_seconds is not None and end_seconds > ends + _SLACK_SECONDS)


def _spans(facts: Mapping[str, Any]) -> list[Span]:
    every = (_clamped(facts, stream, -math.inf, math.inf) for stream in ("video", "audio"))
    return [span for span in every if span is not None]


def _clamped(facts: Mapping[str, Any], stream: str, start: float, end: float) -> Span | None:
    low = max(facts[f"{stream}_start_seconds"], start)
    high = min(facts[f"{stream}_end_seconds"], end)
    return (low, high) if low < high else None
