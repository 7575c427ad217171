"""Held-out clips → the fixed queries among them, and what they retrieve: as an index would find it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from avmi.objective.joined import Joined
from avmi.training.watching.evaluation import Embedded
from avmi.training.watching.examples import choose_queries, find_examples
from avmi.training.watching.held_out_clips import HeldOutClip
from avmi.views.graph import ViewGraph, graph_of


def clips_of(labels: str) -> list[HeldOutClip]:
    return [HeldOutClip(f"v{n}@0", f"{n}.mp4", label, n / 2, None) for n, label in enumerate(labels)]


def test_queries_are_of_different_labels_spread_over_all_of_them() -> None:
    clips = clips_of("aaabbbcccdddeee")
    rows = range(len(clips))
    assert choose_queries(clips, rows, number=3) == [1, 7, 13]
    assert [clips[row].label for row in choose_queries(clips, rows, number=5)] == list("abcde")
    assert choose_queries(clips, rows, number=7) == [0, 2, 3, 5, 7, 10, 13]


def test_without_labels_queries_are_spread_over_the_clips_and_each_is_one_once() -> None:
    assert choose_queries(clips_of(" " * 12), range(12), number=3) == [2, 6, 10]
    assert choose_queries(clips_of("  "), range(2), number=4) == [0, 1]
    assert choose_queries([], [], number=4) == []


@pytest.fixture
def graph(tiny_config: Any, tmp_path: Path) -> ViewGraph:
    return graph_of(tiny_config(tmp_path, tmp_path / "run"))


def test_a_picture_finds_the_sounds_with_the_largest_cosines_and_its_own_at_its_rank(
    graph: ViewGraph,
) -> None:
    clips, dim = 9, 5
    generator = torch.Generator().manual_seed(4)
    views = {
        name: normalize(torch.randn(clips, 1, dim, generator=generator), dim=-1)
        for name in ("image", "sound")
    }
    there = torch.ones(clips, dtype=torch.bool)
    present = {"image": there, "sound": there.clone()}
    present["sound"][3] = False
    numbers = torch.arange(clips)
    embedded = Embedded(Joined(views, present, numbers, numbers / 2), ("",) * clips)
    held_out = clips_of("abcabcabc")
    first, last = find_examples(embedded, held_out, graph, queries=[1, 3, 8])  # the fourth lacks its sound
    assert (first.query.clip_id, last.query.clip_id) == ("v1@0", "v8@0")
    scores = {n: float(views["image"][1, 0] @ views["sound"][n, 0]) for n in range(clips) if n != 3}
    order = sorted(scores, key=lambda n: -scores[n])
    assert [hit.clip_id for hit in first.best] == [f"v{n}@0" for n in order[:3]]
    assert [hit.rank for hit in first.best] == [1, 2, 3]
    assert [hit.score for hit in first.best] == pytest.approx([scores[n] for n in order[:3]], abs=1e-6)
    assert (first.own.clip_id, first.own.rank, first.gallery) == ("v1@0", order.index(1) + 1, 8)
    # The picture is at 0.5 s of the clip, the sound is its first second.
    assert (first.query.start_seconds, first.query.end_seconds) == (1.0, 1.0)
    assert (first.own.start_seconds, first.own.end_seconds) == (0.5, 1.5)
    assert (first.best[0].label, first.best[0].video) == ("abcabcabc"[order[0]], f"{order[0]}.mp4")
