"""Files of samples and labels: what is read, and how what is not is told."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from avmi.errors import InputError
from avmi.mi.estimation.sample_files import read_labels, read_samples

ROWS = np.array([[1.5, -2.0, 3.0], [4.0, 5.25, 6e-3]])


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def test_an_array_is_read_as_it_is(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS.astype(np.float32))
    assert read_samples(tmp_path / "x.npy").dtype == np.float32
    np.testing.assert_array_equal(read_samples(tmp_path / "x.npy"), ROWS.astype(np.float32))


@pytest.mark.parametrize("head", ["", "a,b,c\n", "\ufeffa,b,c\n"])
def test_a_csv_is_read_with_and_without_a_header(tmp_path: Path, head: str) -> None:
    path = written(tmp_path / "x.csv", head + "1.5,-2,3\n4,5.25,6e-3\n\n")
    np.testing.assert_array_equal(read_samples(path), ROWS)


def test_an_empty_cell_is_no_number(tmp_path: Path) -> None:
    assert np.isnan(read_samples(written(tmp_path / "x.csv", "1,2\n3,\n"))[1, 1])


def test_columns_of_a_table_stand_side_by_side_and_lists_are_unrolled(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", a=[1.5, 4.0], b=[[-2.0, 3.0], [5.25, 6e-3]])
    np.testing.assert_array_equal(read_samples(path), ROWS)
    assert np.isnan(read_samples(parquet(tmp_path / "y.parquet", a=[1, None]))[1, 0])


def test_labels_are_numbers_or_text(tmp_path: Path) -> None:
    np.save(tmp_path / "y.npy", np.array([3, 1]))
    assert read_labels(tmp_path / "y.npy", rows=2).tolist() == [3, 1]
    assert read_labels(written(tmp_path / "y.csv", "dog\ncat\n"), rows=2).tolist() == ["dog", "cat"]
    assert read_labels(written(tmp_path / "y.csv", "kind\ndog\ncat\n"), rows=2).tolist() == ["dog", "cat"]
    assert read_labels(written(tmp_path / "y.csv", "1\n01\n2\n"), rows=3).tolist() == [1, 1, 2]
    assert read_labels(parquet(tmp_path / "y.parquet", kind=["a", "b"]), rows=2).tolist() == ["a", "b"]


BAD = {
    "x.txt": ("1\n", "samples are read from .npy, .csv or .parquet files"),
    "empty.csv": ("", "the file is empty"),
    "blank.csv": ("\n\n", "the file is empty"),
    "head.csv": ("a,b\n", "there is a header and nothing below it"),
    "ragged.csv": ("1,2\n3\n", "row 2 has 1 cells and the first 2"),
    "text.csv": ("1,2\n3,four\n", "row 2, column 2 is text \\('four'\\)"),
    "no.npy": ("no array", "this is no .npy file"),
    "no.parquet": ("no table", "this is no Parquet file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    text, told = BAD[name]
    with pytest.raises(InputError, match=told) as error:
        read_samples(written(tmp_path / name, text))
    assert str(tmp_path / name) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        read_samples(tmp_path / "x.npy")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{"a": 1}, None], dtype=object))
    for read in (read_samples, lambda path: read_labels(path, rows=2)):
        with pytest.raises(InputError, match="an array of objects, which is never unpickled"):
            read(tmp_path / "x.npy")


def test_a_broken_array_is_told(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", ROWS)
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"this \.npy file is broken"):
        read_samples(tmp_path / "x.npy")


def test_a_table_of_text_or_of_lists_of_several_lengths_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="column name holds string"):
        read_samples(parquet(tmp_path / "x.parquet", name=["a", "b"], a=[1, 2]))
    with pytest.raises(InputError, match="column a holds lists of several lengths"):
        read_samples(parquet(tmp_path / "x.parquet", a=[[1.0], [1.0, 2.0]]))
    with pytest.raises(InputError, match="the table is empty"):
        read_samples(parquet(tmp_path / "x.parquet", a=pa.array([], pa.float64())))


def test_labels_of_several_columns_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a file of labels has one column, this one has 2"):
        read_labels(written(tmp_path / "y.csv", "a,b\nc,d\n"), rows=2)
