"""A listing and a folder of files → a prepared corpus folder, missing.csv, and what was found as a table.

Beside what `avmi prepare` writes, the corpus folder holds listing.parquet (the table that it read) and
missing.csv (each listed row without a usable file, and the names that were looked for).
"""

import csv
import os
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from avmi.errors import CorpusError
from avmi.types import SPLITS, Needs, Split, StrPath
from avmi.workflows.prepare import Prepared, prepare
from data_prep.listing import Clip, Listing, crossing, with_valid, without_repeats
from data_prep.matching import Match, Unmatched, list_files, match

LISTING_FILE = "listing.parquet"
MISSING_FILE = "missing.csv"
_COLUMNS = ("listed", "found", "missing", "ambiguous", "duplicate", "unusable", "usable")


@dataclass(frozen=True)
class Settings:
    """What all corpora are prepared with."""

    videos: Path
    out: Path
    needs: Needs | None = None  # None: what the corpus is known for
    valid_fraction: float | None = None  # None: the official splits alone
    workers: int | None = None
    time_limit_seconds: float = 30.0


@dataclass(frozen=True)
class Result:
    """What was listed, found and prepared."""

    corpus: str
    splits: dict[Split, dict[str, int]]
    classes_listed: int
    classes_usable: int
    classes_official: int | None
    crossing: tuple[str, ...]  # recordings with clips in two splits
    left_out: tuple[tuple[str, int], ...]
    missing_csv: Path
    prepared: Prepared

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "corpus": self.corpus,
            "out": str(self.prepared.corpus),
            "splits": self.splits,
            "classes": {
                "listed": self.classes_listed,
                "usable": self.classes_usable,
                "official": self.classes_official,
            },
            "recordings_in_two_splits": len(self.crossing),
            "left_out": dict(self.left_out),
            "missing_csv": str(self.missing_csv),
            "prepared": self.prepared.as_json(),
        }

    def as_text(self) -> str:
        """Lay it out: a line for each split, the classes, what to look at."""
        lines = [f"{'split':<8}" + "".join(f"{name:>11}" for name in _COLUMNS)]
        for split, counts in self.splits.items():
            lines.append(f"{split:<8}" + "".join(f"{counts[name]:>11,}" for name in _COLUMNS))
        official = f" of {self.classes_official}" if self.classes_official else ""
        lines.append(
            f"classes: {self.classes_listed}{official} listed, {self.classes_usable} with usable files"
        )
        if self.crossing:
            shown = ", ".join(self.crossing[:3])
            lines.append(f"recordings listed in more than one split: {len(self.crossing):,} ({shown}, …)")
        lines += [f"rows left out: {count:,}, {why}" for why, count in self.left_out]
        rejected = self.prepared.as_json()["rejected"]
        if rejected:
            lines.append(
                "unusable: " + ", ".join(f"{count:,} {reason}" for reason, count in rejected.items())
            )
        if any(
            counts["missing"] + counts["ambiguous"] + counts["duplicate"] for counts in self.splits.values()
        ):
            lines.append(f"rows without a file, and the names looked for: {self.missing_csv}")
        lines.append(self.prepared.as_text())
        return "\n".join(lines)


def prepare_corpus(listing: Listing, settings: Settings) -> Result:
    """Match the listed clips with files and prepare those that are there.

    Raises `CorpusError` when no file is found, or none is usable.
    """
    needs = settings.needs or listing.needs
    if not listing.clips:
        raise CorpusError(f"the annotations of {listing.corpus} list no clip after what was left out")
    clips, repeats = without_repeats(listing.clips)
    if settings.valid_fraction is not None:
        clips = with_valid(clips, fraction=settings.valid_fraction)
    files = list_files(settings.videos, skip=settings.out)
    print(
        f"{listing.corpus}: {len(clips):,} clips listed, {files.examples} in {settings.videos}",
        file=sys.stderr,
    )
    found, lost = match(clips, listing.names, files, needs=needs)
    lost += [Unmatched(clip, "duplicate", "an equal row stands before it") for clip in repeats]
    try:
        settings.out.mkdir(parents=True, exist_ok=True)
        _write_listing(settings.out / LISTING_FILE, found)
        _write_missing(settings.out / MISSING_FILE, lost)
    except OSError as error:
        raise CorpusError(f"{settings.out} cannot be written: {error.strerror or error}") from error
    if not found:
        raise CorpusError(
            f"every listed file is ambiguous: {settings.out / MISSING_FILE} names the files of each row"
        )
    prepared = prepare(
        settings.out / LISTING_FILE,
        out=settings.out,
        root=settings.videos,
        needs=needs,
        workers=settings.workers,
        time_limit_seconds=settings.time_limit_seconds,
        fractions=(1.0, 0.0, 0.0),  # every row has its split
    )
    return Result(
        corpus=listing.corpus,
        splits=_counts(clips + repeats, found, lost, prepared),
        classes_listed=len({label for clip in clips for label in clip.labels}),
        classes_usable=len(
            {label for video in prepared for label in (video.label, *video.further_labels) if label}
        ),
        classes_official=listing.official_classes,
        crossing=crossing(clips),
        left_out=listing.left_out,
        missing_csv=settings.out / MISSING_FILE,
        prepared=prepared,
    )


def _counts(
    clips: Sequence[Clip], found: Sequence[Match], lost: Sequence[Unmatched], prepared: Prepared
) -> dict[Split, dict[str, int]]:
    listed = Counter(clip.split for clip in clips)
    matched = Counter(one.clip.split for one in found)
    reasons = Counter((one.clip.split, one.reason) for one in lost)
    usable = Counter(video.split for video in prepared)
    return {
        split: {
            "listed": listed[split],
            "found": matched[split],
            **{reason: reasons[split, reason] for reason in ("missing", "ambiguous", "duplicate")},
            "unusable": matched[split] - usable[split],
            "usable": usable[split],
        }
        for split in SPLITS
        if listed[split]
    }


def _write_listing(path: Path, found: Sequence[Match]) -> None:
    """Write the table that `avmi prepare` reads; a cut clip stands without seconds."""
    rows = [
        {
            "path": one.path,
            "start_seconds": None if one.is_cut else one.clip.start_seconds,
            "end_seconds": None if one.is_cut else one.clip.end_seconds,
            "labels": list(one.clip.labels),
            "split": one.clip.split,
        }
        for one in found
    ]
    schema = pa.schema(
        [
            ("path", pa.string()),
            ("start_seconds", pa.float64()),
            ("end_seconds", pa.float64()),
            ("labels", pa.list_(pa.string())),
            ("split", pa.string()),
        ]
    )
    temporary = _beside(path)
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), temporary)
    temporary.replace(path)


def _write_missing(path: Path, lost: Sequence[Unmatched]) -> None:
    temporary = _beside(path)
    with temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["split", "name", "labels", "reason", "detail", "listed_in"])
        for one in lost:
            clip = one.clip
            writer.writerow([clip.split, clip.key, "|".join(clip.labels), one.reason, one.detail, clip.place])
    temporary.replace(path)


def _beside(path: StrPath) -> Path:
    return Path(path).with_name(f".{Path(path).name}.{os.getpid()}.tmp")
