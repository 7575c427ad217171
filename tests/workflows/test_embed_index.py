from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from avmi.corpus.manifest import read_manifest
from avmi.embedder import load
from avmi.errors import CorpusError
from avmi.index import Index, read_embeddings
from avmi.workflows.embed import embed
from avmi.workflows.index import index
from avmi.workflows.pretrain import pretrain


@pytest.fixture(scope="module")
def pretrained(tiny_corpus, tiny_config, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("embed") / "pretrain"
    pretrain(tiny_config(tiny_corpus, run))
    return run


def test_the_table_holds_a_picture_and_a_sound_of_each_clip(pretrained, tiny_corpus, tmp_path) -> None:
    out = tmp_path / "table.parquet"
    result = embed(pretrained, tiny_corpus, out=out)
    table = pq.read_table(out)
    assert result.as_json()["embeddings"] == {"audio": 30, "image": 30}
    assert table.num_rows == 60
    for row in table.select(["kind", "start_seconds", "end_seconds"]).to_pylist():
        length = row["end_seconds"] - row["start_seconds"]
        assert length == pytest.approx(1.0 if row["kind"] == "audio" else 0.0)
    model = load(pretrained)
    parts = list(model.embed_manifest(read_manifest(tiny_corpus)))
    by_clip = {s.clip_id: v for part in parts for s, v in zip(part.specs, part.audio, strict=True)}
    written = read_embeddings(out)
    for row, vector in zip(written.rows(), written.vectors, strict=True):
        if row.kind == "audio":
            torch.testing.assert_close(vector, by_clip[row.clip_id], atol=1e-6, rtol=0)


def test_a_split_is_embedded_alone(pretrained, tiny_corpus, tmp_path) -> None:
    out = tmp_path / "table.parquet"
    embed(pretrained, tiny_corpus, out=out, split="valid")
    assert set(pq.read_table(out)["split"].to_pylist()) == {"valid"}


def test_every_clip_finds_itself_in_the_index(pretrained, tiny_corpus, tmp_path) -> None:
    made = index(pretrained, tiny_corpus, out=tmp_path / "index", split="test", workers=1)
    assert made.as_json()["embeddings"] == {"audio": 6, "image": 6}
    found = Index.open(tmp_path / "index", model_hash=load(pretrained).model_hash)
    part = next(load(pretrained).embed_manifest(read_manifest(tiny_corpus).split("test")))
    for kind in ("image", "audio"):
        hits = found.search(getattr(part, kind), k=1, kind=kind)
        assert [h[0].score for h in hits] == pytest.approx([1.0] * len(hits), abs=1e-5)


def test_an_empty_split_is_refused_and_nothing_is_written(pretrained, tiny_config, tmp_path) -> None:
    from corpora import make_corpus

    corpus = make_corpus(tmp_path / "made", splits=("train",), seconds=1.5)
    with pytest.raises(CorpusError, match="no video is in the test split"):
        index(pretrained, corpus, out=tmp_path / "index", split="test")
    assert not (tmp_path / "index").exists()
