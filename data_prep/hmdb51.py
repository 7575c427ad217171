"""HMDB51: <class>_test_splitN.txt as published → clips with the split of one fold.

Kuehne, Jhuang, Garrote, Poggio, Serre, ICCV 2011. A row is `<file>.avi 1`: 1 trains, 2 tests, 0 is not used. Most
clips have no sound.
"""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from avmi.errors import CorpusError, UsageError
from avmi.types import Split
from data_prep.annotations import annotation_file, read_records
from data_prep.listing import Clip, Listing, Name

CLASSES = 51
FOLDS = (1, 2, 3)
_EXPECTED = "April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1"
_SPLITS: dict[str, Split | None] = {"1": "train", "2": "test", "0": None}
# Behind a clip's title and class: body parts, camera, people, view, quality, number.
_SUFFIX = re.compile(r"_[a-z]+_(cm|nm)_np\d+_[a-z]+_[a-z]+_\d+$")


def read_hmdb51(folder: Path, *, fold: int) -> Listing:
    """Read the lists of a fold, 1 to 3, one a class; raises `UsageError` for another fold."""
    if fold not in FOLDS:
        raise UsageError(f"--fold of HMDB51 is 1, 2 or 3, got {fold}")
    ending = f"_test_split{fold}.txt"
    files = sorted(folder.glob(f"*{ending}")) if folder.is_dir() else []
    if not files:
        annotation_file(folder, f"brush_hair{ending}", corpus="HMDB51")  # says what is there instead
    clips: list[Clip] = []
    unused = 0
    for file in files:
        label = file.name.removesuffix(ending)
        for name, split, place in _rows(file):
            if split is None:
                unused += 1
                continue
            stem = Path(name).stem
            title = _SUFFIX.sub("", stem).removesuffix(f"_{label}")
            clips.append(Clip(place, stem, split, (label,), group=f"{label}/{title}"))
    left_out = ((f"not used by fold {fold}", unused),) if unused else ()
    return Listing("HMDB51", tuple(clips), _names, CLASSES, needs="picture", left_out=left_out)


def _rows(file: Path) -> Iterator[tuple[str, Split | None, str]]:
    # Names begin with "#": these lists know no comments.
    for record in read_records(file, delimiter=" ", expected=_EXPECTED, quoting=csv.QUOTE_NONE, comments=()):
        cells = [cell for cell in record.cells if cell]
        if len(cells) != 2 or cells[1] not in _SPLITS:
            raise record.refuse(f"{' '.join(cells)!r} is no row of HMDB51", expected=_EXPECTED)
        if not cells[0].lower().endswith(".avi"):
            raise CorpusError(f"{file}, line {record.line}: {cells[0]!r} is no .avi of HMDB51")
        yield cells[0], _SPLITS[cells[1]], record.place


def _names(clip: Clip) -> Iterator[Name]:
    yield Name(clip.key)
