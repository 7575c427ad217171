"""Kinetics (400, 600, 700): train, validate and test csv as published → clips with their classes.

Kay et al. 2017; Carreira et al. 2018, 2019. A row is `label,youtube_id,time_start,time_end,split[,is_cc]` under a
header; the test file has no label. Kinetics-Sounds (Arandjelović and Zisserman, ICCV 2017) is a list of classes.
"""

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from avmi.errors import CorpusError
from avmi.types import Split
from data_prep.annotations import Record, read_records
from data_prep.listing import Clip, Listing, names_of_id, split_named
from data_prep.split_files import SplitFile

_EXPECTED = "label,youtube_id,time_start,time_end,split"
_NEEDED = ("youtube_id", "time_start", "time_end", "split")


def read_kinetics(files: Iterable[SplitFile], *, classes: Path | None = None) -> Listing:
    """Read annotation files; with a file of class names, one a line, keep those classes alone."""
    clips = [clip for file in files for clip in _clips(file.path, file.split)]
    if classes is None:
        return Listing("Kinetics", tuple(clips), names_of_id)
    chosen = _chosen(classes, {label for clip in clips for label in clip.labels})
    kept = tuple(clip for clip in clips if set(clip.labels) & chosen)
    left_out = ((f"classes that {classes.name} does not list", len(clips) - len(kept)),)
    return Listing("Kinetics", kept, names_of_id, len(chosen), left_out=left_out)


def _clips(file: Path, split: Split | None) -> Iterator[Clip]:
    header, *records = read_records(file, delimiter=",", expected=_EXPECTED)
    columns = {name.lower(): place for place, name in enumerate(header.cells)}
    lacking = [name for name in _NEEDED if name not in columns]
    if lacking:
        raise header.refuse(f"no column named {lacking[0]}", expected=f"the header {_EXPECTED}")
    for record in records:
        if len(record.cells) != len(header.cells):
            raise record.refuse(
                f"{len(record.cells)} cells in place of {len(header.cells)}", expected=_EXPECTED
            )
        yield _clip(record, columns, split)


def _clip(record: Record, columns: dict[str, int], split: Split | None) -> Clip:
    cells = record.cells
    named = split or split_named(cells[columns["split"]])
    if named is None:
        raise record.refuse(f"{cells[columns['split']]!r} is no split", expected=_EXPECTED)
    label = cells[columns["label"]] if "label" in columns else ""
    key = cells[columns["youtube_id"]]
    start, end = (record.seconds(columns[name], expected=_EXPECTED) for name in ("time_start", "time_end"))
    clip = Clip(record.place, key, named, (label,) if label else (), start, end)
    return replace(clip, group=key)


def _chosen(file: Path, known: set[str]) -> set[str]:
    """Find the classes of a list among those of the annotations; case and underscores do not matter."""
    plain = {_plain(label): label for label in known}
    chosen = set()
    for record in read_records(file, delimiter="\t", expected="playing accordion"):
        name = record.cells[0]
        if _plain(name) not in plain:
            near = difflib.get_close_matches(_plain(name), plain, n=1)
            hint = f": did you mean {plain[near[0]]!r}?" if near else ""
            raise CorpusError(f"{file}, line {record.line}: no class of the annotations is {name!r}{hint}")
        chosen.add(plain[_plain(name)])
    return chosen


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").split())
