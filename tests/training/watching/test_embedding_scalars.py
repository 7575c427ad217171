"""Embeddings of a batch → scalars, against the pure functions on the clips that have the views."""

from pathlib import Path
from typing import Any

import pytest
import torch
from rows import video_row
from torch import Tensor
from torch.nn.functional import normalize

from avmi.corpus.plan import ClipSpec
from avmi.data import Batch
from avmi.mi.diagnostics import alignment, effective_rank, embedding_deviation, uniformity
from avmi.training.watching.embedding_scalars import MOST_ROWS, scalars_of_batch, scalars_of_embeddings
from avmi.views.graph import ViewGraph, graph_of

VIEWS: dict[str, Any] = {
    "image": {"kind": "frame"},
    "sound": {"kind": "audio", "window_seconds": 0.5},
    "late": {"kind": "audio", "at_seconds": 2.0, "window_seconds": 0.5},
    "image_mid": {"kind": "feature", "of": "image", "layer": "stage3", "grid": 2},
}


def unit(*shape: int, seed: int) -> Tensor:
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@pytest.fixture
def graph(tiny_config: Any, tmp_path: Path) -> ViewGraph:
    return graph_of(tiny_config(tmp_path, tmp_path / "run", views=VIEWS))


def batch_of(clips: int, late: list[int]) -> Batch:
    spec = ClipSpec(video_row("a.mp4"), 0.0, ("image",), (0.0,), None)
    everywhere = torch.arange(clips)
    rows = {"image": everywhere, "sound": everywhere, "late": torch.tensor(late)}
    return Batch({}, rows, everywhere, everywhere * 1.0, (spec,) * clips)


def test_pairs_and_views_have_the_numbers_of_the_clips_that_have_them(graph: ViewGraph) -> None:
    embeddings = {
        "image": unit(5, 6, seed=0).requires_grad_(),
        "sound": unit(5, 6, seed=1),
        "late": unit(3, 6, seed=2),
        "image_mid": unit(5, 2, 2, 6, seed=3),
    }
    found = scalars_of_batch(embeddings, batch_of(5, late=[4, 0, 2]), graph)
    assert all(isinstance(value, float) for value in found.values())
    image, late = embeddings["image"].detach(), embeddings["late"]
    assert found["alignment/image~late"] == pytest.approx(float(alignment(image[[4, 0, 2]], late)))
    assert found["uniformity/late"] == pytest.approx(float(uniformity(late)))
    assert found["effective_rank/image"] == pytest.approx(float(effective_rank(image)), abs=1e-5)
    places = embeddings["image_mid"].reshape(20, 6)
    assert found["embedding_deviation/image_mid"] == pytest.approx(float(embedding_deviation(places)))
    means = embeddings["image_mid"].reshape(5, 4, 6).mean(dim=1)
    assert found[
        "alignment/sound~image_mid" if "alignment/sound~image_mid" in found else "alignment/image_mid~sound"
    ] == (pytest.approx(float(alignment(means, embeddings["sound"]))))
    assert found["uniform_deviation"] == pytest.approx(6**-0.5)


def test_a_view_that_one_clip_has_and_a_view_that_none_has_are_left_out(graph: ViewGraph) -> None:
    embeddings = {"image": unit(4, 6, seed=0), "late": unit(1, 6, seed=1)}
    found = scalars_of_batch(embeddings, batch_of(4, late=[2]), graph)
    assert {name for name in found if "late" in name} == {"alignment/image~late"}
    assert not any("sound" in name for name in found)


def test_of_many_rows_as_many_are_looked_at_as_a_record_may_cost() -> None:
    rows = unit(3 * MOST_ROWS, 1, 4, seed=0)
    present = {"a": torch.ones(len(rows), dtype=torch.bool)}
    found = scalars_of_embeddings({"a": rows}, present, pairs=())
    kept = rows[torch.linspace(0, len(rows) - 1, MOST_ROWS).round().long(), 0]
    assert found["uniformity/a"] == pytest.approx(float(uniformity(kept)))


def test_what_is_no_number_stays_none_and_stops_nothing(graph: ViewGraph) -> None:
    broken = torch.full((4, 6), float("nan"))
    found = scalars_of_batch({"image": broken, "sound": broken}, batch_of(4, late=[0]), graph)
    assert found["effective_rank/image"] != found["effective_rank/image"]
