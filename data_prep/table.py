"""Any CSV of file, class and split → a listing.

With a header: path[,start_seconds,end_seconds,label,split] in any order, other columns are passed over. Without
one: file, class and, if there is a third cell, split. Files are found by their path below the folder, or by their
name anywhere in it. A row without a split gets one by its file's name, 8 : 1 : 1.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from avmi.corpus.manifest import split_of
from avmi.errors import CorpusError
from avmi.types import Split
from data_prep.annotations import Record, read_records
from data_prep.folder import names_of_path
from data_prep.listing import Clip, Listing, split_named
from data_prep.split_files import SplitFile

_FRACTIONS = (0.8, 0.1, 0.1)
_EXPECTED = "path,label,split"
_KNOWN = ("path", "start_seconds", "end_seconds", "label", "split")


def read_table(files: Iterable[SplitFile]) -> Listing:
    """Read CSV files, each with a split if one was named."""
    clips = [clip for file in files for clip in _clips(file.path, file.split)]
    return Listing("table", tuple(clips), names_of_path)


def _clips(file: Path, split: Split | None) -> Iterator[Clip]:
    records = read_records(file, delimiter=",", expected=_EXPECTED)
    header = [cell.lower() for cell in records[0].cells]
    if "path" in header:
        columns, rows = {name: header.index(name) for name in _KNOWN if name in header}, records[1:]
    else:
        columns, rows = dict(zip(("path", "label", "split"), range(len(header)), strict=False)), records
    for record in rows:
        if len(record.cells) != len(header):
            raise record.refuse(
                f"{len(record.cells)} cells in place of {len(header)}; quote a class that holds a comma",
                expected=_EXPECTED,
            )
        yield _clip(record, columns, split)


def _clip(record: Record, columns: dict[str, int], split: Split | None) -> Clip:
    cells = {name: record.cells[place] for name, place in columns.items()}
    path, label, named = cells["path"], cells.get("label", ""), cells.get("split", "")
    if not path:
        raise CorpusError(f"{record.file}, line {record.line}: the path is empty")
    if named and split_named(named) is None:
        raise record.refuse(f"{named!r} is no split", expected=_EXPECTED)
    start, end = (
        record.seconds(columns[name], expected=_EXPECTED) if cells.get(name) else None
        for name in ("start_seconds", "end_seconds")
    )
    chosen = split or split_named(named) or split_of(path, fractions=_FRACTIONS)
    return Clip(record.place, path, chosen, (label,) if label else (), start, end)
