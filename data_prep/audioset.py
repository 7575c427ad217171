"""AudioSet: segments files and class_labels_indices.csv as published → segments with all their classes.

Gemmeke et al., ICASSP 2017. A row is `id, start, end, "/m/…,/m/…"` after three lines of comments. Names of classes
come from class_labels_indices.csv (`index,mid,display_name`), which is taken from beside the segments file when
it is not given.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from avmi.errors import CorpusError
from avmi.types import Split
from data_prep.annotations import read_records
from data_prep.listing import Clip, Listing, names_of_id, split_named
from data_prep.split_files import SplitFile

CLASSES = 527
CLASS_FILE = "class_labels_indices.csv"
_EXPECTED = '-0RWZT-miFs, 420.000, 430.000, "/m/03v3yw,/m/0k4j"'
_EXPECTED_CLASS = '0,/m/09x0r,"Speech"'


def read_audioset(files: Iterable[SplitFile], *, classes: Path | None = None) -> Listing:
    """Read segments files; the split of one is given, or follows from its official name.

    Raises `CorpusError` for a file without a split, or a class without a name.
    """
    every = list(files)
    beside = every[0].path.parent / CLASS_FILE
    if classes is None and not beside.is_file():
        raise CorpusError(
            f"the names of AudioSet's classes stand in {CLASS_FILE}, which is not beside {every[0].path}: "
            "give it as --classes"
        )
    names = _class_names(classes or beside)
    clips = [clip for file in every for clip in _clips(file.path, _split_of(file), names)]
    return Listing("AudioSet", tuple(clips), names_of_id, CLASSES)


def _split_of(file: SplitFile) -> Split:
    if file.split is not None:
        return file.split
    for word in file.path.stem.split(
        "_"
    ):  # balanced_train_segments, unbalanced_train_segments, eval_segments
        if (split := split_named(word)) is not None:
            return split
    raise CorpusError(f"{file.path} does not say its split: give it as --annotations train={file.path}")


def _class_names(file: Path) -> dict[str, str]:
    records = read_records(file, delimiter=",", expected=_EXPECTED_CLASS)
    names = {}
    for record in records:
        if len(record.cells) != 3:
            raise record.refuse(f"{len(record.cells)} cells in place of 3", expected=_EXPECTED_CLASS)
        if record.cells[1] != "mid":
            names[record.cells[1]] = record.cells[2]
    return names


def _clips(file: Path, split: Split, names: Mapping[str, str]) -> Iterator[Clip]:
    for record in read_records(file, delimiter=",", expected=_EXPECTED):
        if len(record.cells) != 4:
            raise record.refuse(f"{len(record.cells)} cells in place of 4", expected=_EXPECTED)
        start, end = (record.seconds(cell, expected=_EXPECTED) for cell in (1, 2))
        mids = [mid.strip() for mid in record.cells[3].split(",") if mid.strip()]
        unknown = [mid for mid in mids if mid not in names]
        if unknown:
            raise record.refuse(f"the class {unknown[0]!r} has no name in {CLASS_FILE}", expected=_EXPECTED)
        labels = tuple(dict.fromkeys(names[mid] for mid in mids))
        yield Clip(record.place, record.cells[0], split, labels, start, end, group=record.cells[0])
