"""Exact search against a sort in float64; ties, one hit per video, and every way an index can be unfit."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

import avmi.index
from avmi.errors import InputError, SearchIndexError
from avmi.index import EmbeddingRow, Hit, Index, Provenance, write_index

PROVENANCE = Provenance(
    model_hash="a1b2", checkpoint="checkpoints/run", corpus="corpora/games", views=("image", "sound")
)


def unit(rows: int, dim: int, *, seed: int = 0) -> Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def rows_of(number: int, *, kind: str = "audio", videos: int = 7) -> list[EmbeddingRow]:
    return [
        EmbeddingRow(
            clip_id=f"{kind}{(n * 37) % number:04d}",  # not the order of the rows
            video=f"video {n % videos}.mp4",
            start_seconds=float(n),
            end_seconds=n + 1.6,
            split="test",
            label=f"label {n % 3}",
            kind=kind,
        )
        for n in range(number)
    ]


def made(path: Path, *, dim: int = 8) -> tuple[Index, list[EmbeddingRow], Tensor]:
    """An index of 61 sounds and 11 pictures; gives the sounds."""
    rows, vectors = rows_of(61), unit(61, dim)
    write_index(
        path, [(rows, vectors), (rows_of(11, kind="image"), unit(11, dim, seed=1))], provenance=PROVENANCE
    )
    return Index.open(path), rows, vectors


def test_hits_equal_a_sort_in_float64(tmp_path: Path) -> None:
    index, rows, vectors = made(tmp_path / "index")
    queries = unit(5, 8, seed=2)
    found = index.search(queries, k=9)
    for query, hits in zip(queries, found, strict=True):
        scores = vectors.double() @ query.double()
        order = scores.argsort(descending=True)[:9].tolist()
        assert [hit.clip_id for hit in hits] == [rows[n].clip_id for n in order]
        assert [hit.score for hit in hits] == pytest.approx(scores[order].tolist(), abs=1e-9)
        assert [hit.rank for hit in hits] == list(range(1, 10))
        assert [(hit.video, hit.start_seconds, hit.end_seconds, hit.label, hit.split) for hit in hits] == [
            (rows[n].video, rows[n].start_seconds, rows[n].end_seconds, rows[n].label, "test") for n in order
        ]


def test_kinds_are_searched_apart(tmp_path: Path) -> None:
    index, _, _ = made(tmp_path / "index")
    pictures = index.search(unit(11, 8, seed=1)[:1], k=100, kind="image")[0]
    assert len(pictures) == 11
    assert (pictures[0].clip_id, pictures[0].score) == ("image0000", pytest.approx(1.0))
    assert all(hit.clip_id.startswith("image") for hit in pictures)


def test_one_per_video_keeps_the_best_clip_of_each(tmp_path: Path) -> None:
    index, _, _ = made(tmp_path / "index")
    queries = unit(4, 8, seed=3)
    for k in (1, 4, 7, 50):
        for every, once in zip(
            index.search(queries, k=61), index.search(queries, k=k, one_per_video=True), strict=True
        ):
            best = {hit.video: hit for hit in reversed(every)}
            expected = sorted(best.values(), key=lambda hit: hit.rank)[:k]
            assert [hit.clip_id for hit in once] == [hit.clip_id for hit in expected]
            assert [hit.rank for hit in once] == list(range(1, min(k, 7) + 1))


def test_equal_scores_stand_in_the_order_of_clip_ids_for_every_k(tmp_path: Path) -> None:
    rows = rows_of(60)
    vectors = unit(2, 33, seed=4)[(torch.arange(60) % 3 == 0).long()]
    write_index(tmp_path / "index", [(rows, vectors)], provenance=PROVENANCE)
    index = Index.open(tmp_path / "index")
    query = vectors[:1]
    near = sorted(row.clip_id for row, n in zip(rows, range(60), strict=True) if n % 3 == 0)
    far = sorted(row.clip_id for row, n in zip(rows, range(60), strict=True) if n % 3)
    for k in (1, 7, 20, 21, 60):
        assert [hit.clip_id for hit in index.search(query, k=k)[0]] == (near + far)[:k]
    alone, among = index.search(query, k=5)[0], index.search(vectors[:50], k=5)[0]
    assert alone == among


def test_scores_nearer_than_float32_can_tell_are_ordered_in_float64(tmp_path: Path) -> None:
    rows, query = rows_of(300), unit(1, 200, seed=6)
    vectors = query + 1e-6 * unit(300, 200, seed=7)
    write_index(tmp_path / "index", [(rows, vectors)], provenance=PROVENANCE)
    scores = (vectors.double() @ query[0].double()).round(decimals=9).tolist()
    expected = [
        row.clip_id for _, row in sorted(zip(scores, rows, strict=True), key=lambda p: (-p[0], p[1].clip_id))
    ]
    index = Index.open(tmp_path / "index")
    for k in (1, 3, 10, 40):
        assert [hit.clip_id for hit in index.search(query, k=k)[0]] == expected[:k]


def test_small_chunks_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, _, _ = made(tmp_path / "index")
    queries = unit(9, 8, seed=5)
    whole = index.search(queries, k=6), index.search(queries, k=6, one_per_video=True)
    monkeypatch.setattr("avmi.index.exact.CHUNK_SCORES", 130)  # two queries at a time
    monkeypatch.setattr("avmi.index.exact.EXACT_ROWS", 2)
    assert (index.search(queries, k=6), index.search(queries, k=6, one_per_video=True)) == whole


def test_a_k_beyond_the_index_gives_all_of_it(tmp_path: Path) -> None:
    index, rows, _ = made(tmp_path / "index")
    hits = index.search(unit(2, 8), k=1000)
    assert [len({hit.clip_id for hit in found}) for found in hits] == [len(rows)] * 2


def test_no_query_gives_no_hits(tmp_path: Path) -> None:
    index, _, _ = made(tmp_path / "index")
    assert index.search(torch.empty(0, 8), k=3) == []


def test_a_hit_prints_what_retrieve_promises() -> None:
    hit = Hit(
        rank=1,
        score=0.5,
        video="a.mp4",
        start_seconds=1.0,
        end_seconds=3.0,
        label="pong",
        clip_id="x@1000",
        split="test",
    )
    assert json.dumps(hit.as_json()) == (
        '{"rank": 1, "score": 0.5, "video": "a.mp4", "start_seconds": 1.0, "end_seconds": 3.0, "label": "pong"}'
    )


def test_an_index_tells_what_it_holds_and_who_made_it(tmp_path: Path) -> None:
    index, _, _ = made(tmp_path / "index")
    info = index.info()
    assert index.count() == 72
    assert info.counts == {"audio": 61, "image": 11}
    assert (info.dim, info.model_hash, info.checkpoint) == (8, "a1b2", "checkpoints/run")
    assert (info.corpus, info.views) == ("corpora/games", ("image", "sound"))
    assert sorted(path.name for path in (tmp_path / "index").iterdir()) == ["embeddings.parquet", "info.json"]
    on_disk = json.loads((tmp_path / "index" / "info.json").read_text())
    assert on_disk["counts"] == {"audio": 61, "image": 11}
    assert on_disk["format_version"] == 1


def test_a_finished_index_replaces_the_old_one_and_a_failed_one_does_not(tmp_path: Path) -> None:
    path = tmp_path / "index"
    made(path)

    def broken() -> Iterator[tuple[list[EmbeddingRow], Tensor]]:
        yield rows_of(5), unit(5, 8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_index(path, broken(), provenance=PROVENANCE)
    with pytest.raises(InputError, match="no embedding"):
        write_index(path, [], provenance=PROVENANCE)
    assert Index.open(path).count() == 72
    write_index(path, [(rows_of(5), unit(5, 8))], provenance=PROVENANCE)
    assert Index.open(path).count() == 5
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_folder_is_taken_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    empty, full, file = tmp_path / "empty", tmp_path / "full", tmp_path / "file"
    empty.mkdir()
    full.mkdir()
    (full / "precious.txt").write_text("mine")
    file.write_text("mine")
    batch = (rows_of(5), unit(5, 8))
    write_index(empty, [batch], provenance=PROVENANCE)
    assert Index.open(empty).count() == 5
    for path in (full, file):
        with pytest.raises(SearchIndexError, match="exists and is no index"):
            write_index(path, [batch], provenance=PROVENANCE)
    with pytest.raises(SearchIndexError, match="cannot write"):
        write_index(file / "index", [batch], provenance=PROVENANCE)
    assert (full / "precious.txt").read_text() == file.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "full"]


def test_missing_foreign_and_broken_folders_are_errors(tmp_path: Path) -> None:
    with pytest.raises(SearchIndexError, match="is no folder"):
        Index.open(tmp_path / "nowhere")
    with pytest.raises(SearchIndexError, match="is not an index"):
        Index.open(tmp_path)
    path = tmp_path / "index"
    made(path)
    info, table = path / "info.json", path / "embeddings.parquet"
    whole, text = table.read_bytes(), info.read_text()
    for wrong in ("", "[]", "{}", text.replace('"dim"', '"dims"')):
        info.write_text(wrong)
        with pytest.raises(SearchIndexError, match="is not an index"):
            Index.open(path)
    info.write_text(text.replace('"audio": 61', '"audio": 60'))
    with pytest.raises(SearchIndexError, match=r"is broken: info\.json says"):
        Index.open(path)
    info.write_text(text)
    table.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(SearchIndexError, match=r"is broken: .*embeddings\.parquet"):
        Index.open(path)
    table.unlink()
    with pytest.raises(SearchIndexError, match=r"is broken: .*does not exist"):
        Index.open(path)


def test_an_index_of_another_version_is_an_error_that_names_both(tmp_path: Path) -> None:
    path = tmp_path / "index"
    made(path)
    info = path / "info.json"
    info.write_text(info.read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(SearchIndexError, match="format 2, this avmi reads 1"):
        Index.open(path)


def test_an_index_without_rows_is_an_error(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    path = tmp_path / "index"
    made(path)
    table = pq.read_table(path / "embeddings.parquet")
    pq.write_table(table.slice(0, 0), path / "embeddings.parquet")
    with pytest.raises(SearchIndexError, match="is empty"):
        Index.open(path)


def test_the_index_of_another_model_is_an_error_that_names_both(tmp_path: Path) -> None:
    path = tmp_path / "index"
    made(path)
    assert Index.open(path, model_hash="a1b2").count() == 72
    with pytest.raises(SearchIndexError, match=r"a1b2 .*c3d4"):
        Index.open(path, model_hash="c3d4")


def test_queries_that_do_not_fit_are_errors(tmp_path: Path) -> None:
    index, _, _ = made(tmp_path / "index")
    with pytest.raises(SearchIndexError, match="length 5, the index 8"):
        index.search(unit(3, 5), k=2)
    for k in (0, -4):
        with pytest.raises(InputError, match=f"at least 1, got {k}"):
            index.search(unit(3, 8), k=k)
    for wrong in (2.0, float("nan")):
        with pytest.raises(InputError, match="length 1"):
            index.search(unit(3, 8) * wrong, k=2)


def test_a_kind_that_the_index_does_not_hold_is_an_error(tmp_path: Path) -> None:
    write_index(tmp_path / "index", [(rows_of(5), unit(5, 8))], provenance=PROVENANCE)
    with pytest.raises(SearchIndexError, match="holds no image"):
        Index.open(tmp_path / "index").search(unit(1, 8), k=1, kind="image")


def test_the_package_offers_the_index_by_name() -> None:
    assert avmi.index.Index is Index
