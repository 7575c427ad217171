"""How many pictures a video has and which are keyframes → the few on which other ways of decoding are proved."""

import numpy as np
from jaxtyping import Int

# Pictures further behind their keyframe cost more to decode than the rest of `prepare` takes.
_NEAR_KEY = 16


def jump_places(count: int, keys: Int[np.ndarray, "_"]) -> tuple[int, int, int]:
    """Choose pictures that make a decoder jump, in this order: to the end, back to the middle, to the start.

    `keys` are the ascending numbers of the keyframes, in the order of the screen. Late ones are chosen behind their
    keyframe, so that it alone is not enough.
    """
    middle, final = _middle_and_final(count, keys)
    latest = max(count - 2, 0)
    return min(final + 2, latest), min(middle + 1, latest), 0


def proof_places(count: int, keys: Int[np.ndarray, "_"]) -> list[int]:
    """Choose the pictures to be compared: those of the jumps, and what lies before a keyframe.

    Before a keyframe an open group leads into it, and the last picture ends the file; in long groups these cost too
    much to look at.
    """
    places = set(jump_places(count, keys))
    starts = np.append(0, keys)
    for place in (*(key - 1 for key in _middle_and_final(count, keys)), count - 1):
        start = int(starts[max(int(np.searchsorted(starts, place, side="right")) - 1, 0)])
        if place - start < _NEAR_KEY:
            places.add(place)
    return sorted(place for place in places if 0 <= place < count)


def _middle_and_final(count: int, keys: Int[np.ndarray, "_"]) -> tuple[int, int]:
    if not len(keys):
        return count // 2, count // 2
    middle = keys[int(np.argmin(np.abs(keys - (count - 1) / 2)))]
    return int(middle), int(keys[-1])
