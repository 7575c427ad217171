"""An embedder and a corpus → rows of the embedding table."""

import dataclasses
from pathlib import Path

import pytest
import torch

from avmi.corpus.manifest import Manifest, read_manifest
from avmi.embedder import ClipVectors, Embedder, load
from avmi.embedding_rows import EmbeddingRows
from avmi.errors import CorpusError
from avmi.index.table import EmbeddingRow


@pytest.fixture(scope="module")
def model(tiny_checkpoint: Path) -> Embedder:
    return load(tiny_checkpoint)


@pytest.fixture(scope="module")
def manifest(tiny_corpus: Path) -> Manifest:
    return read_manifest(tiny_corpus)


def collected(rows: EmbeddingRows) -> tuple[list[EmbeddingRow], torch.Tensor]:
    batches = list(rows)
    return [row for batch, _ in batches for row in batch], torch.cat([vectors for _, vectors in batches])


def test_every_clip_gives_a_picture_and_a_sound_with_their_intervals(
    model: Embedder, manifest: Manifest
) -> None:
    found, vectors = collected(EmbeddingRows(model, manifest, "test"))
    wanted = ClipVectors.join(model.embed_manifest(manifest.split("test")))
    assert len(found) == len(vectors) == 2 * len(wanted.specs) == 12

    by_kind = {kind: [n for n, row in enumerate(found) if row.kind == kind] for kind in ("image", "audio")}
    torch.testing.assert_close(vectors[by_kind["image"]], wanted.image)
    torch.testing.assert_close(vectors[by_kind["audio"]], wanted.audio)
    for kind, numbers in by_kind.items():
        for spec, row in zip(wanted.specs, (found[n] for n in numbers), strict=True):
            # The picture is half a second after the anchor, the sound lasts a second from it.
            start, end = (0.5, 0.5) if kind == "image" else (0.0, 1.0)
            assert row == EmbeddingRow(
                clip_id=spec.clip_id,
                video=spec.video.path,
                start_seconds=round(spec.anchor_seconds + start, 6),
                end_seconds=round(spec.anchor_seconds + end, 6),
                split="test",
                label=spec.video.path.split("/")[0],
                kind=kind,
            )


@pytest.mark.parametrize(("split", "videos"), [("train", 9), ("valid", 3), ("all", 15)])
def test_a_split_or_all_of_them_are_embedded(model: Embedder, manifest: Manifest, split, videos: int) -> None:
    found, _ = collected(EmbeddingRows(model, manifest, split))
    assert len({row.video for row in found}) == videos
    assert {row.split for row in found} == ({"train", "valid", "test"} if split == "all" else {split})


def test_videos_that_cannot_be_read_are_named_afterwards(model: Embedder, manifest: Manifest) -> None:
    lost = dataclasses.replace(manifest.split("test").videos[0], path="lost.mp4")
    changed = dataclasses.replace(manifest, videos=(*manifest.split("test").videos[1:], lost))
    rows = EmbeddingRows(model, changed, "test")
    found, _ = collected(rows)
    assert len({row.video for row in found}) == 2
    assert [reject.path for reject in rows.rejects] == ["lost.mp4"]


def test_the_table_says_what_made_it(model: Embedder, manifest: Manifest, tiny_corpus: Path) -> None:
    provenance = EmbeddingRows(model, manifest, "test").provenance
    assert provenance.model_hash == model.model_hash
    assert provenance.checkpoint == str(model.checkpoint.folder.resolve())
    assert provenance.corpus == str(tiny_corpus.resolve())
    assert provenance.views == ("image", "sound")


def test_an_empty_split_is_refused_at_once(model: Embedder, manifest: Manifest) -> None:
    only_train = manifest.split("train")
    with pytest.raises(CorpusError, match="no video is in the test split"):
        EmbeddingRows(model, only_train, "test")
