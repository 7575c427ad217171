"""ESC-50: meta/esc50.csv as published → sounds of five seconds; one fold tests, the others train.

Piczak, ACM Multimedia 2015. Columns: filename,fold,target,category,esc10,src_file,take. Sounds cut from one
recording (src_file) are in one fold.
"""

from collections.abc import Iterator
from pathlib import Path

from avmi.errors import UsageError
from data_prep.annotations import read_records
from data_prep.listing import Clip, Listing, Name

CLASSES = 50
FOLDS = (1, 2, 3, 4, 5)
_HEADER = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
_EXPECTED = "1-100032-A-0.wav,1,0,dog,True,100032,A"


def read_esc50(file: Path, *, fold: int) -> Listing:
    """Read the list; `fold`, 1 to 5, is the one to test on. Raises `UsageError` for another one."""
    if fold not in FOLDS:
        raise UsageError(f"--fold of ESC-50 is 1 to 5, got {fold}")
    header, *records = read_records(file, delimiter=",", expected=_EXPECTED)
    if header.cells != _HEADER:
        raise header.refuse(f"the header is {','.join(header.cells)[:60]!r}", expected=",".join(_HEADER))
    clips = []
    for record in records:
        if len(record.cells) != len(_HEADER) or record.cells[1] not in map(str, FOLDS):
            raise record.refuse(f"{','.join(record.cells)[:60]!r} is no row of esc50.csv", expected=_EXPECTED)
        row = dict(zip(_HEADER, record.cells, strict=True))
        clips.append(
            Clip(
                record.place,
                Path(row["filename"]).stem,
                "test" if int(row["fold"]) == fold else "train",
                (row["category"],),
                group=row["src_file"],
            )
        )
    return Listing("ESC-50", tuple(clips), _names, CLASSES, needs="sound")


def _names(clip: Clip) -> Iterator[Name]:
    yield Name(clip.key)
