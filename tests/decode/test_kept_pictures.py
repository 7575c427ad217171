"""What a scan has decoded from keyframes is what a decode from the start gives."""

import av
import numpy as np
import pytest
from truth import TRUTH_FILES

from avmi.corpus.proof_places import jump_places, proof_places
from avmi.corpus.scan import scan
from avmi.errors import DecodeError


def straight(path, places):
    """Decode everything; return the pictures of these numbers in the order of the screen."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        frames = sorted(container.decode(stream), key=lambda frame: frame.pts)
        return [frames[place].to_ndarray(format="rgb24") for place in places]


@pytest.mark.parametrize("name", sorted(TRUTH_FILES))
def test_kept_pictures_are_those_of_a_decode_from_the_start(name, truth_of):
    path = truth_of(name).path
    try:
        found = scan(path, needs="picture")
    except DecodeError as error:
        pytest.skip(f"unusable: {error.reason}")
    kept = found.kept_pictures
    if not kept:  # its decoding does not begin at keyframes, or is by the order
        return
    keys = np.searchsorted(found.times_seconds, found.key_seconds)
    assert sorted(kept) == proof_places(len(found.times_seconds), keys)
    for place, true in zip(kept, straight(path, kept), strict=True):
        assert np.array_equal(kept[place].to_ndarray(format="rgb24"), true), place


def test_pictures_are_kept_of_most_files(truth_of):
    names = ("plain", "B-frames", "mkv AAC", "webm", "HEVC", "flv", "open GOP")
    assert [name for name in names if not scan(truth_of(name).path).kept_pictures] == []


@pytest.mark.parametrize(
    ("count", "keys", "jumps", "places"),
    [
        (100, [0, 25, 50, 75], (77, 51, 0), [0, 51, 77]),
        (100, [0, 10, 52, 90], (92, 53, 0), [0, 53, 92, 99]),  # 51 and 89 are far behind their keyframes
        (64, [0, 12, 24, 36, 48, 60], (62, 37, 0), [0, 35, 37, 59, 62, 63]),
        (40, [0], (2, 1, 0), [0, 1, 2]),
        (40, [], (22, 21, 0), [0, 21, 22]),
        (3, [0, 2], (1, 1, 0), [0, 1, 2]),
        (1, [0], (0, 0, 0), [0]),
    ],
)
def test_places_lie_behind_a_middle_and_the_last_keyframe_and_just_before_them(count, keys, jumps, places):
    assert jump_places(count, np.array(keys, int)) == jumps
    assert proof_places(count, np.array(keys, int)) == places
