"""VGGSound: vggsound.csv as published → its clips, ten seconds each, with the official train and test splits.

Chen, Xie, Vedaldi, Zisserman, ICASSP 2020. A row is `id,start seconds,"class",split`, without a header. Lists of
`file.mp4,class` for one split are read, too, as SPLIT=FILE.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from avmi.errors import CorpusError
from avmi.types import Split
from data_prep.annotations import Record, read_records
from data_prep.listing import Clip, Listing, Name, names_of_id, split_named
from data_prep.split_files import SplitFile

CLASSES = 309
CLIP_SECONDS = 10.0
_EXPECTED = "--0PQM4-hqg,30,waterfall burbling,train"


def read_vggsound(files: Iterable[SplitFile]) -> Listing:
    """Read vggsound.csv, or lists of file and class with a split each."""
    clips = [clip for file in files for clip in _clips(file.path, file.split)]
    return Listing("VGGSound", tuple(clips), _names, CLASSES)


def _clips(file: Path, split: Split | None) -> Iterator[Clip]:
    for record in read_records(file, delimiter=",", expected=_EXPECTED):
        cells = record.cells
        if len(cells) == 2:
            yield _of_list(record, split)
            continue
        if len(cells) != 4 or split_named(cells[3]) is None:
            shown = ",".join(cells)[:60]
            raise record.refuse(f"{shown!r} is no row of vggsound.csv", expected=_EXPECTED)
        start = record.seconds(1, expected=_EXPECTED)
        named = split or split_named(cells[3])
        assert named is not None
        yield Clip(record.place, cells[0], named, (cells[2],), start, start + CLIP_SECONDS, group=cells[0])


def _of_list(record: Record, split: Split | None) -> Clip:
    if split is None:
        raise CorpusError(
            f"{record.file}, line {record.line}: a list of file and class does not say its split; give it as "
            f"--annotations train={record.file}"
        )
    name, label = record.cells
    stem = Path(name).stem if Path(name).suffix else name
    return Clip(record.place, stem, split, (label,), group=stem[:11])  # an id has 11 letters


def _names(clip: Clip) -> Iterable[Name]:
    return [Name(clip.key)] if clip.start_seconds is None else names_of_id(clip)
