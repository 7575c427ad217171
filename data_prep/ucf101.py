"""UCF101: classInd.txt, trainlist0N.txt and testlist0N.txt as published → clips with the split of one fold.

Soomro, Zamir, Shah 2012. A row is `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`, in the test list without the
number. Clips of one group (g08) are of one recording. About half of the classes have no sound.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from avmi.errors import UsageError
from avmi.types import Split
from data_prep.annotations import annotation_file, read_records
from data_prep.listing import Clip, Listing, Name

CLASSES = 101
FOLDS = (1, 2, 3)
_EXPECTED = "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1"
_GROUP = re.compile(r"(v_.+_g\d+)_c\d+")


def read_ucf101(folder: Path, *, fold: int) -> Listing:
    """Read the lists of a fold, 1 to 3; raises `UsageError` for another one."""
    if fold not in FOLDS:
        raise UsageError(f"--fold of UCF101 is 1, 2 or 3, got {fold}")
    classes = _class_numbers(annotation_file(folder, "classInd.txt", corpus="UCF101"))
    train = annotation_file(folder, f"trainlist{fold:02d}.txt", corpus="UCF101")
    test = annotation_file(folder, f"testlist{fold:02d}.txt", corpus="UCF101")
    clips = [*_clips(train, "train", classes), *_clips(test, "test", classes)]
    return Listing("UCF101", tuple(clips), _names, CLASSES, needs="picture")


def _class_numbers(file: Path) -> dict[str, str]:
    names = {}
    for record in read_records(file, delimiter=" ", expected="1 ApplyEyeMakeup"):
        if len(record.cells) != 2 or not record.cells[0].isdigit():
            raise record.refuse(f"{' '.join(record.cells)!r} is no class", expected="1 ApplyEyeMakeup")
        names[record.cells[1]] = record.cells[0]
    return names


def _clips(file: Path, split: Split, classes: dict[str, str]) -> Iterator[Clip]:
    for record in read_records(file, delimiter=" ", expected=_EXPECTED):
        path = PurePosixPath(record.cells[0])
        group = _GROUP.fullmatch(path.stem)
        if group is None or len(record.cells) > 2:
            raise record.refuse(f"{' '.join(record.cells)!r} is no clip of UCF101", expected=_EXPECTED)
        label = path.parent.name
        if label not in classes:
            raise record.refuse(f"{label!r} is no class of classInd.txt", expected=_EXPECTED)
        if len(record.cells) == 2 and record.cells[1] != classes[label]:
            raise record.refuse(
                f"class {record.cells[1]}, but {label} is {classes[label]} in classInd.txt",
                expected=_EXPECTED,
            )
        yield Clip(record.place, path.stem, split, (label,), group=group[1])


def _names(clip: Clip) -> Iterator[Name]:
    yield Name(clip.key)
