"""A .npy, .csv or .parquet file → samples or labels, one a row, or one clear sentence why it cannot be read."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from avmi.errors import InputError
from avmi.types import StrPath

_ENDINGS = (".npy", ".csv", ".parquet")


def read_samples(path: StrPath) -> Shaped[np.ndarray, "..."]:
    """Read rows of numbers; columns of lists (as embeddings are stored) become one column for each element.

    A CSV may have a header: a first line of which not all is numbers. Nothing is unpickled. Raises `InputError`.
    """
    path = _existing(path)
    match path.suffix.lower():
        case ".npy":
            return _npy(path)
        case ".csv":
            return _numbers(path, _without_header(_lines(path)))
        case _:
            return _parquet_numbers(path)


def read_labels(path: StrPath, *, rows: int) -> Shaped[np.ndarray, "..."]:
    """Read one label a row; a CSV with one line more than `rows` has a header. Raises `InputError`."""
    path = _existing(path)
    match path.suffix.lower():
        case ".npy":
            return _npy(path)
        case ".csv":
            lines = _lines(path)
            lines = lines[1:] if len(lines) == rows + 1 else lines
            return _as_whole_numbers([_only(path, line) for line in lines])
        case _:
            table = _parquet(path)
            _only(path, table.column_names)
            return _as_whole_numbers([str(value) for value in table.column(0).to_pylist()])


def _existing(path: StrPath) -> Path:
    path = Path(path)
    if path.suffix.lower() not in _ENDINGS:
        raise InputError(f"{path}: samples are read from .npy, .csv or .parquet files")
    if not path.is_file():
        raise InputError(f"{path}: there is no such file")
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty; give one row of numbers a sample")
    return path


def _npy(path: Path) -> Shaped[np.ndarray, "..."]:
    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise InputError(f"{path}: this is no .npy file; write one with numpy.save")
        array = np.load(path, allow_pickle=False)
    except ValueError as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path}: this is an array of objects, which is never unpickled; save numbers (array.astype(float))"
            ) from error
        raise InputError(f"{path}: this .npy file is broken ({error})") from error
    return np.asarray(array)


def _lines(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: this is no CSV text in UTF-8 ({error})") from error
    if not lines:
        raise InputError(f"{path}: the file is empty; give one row of numbers a sample")
    return lines


def _without_header(lines: list[list[str]]) -> list[list[str]]:
    return lines if all(_is_number(cell) for cell in lines[0]) else lines[1:]


def _numbers(path: Path, lines: list[list[str]]) -> Float[np.ndarray, "rows columns"]:
    if not lines:
        raise InputError(f"{path}: there is a header and nothing below it; give one row of numbers a sample")
    columns = len(lines[0])
    ragged = next((number for number, line in enumerate(lines, 1) if len(line) != columns), None)
    if ragged is not None:
        raise InputError(
            f"{path}: row {ragged} has {len(lines[ragged - 1])} cells and the first {columns}; rows must be alike"
        )
    try:
        return np.array([[float(cell or "nan") for cell in line] for line in lines])
    except ValueError:
        row, column = next(
            (row, column)
            for row, line in enumerate(lines, 1)
            for column, cell in enumerate(line, 1)
            if cell and not _is_number(cell)
        )
        cell = lines[row - 1][column - 1]
        raise InputError(
            f"{path}: row {row}, column {column} is text ({cell[:30]!r}); keep columns of numbers only"
        ) from None


def _parquet(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: this is no Parquet file ({str(error).splitlines()[0]})") from error
    if not table.num_rows or not table.num_columns:
        raise InputError(f"{path}: the table is empty; give one row of numbers a sample")
    return table


def _parquet_numbers(path: Path) -> Float[np.ndarray, "rows columns"]:
    import pyarrow as pa

    parts = []
    table = _parquet(path)
    for name in table.column_names:
        column = table.column(name)
        kind = column.type
        is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        of_elements = kind.value_type if is_list else kind
        if not any(
            check(of_elements) for check in (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
        ):
            raise InputError(f"{path}: column {name} holds {kind}; keep columns of numbers only")
        values = column.to_pylist()
        if is_list and len({len(value) if value is not None else -1 for value in values}) > 1:
            raise InputError(f"{path}: column {name} holds lists of several lengths; rows must be alike")
        parts.append(np.array(values, dtype=np.float64).reshape(len(values), -1))
    return np.concatenate(parts, axis=1)


def _only(path: Path, cells: Sequence[str]) -> str:
    if len(cells) != 1:
        raise InputError(f"{path}: a file of labels has one column, this one has {len(cells)}")
    return cells[0]


def _as_whole_numbers(labels: list[str]) -> Shaped[np.ndarray, "..."]:
    """Take labels as numbers where all are, so that 1 and 01 are the same class; otherwise as text."""
    try:
        return np.array([int(label) for label in labels])
    except ValueError:
        return np.array(labels, dtype=np.str_)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
