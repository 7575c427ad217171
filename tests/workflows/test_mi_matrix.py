"""A checkpoint and a corpus → the bounds of every two views, against the embeddings of an evaluation."""

import dataclasses
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from corpora import make_corpus, untrained_checkpoint

from avmi.corpus.manifest import read_manifest
from avmi.embedder import load
from avmi.errors import CorpusError
from avmi.mi.view_matrix import bound_of_views
from avmi.workflows.mi_matrix import mi_matrix

VIEWS: dict[str, Any] = {
    "image": {"kind": "frame", "at_seconds": 0.5},
    "sound": {"kind": "audio", "window_seconds": 1.0},
    "late": {"kind": "audio", "at_seconds": 1.5, "window_seconds": 1.0},
    "middle": {"kind": "feature", "of": "image", "layer": "stage3", "grid": 2},
}
PAIRS = [{"views": ["image", "sound"]}, {"views": ["middle", "late"]}]


@pytest.fixture(scope="module")
def checkpoint(tiny_corpus: Path, tiny_config: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matrix")
    config = tiny_config(tiny_corpus, folder / "run", views=VIEWS, pairs=PAIRS)
    return untrained_checkpoint(folder / "checkpoint", config)


def test_every_two_views_have_a_cell_and_the_pairs_of_the_graph_are_marked(
    checkpoint: Path, tiny_corpus: Path, tmp_path: Path
) -> None:
    result = mi_matrix(
        checkpoint, tiny_corpus, split="train", report=tmp_path / "m.html", plot=tmp_path / "m.png"
    )
    found = result.as_json()
    json.dumps(found)
    assert [tuple(cell["views"]) for cell in found["cells"]] == list(combinations(VIEWS, 2))
    assert {tuple(cell["views"]) for cell in found["cells"] if cell["trained"]} == {
        ("image", "sound"),
        ("late", "middle"),
    }
    assert (found["videos"], found["missing"]) == (9, [])
    for cell in found["cells"]:
        assert cell["clips"] == found["clips"] == 18 - 9  # one clip a second: videos of 3 s hold one of 2.5 s
        low, high = cell["interval"]
        assert low <= cell["bound_nats"] <= high
        assert cell["bound_nats"] <= cell["cosine_ceiling_nats"] + 1e-6 <= cell["ceiling_nats"] + 2e-6
        assert cell["kind"] == "lower"
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG")
    assert "image ~ late" in (tmp_path / "m.html").read_text()
    text = result.as_text()
    assert "9 clips of 9 videos of train" in text
    assert text.count("not trained as a pair") == 4


def test_the_cell_of_a_pair_is_that_of_its_embeddings(checkpoint: Path, tiny_corpus: Path) -> None:
    cells = mi_matrix(checkpoint, tiny_corpus, split="train").as_json()["cells"]
    (cell,) = [cell for cell in cells if cell["views"] == ["image", "sound"]]
    model, manifest = load(checkpoint), read_manifest(tiny_corpus).split("train")
    from avmi.workflows.mi_matrix import _clips

    names = ("image", "sound")
    specs = [dataclasses.replace(spec, views=names) for spec in _clips(model, manifest)]
    parts = list(model.embed_clips(manifest, specs, views=names))
    image, sound = (
        torch.cat([getattr(part, side) for part in parts])[:, None] for side in ("image", "audio")
    )
    everywhere = torch.ones(len(image), dtype=torch.bool)
    alone = bound_of_views(image, sound, present=everywhere, videos=torch.arange(len(image)))
    assert cell["bound_nats"] == pytest.approx(alone.value_nats, abs=1e-4)


def test_a_split_with_one_video_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path, labels=("red",), splits=("train", "test"))
    with pytest.raises(
        CorpusError, match=r"fewer than two videos of the test split .* negatives are other videos"
    ):
        mi_matrix(checkpoint, corpus)


def test_views_that_no_video_holds_together_are_read_where_they_are(
    tiny_corpus: Path, tiny_config: Any, tmp_path: Path
) -> None:
    views = VIEWS | {"late": {"kind": "audio", "at_seconds": 9.0, "window_seconds": 1.0}}
    config = tiny_config(tiny_corpus, tmp_path / "run", views=views, pairs=PAIRS)
    found = mi_matrix(untrained_checkpoint(tmp_path / "c", config), tiny_corpus, split="train").as_json()
    assert [tuple(cell["views"]) for cell in found["cells"]] == [
        ("image", "sound"),
        ("image", "middle"),
        ("sound", "middle"),
    ]
