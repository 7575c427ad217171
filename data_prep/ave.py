"""AVE: trainSet.txt, valSet.txt and testSet.txt as published → audio-visual events with their seconds.

Tian, Shi, Li, Duan, Xu, ECCV 2018. A row is `Category&VideoID&Quality&StartTime&EndTime`, the times within the
ten-second video; a video stands in several rows when several events are in it. Annotations.txt has the same rows
with a header, and no splits.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from avmi.errors import CorpusError
from avmi.types import Split
from data_prep.annotations import annotation_file, read_records
from data_prep.listing import Clip, Listing, Name

CLASSES = 28
CLIP_SECONDS = 10.0
_EXPECTED = "Church bell&RUhOCu3LNXM&good&0&10"
_FILES: dict[str, Split] = {"trainSet.txt": "train", "valSet.txt": "valid", "testSet.txt": "test"}


def read_ave(folder: Path) -> Listing:
    """Read the three sets of a folder; rows of zero length are left out and counted."""
    clips: list[Clip] = []
    empty = 0
    for name, split in _FILES.items():
        for clip in _clips(annotation_file(folder, name, corpus="AVE"), split):
            assert clip.start_seconds is not None
            assert clip.end_seconds is not None
            if clip.end_seconds > clip.start_seconds:
                clips.append(clip)
            else:
                empty += 1
    left_out = (("events of zero length", empty),) if empty else ()
    return Listing("AVE", tuple(clips), _names, CLASSES, left_out=left_out)


def _clips(file: Path, split: Split) -> Iterator[Clip]:
    for record in read_records(file, delimiter="&", expected=_EXPECTED, quoting=csv.QUOTE_NONE):
        cells = record.cells
        if len(cells) != 5:
            raise record.refuse(f"{len(cells)} cells in place of 5", expected=_EXPECTED)
        if cells[:2] == ("Category", "VideoID"):
            continue
        start, end = (record.seconds(cell, expected=_EXPECTED) for cell in (3, 4))
        if not 0 <= start <= end:
            raise CorpusError(
                f"{file}, line {record.line}: the event from {start:g} to {end:g} s goes backwards"
            )
        yield Clip(record.place, cells[1], split, (cells[0],), start, end, group=cells[1])


def _names(clip: Clip) -> Iterator[Name]:
    """Give the id, and the whole row; an event of all ten seconds is the whole file."""
    whole = clip.start_seconds == 0 and clip.end_seconds == CLIP_SECONDS
    yield Name(clip.key, cut="yes" if whole else "no")
    row = f"{clip.labels[0]}&{clip.key}&good&{clip.start_seconds:g}&{clip.end_seconds:g}"
    yield Name(row, cut="yes" if whole else "measure")
