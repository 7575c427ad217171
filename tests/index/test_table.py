"""The embedding table: what is written comes back, in row groups, whole or not at all."""

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from avmi.errors import InputError, UsageError
from avmi.index import EmbeddingRow, Provenance, read_embeddings, write_embeddings
from avmi.index.table import Contents

PROVENANCE = Provenance(
    model_hash="a1b2", checkpoint="checkpoints/run", corpus="corpora/games", views=("image", "sound")
)


def row(number: int, *, kind: str = "audio") -> EmbeddingRow:
    return EmbeddingRow(
        clip_id=f"v{number // 3}@{1000 * number}",
        video=f"played games/it's №{number // 3}.mp4",
        start_seconds=number / 3,
        end_seconds=number / 3 + 2.0,
        split="test",
        label="pong" if number % 2 else "",
        kind=kind,
    )


def unit(rows: int, dim: int, *, seed: int = 0) -> Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed)), dim=1)


def batches(sizes: list[int], *, dim: int = 6) -> Iterator[tuple[list[EmbeddingRow], Tensor]]:
    vectors, start = unit(sum(sizes), dim), 0
    for size in sizes:
        numbers = range(start, start + size)
        yield (
            [row(n, kind="image" if n % 5 == 0 else "audio") for n in numbers],
            vectors[start : start + size],
        )
        start += size


def test_rows_vectors_and_provenance_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "table.parquet"
    contents = write_embeddings(path, batches([4, 0, 7, 2]), provenance=PROVENANCE, row_group_rows=5)
    table = read_embeddings(path)
    expected = next(batches([13]))
    assert table.rows() == tuple(expected[0])
    assert table.row(7) == expected[0][7]
    assert torch.equal(table.vectors, expected[1])
    assert table.provenance == PROVENANCE
    assert contents == table.contents() == Contents(dim=6, counts={"audio": 10, "image": 3})
    assert [path.name] == [found.name for found in path.parent.iterdir()]


def test_row_groups_have_the_size_asked_for_whatever_the_batches(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_embeddings(path, batches([4, 7, 2, 13]), provenance=PROVENANCE, row_group_rows=5)
    metadata = pq.ParquetFile(path).metadata
    assert [metadata.row_group(g).num_rows for g in range(metadata.num_row_groups)] == [5, 5, 5, 5, 5, 1]


def test_other_programs_read_the_table(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_embeddings(path, batches([3]), provenance=PROVENANCE)
    schema = pq.read_schema(path)
    assert schema.field("embedding").type == pa.list_(pa.field("element", pa.float32()), 6)
    assert schema.names[:4] == ["clip_id", "video", "start_seconds", "end_seconds"]


def test_of_kind_keeps_one_kind_in_the_order_of_clip_ids(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_embeddings(path, batches([12]), provenance=PROVENANCE)
    table = read_embeddings(path)
    sounds = table.of_kind("audio")
    ids = [found.clip_id for found in sounds.rows()]
    assert ids == sorted(found.clip_id for found in table.rows() if found.kind == "audio")
    for found, vector in zip(sounds.rows(), sounds.vectors, strict=True):
        assert torch.equal(vector, table.vectors[table.rows().index(found)])
    assert len(table.of_kind("image")) == 3


@pytest.mark.parametrize("rows", [4000, 16000])
def test_writing_holds_a_few_row_groups_however_many_rows_there_are(tmp_path: Path, rows: int) -> None:
    def stream() -> Iterator[tuple[list[EmbeddingRow], Tensor]]:
        vectors = unit(250, 64)
        for start in range(0, rows, 250):
            yield [row(n) for n in range(start, start + 250)], vectors

    before = pa.total_allocated_bytes()
    most = 0

    def watched() -> Iterator[tuple[list[EmbeddingRow], Tensor]]:
        nonlocal most
        for batch in stream():
            yield batch
            most = max(most, pa.total_allocated_bytes() - before)

    tracemalloc.start()
    write_embeddings(tmp_path / "table.parquet", watched(), provenance=PROVENANCE, row_group_rows=500)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 3 * 500 * (64 * 4 + 200)  # three row groups of vectors and clips, not 8 or 32
    assert peak < 3_000_000


def test_an_interruption_leaves_the_old_table_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_embeddings(path, batches([3]), provenance=PROVENANCE)

    def interrupted() -> Iterator[tuple[list[EmbeddingRow], Tensor]]:
        yield from batches([8])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_embeddings(path, interrupted(), provenance=PROVENANCE, row_group_rows=4)
    assert len(read_embeddings(path)) == 3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, 1.5])
def test_a_vector_that_is_not_of_unit_length_is_an_error_that_names_its_clip(
    tmp_path: Path, value: float
) -> None:
    rows, vectors = next(batches([4]))
    vectors[2] = torch.tensor([value, 0, 0, 0, 0, 0])
    with pytest.raises(InputError, match=r"v0@2000 .*№0\.mp4.* not 1"):
        write_embeddings(tmp_path / "t.parquet", [(rows, vectors)], provenance=PROVENANCE)
    assert not list(tmp_path.iterdir())


def test_rows_that_do_not_fit_and_no_rows_are_errors(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows, vectors = next(batches([4]))
    with pytest.raises(InputError, match="3 rows do not fit 4 embeddings"):
        write_embeddings(path, [(rows[:3], vectors)], provenance=PROVENANCE)
    with pytest.raises(InputError, match="no embedding to write"):
        write_embeddings(path, [([], torch.empty(0, 6))], provenance=PROVENANCE)
    with pytest.raises(InputError, match=r"one length.*\[6\].*\[9\]"):
        write_embeddings(path, [(rows, vectors), (rows, unit(4, 9))], provenance=PROVENANCE)
    with pytest.raises(InputError, match=r"one length.*\[6\].*\[9\]"):
        write_embeddings(path, [(rows, vectors), (rows, unit(4, 9))], provenance=PROVENANCE, row_group_rows=4)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_told_before_anything_is_embedded(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")

    def never() -> Iterator[tuple[list[EmbeddingRow], Tensor]]:
        pytest.fail("embedded before trying to write")
        yield [], torch.empty(0, 6)

    for place in (tmp_path / "file" / "t.parquet", tmp_path / ("long" * 63), tmp_path):
        with pytest.raises(UsageError, match="cannot write"):
            write_embeddings(place, never(), provenance=PROVENANCE)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_files_that_are_no_table_are_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_embeddings(tmp_path / "t.parquet")
    text = tmp_path / "text.parquet"
    text.write_text("not parquet")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"embedding": [1.0]}), other)
    whole = tmp_path / "whole.parquet"
    write_embeddings(whole, batches([9]), provenance=PROVENANCE)
    half = tmp_path / "half.parquet"
    half.write_bytes(whole.read_bytes()[:-40])
    for path in (text, other, half):
        with pytest.raises(InputError, match=f"{path.name} is not an embedding table"):
            read_embeddings(path)


def test_another_version_is_an_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.parquet"
    with monkeypatch.context() as patch:
        patch.setattr("avmi.index.write.FORMAT_VERSION", 7)
        write_embeddings(path, batches([2]), provenance=PROVENANCE)
    with pytest.raises(InputError, match="format 7, this avmi reads 1"):
        read_embeddings(path)
