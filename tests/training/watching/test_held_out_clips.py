"""Held-out batches → what is known and to be seen of every clip, in the order in which evaluations have them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rows import video_row

from avmi.corpus.plan import ClipSpec
from avmi.data import Batch
from avmi.training.watching import held_out_clips as module
from avmi.training.watching.evaluation import HeldOut
from avmi.training.watching.held_out_clips import (
    THUMBNAIL_PX,
    HeldOutClip,
    gather_clips,
    picture_view,
    spread,
)
from avmi.views.graph import ViewGraph, graph_of

SIZE = 3 * THUMBNAIL_PX
SOUND = {"kind": "audio", "window_seconds": 0.5}
LATE = {"kind": "audio", "at_seconds": 1.0, "window_seconds": 0.5}
STACK = {"kind": "frame", "frames": 3}


@pytest.fixture
def graph_with(tiny_config: Any, tmp_path: Path) -> Any:
    def make(**views: Any) -> ViewGraph:
        return graph_of(tiny_config(tmp_path, tmp_path / "run", views=views, pairs="all"))

    return make


def batch_of(*colours: int, view: str, frames: int, rows: list[int], first: int) -> Batch:
    """Pictures of stripes 3 px wide: of frame f, colour + 10 f and twice 30 more, so that each shrinks to their mean."""
    stripes = (torch.arange(SIZE) % 3 > 0) * 30
    stacks = [
        torch.stack([(colours[row] + 10 * f + stripes).expand(3, SIZE, SIZE) for f in range(frames)]).flatten(
            0, 1
        )
        for row in rows
    ]
    names = [f"{first + n}.mp4" for n in range(len(colours))]
    specs = [
        ClipSpec(video_row(name, label=f"l{n}"), n / 2, (view,), (0.0,), None) for n, name in enumerate(names)
    ]
    clips = torch.arange(len(colours))
    return Batch(
        {view: torch.stack(stacks).to(torch.uint8)},
        {view: torch.tensor(rows)},
        first + clips,
        clips / 2,
        tuple(specs),
    )


def test_every_clip_is_described_with_the_middle_picture_of_its_own_moment(graph_with: Any) -> None:
    graph = graph_with(motion=STACK, sound=SOUND)
    batches = (
        batch_of(10, 60, 110, view="motion", frames=3, rows=[2, 0], first=0),
        batch_of(160, 190, view="motion", frames=3, rows=[0, 1], first=3),
    )
    clips = gather_clips(HeldOut(batches), graph, thumbnails=9)
    assert [(clip.video, clip.label, clip.anchor_seconds) for clip in clips] == [
        ("0.mp4", "l0", 0.0),
        ("1.mp4", "l1", 0.5),
        ("2.mp4", "l2", 1.0),
        ("3.mp4", "l0", 0.0),
        ("4.mp4", "l1", 0.5),
    ]
    assert clips[2].clip_id == batches[0].specs[2].clip_id
    assert clips[1].thumbnail is None  # it does not reach the view
    for clip, colour in ((clips[0], 10), (clips[2], 110), (clips[3], 160), (clips[4], 190)):
        assert clip.thumbnail is not None
        assert clip.thumbnail.shape == (THUMBNAIL_PX, THUMBNAIL_PX, 3)
        np.testing.assert_array_equal(clip.thumbnail, colour + 10 + 20)


def test_only_evenly_spread_clips_have_a_picture(graph_with: Any) -> None:
    graph = graph_with(image={"kind": "frame"}, sound=SOUND)
    batches = tuple(batch_of(0, 9, 18, view="image", frames=1, rows=[0, 1, 2], first=3 * n) for n in range(3))
    clips = gather_clips(HeldOut(batches), graph, thumbnails=4)
    assert [n for n, clip in enumerate(clips) if clip.thumbnail is not None] == spread(9, 4) == [0, 3, 5, 8]
    assert all(clip.thumbnail is None for clip in gather_clips(HeldOut(batches), graph, thumbnails=0))


def test_the_picture_of_a_moment_is_a_plain_still_where_there_is_one(graph_with: Any) -> None:
    changed = {"kind": "frame", "augment": "strong"}
    plain = graph_with(motion=STACK, changed=changed, image={"kind": "frame"}, sound=SOUND)
    assert picture_view(plain) == "image"
    assert picture_view(graph_with(changed=changed, motion=STACK, sound=SOUND)) == "motion"
    sounds = graph_with(sound=SOUND, late=LATE)
    assert picture_view(sounds) is None
    batch = batch_of(5, 7, view="sound", frames=1, rows=[0, 1], first=0)
    assert [clip.thumbnail for clip in gather_clips(HeldOut((batch,)), sounds, thumbnails=2)] == [None, None]


def test_a_process_describes_its_own_clips_and_knows_where_they_stand_among_all(
    graph_with: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = graph_with(image={"kind": "frame"}, sound=SOUND)
    batch = batch_of(40, 50, 60, 70, view="image", frames=1, rows=[0, 1, 2, 3], first=5)
    before = [HeldOutClip(f"v{n}@0", f"{n}.mp4", "", 0.0, None) for n in range(5)]
    monkeypatch.setattr(module, "rank", lambda: 1)
    monkeypatch.setattr(
        module, "gather_objects", lambda mine: [5, mine] if isinstance(mine, int) else [before, mine]
    )
    clips = gather_clips(HeldOut((batch,)), graph, thumbnails=4)
    assert [clip.video for clip in clips] == [f"{n}.mp4" for n in range(9)]
    # Of nine clips, numbers 0, 3, 5 and 8 are chosen; the last two are this process's first and last.
    assert [n for n, clip in enumerate(clips) if clip.thumbnail is not None] == [5, 8]
