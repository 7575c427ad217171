"""Embedded held-out clips → a few fixed pictures of them, each with the sounds that it retrieves."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import UInt8

from avmi.config.views import AudioView, FrameView
from avmi.decode.clip import Waveform
from avmi.index import FoundClips, Hit
from avmi.training.watching.evaluation import Embedded
from avmi.training.watching.held_out_clips import HeldOutClip, spread
from avmi.views.graph import ViewGraph

SHOWN_HITS = 3  # sounds that are shown of each picture: they fit the width of a screen
# A picture of all examples; and of each example its own sound and those of its hits, None where one cannot be read.
ExampleSheet = tuple[UInt8[np.ndarray, "height width 3"], list[list[Waveform | None]]]
DrawExamples = Callable[[Sequence[FoundClips]], ExampleSheet]


def choose_queries(clips: Sequence[HeldOutClip], rows: Sequence[int], *, number: int) -> list[int]:
    """Choose, among `rows` of the held-out clips, those that are looked at all through the run.

    They are of different labels, as far as there are labels, and these are spread over all of them in alphabetical
    order; of a label that is shown several times the clips are spread, too. The same clips give the same choice.
    """
    of_label: dict[str, list[int]] = {}
    for row in rows:
        of_label.setdefault(clips[row].label, []).append(row)
    labels = sorted(of_label)
    shown = [labels[place] for place in spread(len(labels), number)]
    chosen: list[int] = []
    for place, label in enumerate(shown):
        of_this = number // len(shown) + (place < number % len(shown))
        chosen += [of_label[label][n] for n in _inner(len(of_label[label]), of_this)]
    return chosen


def find_examples(
    embedded: Embedded, clips: Sequence[HeldOutClip], graph: ViewGraph, *, queries: Sequence[int]
) -> list[FoundClips]:
    """Search the held-out sounds for each of some held-out pictures, as `avmi retrieve` would.

    The graph has retrieval views. A clip that lacks one of them is no query and is not found.
    """
    assert graph.retrieval_views is not None
    picture, sound = graph.retrieval_views
    present = embedded.joined.present
    gallery = (present[picture] & present[sound]).nonzero().flatten().tolist()
    vectors = embedded.joined.embeddings
    sounds = vectors[sound][gallery].flatten(1)
    found = []
    for query in queries:
        if query not in gallery:
            continue
        scores = sounds @ vectors[picture][query].flatten()
        order = torch.argsort(scores, descending=True, stable=True).tolist()
        hits = [
            _sound_hit(clips[gallery[place]], graph, sound, rank=rank, score=float(scores[place]))
            for rank, place in enumerate(order, start=1)
        ]
        own = hits[order.index(gallery.index(query))]
        found.append(
            FoundClips(
                _picture_hit(clips[query], graph, picture), own, tuple(hits[:SHOWN_HITS]), len(gallery)
            )
        )
    return found


def _inner(total: int, number: int) -> list[int]:
    """Spread over the middles of `number` equal parts: a single one stands in the middle."""
    number = min(total, number)
    return [(2 * n + 1) * total // (2 * number) for n in range(number)]


def _picture_hit(clip: HeldOutClip, graph: ViewGraph, name: str) -> Hit:
    view = graph.signals[name]
    assert isinstance(view, FrameView)
    seconds = clip.anchor_seconds + view.at_seconds
    return Hit(1, 1.0, clip.video, seconds, seconds, clip.label, clip.clip_id, "valid")


def _sound_hit(clip: HeldOutClip, graph: ViewGraph, name: str, *, rank: int, score: float) -> Hit:
    view = graph.signals[name]
    assert isinstance(view, AudioView)
    start = clip.anchor_seconds + view.at_seconds
    end = start + view.window_seconds
    return Hit(rank, score, clip.video, start, end, clip.label, clip.clip_id, "valid")
