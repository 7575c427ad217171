"""A CSV or Parquet table of files → its rows, checked: path, interval, labels, split.

Columns: path[,start_seconds,end_seconds,label,split]. An empty start or end means that of the file. `labels` in
place of `label` gives several classes: names with "|" between them, or a list in Parquet; the first is the
video's label, the others stand beside it.
"""

import csv
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from avmi.errors import CorpusError
from avmi.types import SPLITS, Split

COLUMNS = "path[,start_seconds,end_seconds,label,split]"
# No class name of a public corpus has it; commas and semicolons stand in many.
LABEL_SEPARATOR = "|"
_KNOWN = ("path", "start_seconds", "end_seconds", "label", "labels", "split")

_Rows = Iterable[tuple[str, Mapping[str, object]]]


@dataclass(frozen=True)
class Listed:
    """One row of a table, or one file of a folder."""

    path: str
    label: str
    split: Split | None
    start_seconds: float | None = None
    end_seconds: float | None = None
    further_labels: tuple[str, ...] = ()


def read_csv(table: Path, *, root: Path) -> list[Listed]:
    """Read a CSV in UTF-8 with a header; raises `CorpusError` with the line of a mistake.

    Paths count from `root`; those below it come out relative to it, others whole.
    """
    return _without_repeats(_checked(_csv_rows(table), table=table, root=root), table=table)


def read_parquet(table: Path, *, root: Path) -> list[Listed]:
    """Read a Parquet table as `read_csv` does."""
    return _without_repeats(_checked(_parquet_rows(table), table=table, root=root), table=table)


def _csv_rows(table: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Rows of a CSV, each with the place that an error message names."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, restkey="")
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            _check_columns(reader.fieldnames, table=table)
            for row in reader:
                if row.get(""):
                    raise CorpusError(
                        f"{table}, line {reader.line_num}: more cells than the header has columns; "
                        "quote a label that holds a comma"
                    )
                yield f"line {reader.line_num}", row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CorpusError(f"{table} cannot be read as CSV in UTF-8: {error}") from error


def _parquet_rows(table: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    try:
        names = pq.read_schema(table).names
        _check_columns(names, table=table)
        rows = pq.read_table(table, columns=[n for n in names if n in _KNOWN]).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{table} cannot be read as Parquet: {error}") from error
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _check_columns(names: Iterable[str], *, table: Path) -> None:
    if "path" not in names:
        raise CorpusError(
            f"{table} has no column named path (it has: {', '.join(map(repr, names)) or 'none'}): "
            f"the first line must be {COLUMNS}"
        )
    if "label" in names and "labels" in names:
        raise CorpusError(
            f"{table} has both columns, label and labels: keep label for one class a video, labels for several"
        )


def _checked(rows: _Rows, *, table: Path, root: Path) -> Iterator[tuple[str, Listed]]:
    for place, row in rows:
        path, split = _text(row, "path"), _text(row, "split").strip()
        if not path.strip():
            raise CorpusError(f"{table}, {place}: the path is empty; give the file's path or drop the row")
        if split and split not in SPLITS:
            raise CorpusError(
                f"{table}, {place}: unknown split {split!r}; splits are {', '.join(SPLITS)}, or empty"
            )
        # The whole path is kept for a file elsewhere: `root / path` finds both.
        full = Path(os.path.normpath(root / path))
        known = full.relative_to(root).as_posix() if full.is_relative_to(root) else full.as_posix()
        start, end = (_seconds(row, name, f"{table}, {place}") for name in ("start_seconds", "end_seconds"))
        labels = _labels(row)
        yield place, Listed(known, labels[0], split or None, start, end, labels[1:])


def _text(row: Mapping[str, object], name: str) -> str:
    return "" if row.get(name) is None else str(row[name])


def _seconds(row: Mapping[str, object], name: str, place: str) -> float | None:
    text = _text(row, name).strip()
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        raise CorpusError(
            f"{place}: {name} is {text!r}; give seconds, such as 12.5, or leave it empty"
        ) from None


def _labels(row: Mapping[str, object]) -> tuple[str, ...]:
    """Give the label and the further ones; ("",) when there is none."""
    if "labels" not in row:
        return (_text(row, "label").strip(),)
    given = row["labels"]
    names = given if isinstance(given, list) else _text(row, "labels").split(LABEL_SEPARATOR)
    kept = dict.fromkeys(str(name).strip() for name in names if name is not None)
    return tuple(name for name in kept if name) or ("",)


def _without_repeats(rows: Iterable[tuple[str, Listed]], *, table: Path) -> list[Listed]:
    """Keep one of equal rows; an interval with two labels or splits is a mistake of the table."""
    known: dict[tuple[str, str, str], tuple[str, Listed]] = {}
    for place, item in rows:
        key = item.path, str(item.start_seconds), str(item.end_seconds)  # as text: NaN equals itself
        first_place, first = known.setdefault(key, (place, item))
        if (first.label, first.further_labels, first.split) != (item.label, item.further_labels, item.split):
            raise CorpusError(
                f"{table}, {place}: {item.path} stands in {first_place} too, with another label or split"
            )
    return [item for _, item in known.values()]
