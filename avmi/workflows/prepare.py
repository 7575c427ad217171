"""`avmi prepare`: a folder or table of videos → a corpus folder: manifest, rejects, audit.

A corpus folder holds manifest.parquet, rejects.parquet, audit.html, corpus.json (from what and how it was
made) and journal.jsonl (what was found of every file, so that no file is probed twice).
"""

import base64
import importlib.metadata
import json
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from tqdm import tqdm

from avmi.corpus.assemble import Assembled, assemble
from avmi.corpus.audit import Audit, audit
from avmi.corpus.journal import Journal
from avmi.corpus.manifest import (
    MANIFEST_FILE,
    REJECTS_FILE,
    Manifest,
    Reject,
    Video,
    read_manifest,
    write_manifest,
    write_table,
)
from avmi.corpus.pool import Outcome, Probe, ProbePool
from avmi.corpus.source import Entry, Source, read_source
from avmi.decode.probe import probe, probe_without_decord, thumbnail
from avmi.errors import AvmiError, CorpusError, UsageError
from avmi.report.audit import Thumbnail, audit_lines, audit_page
from avmi.report.page import write_page
from avmi.types import SPLITS, StrPath

AUDIT_FILE = "audit.html"
CORPUS_FILE = "corpus.json"
# Raise it when probing measures something else than before: journals are then not believed any more.
_PROBE_VERSION = 1
_MOST_THUMBNAILS = 24
_LIKE_SPLITS = {"dev", "eval", "test", "train", "training", "val", "valid", "validate", "validation"}


@runtime_checkable
class Log(Protocol):
    """Where progress is told: stderr, or any text file."""

    def write(self, text: str, /) -> object:
        """Take in some text."""
        ...

    def flush(self) -> object:
        """Show what was taken in."""
        ...

    def isatty(self) -> bool:
        """Say whether a person is looking on."""
        ...


@dataclass(frozen=True)
class Probes:
    """What is called on every file, in a child process; the second where the first hangs or crashes."""

    first: Probe = probe
    second: Probe = probe_without_decord
    thumbnail: Probe = thumbnail

    @property
    def chains(self) -> tuple[tuple[Probe, ...], tuple[Probe, ...]]:
        """Give the probes as `ProbePool` takes them."""
        return (self.first, self.second), (self.thumbnail,)


@dataclass(frozen=True)
class Prepared(Manifest):
    """The manifest that was written, and what became of all files."""

    rejects: tuple[Reject, ...] = ()
    ignored: int = 0  # files that are no media by their names
    probed: int = 0  # by this run; the others were known from earlier runs
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "usable": len(self.videos),
            "rejected": dict(sorted(Counter(r.reason for r in self.rejects).items())),
            "ignored": self.ignored,
            "splits": {split: sum(v.split == split for v in self.videos) for split in SPLITS},
            "labels": len(self.labels),
            "probed": self.probed,
            "seconds": round(self.seconds, 2),
        }

    def as_text(self) -> str:
        """Say it in one line."""
        splits = ", ".join(f"{count:,} {split}" for split, count in self.as_json()["splits"].items())
        audit_path = self.corpus / AUDIT_FILE if self.corpus else AUDIT_FILE
        return (
            f"{self.corpus}: {len(self.videos):,} usable videos ({splits}), {len(self.rejects):,} rejected "
            f"in {self.seconds:.1f} s; look at {audit_path}"
        )


def prepare(
    source: StrPath,
    *,
    out: StrPath,
    workers: int | None = None,
    time_limit_seconds: float = 30.0,
    fractions: Sequence[float] = (0.8, 0.1, 0.1),
    log: Log | None = None,
    probes: Probes = Probes(),
) -> Prepared:
    """Probe every video of a folder or table and write the corpus folder `out`.

    `source` is a folder (label = subfolder of first level) or a CSV/Parquet of path[,label,split].
    `workers` processes (default: one per core) probe a file at a time, each within the time limit.
    `fractions` are the shares of train, valid and test; splits of an earlier run are kept. Progress and
    the audit go to `log` (default: stderr). Stopped and called again, it probes only what is new.
    Raises `CorpusError` when there is nothing to read, nothing usable, or `out` cannot be written.
    """
    begun = time.monotonic()
    log = log or sys.stderr
    _check_numbers(workers, time_limit_seconds, fractions)
    workers = workers or os.cpu_count() or 1
    files = read_source(source, out=out)
    corpus = _corpus_folder(Path(out))
    earlier, notes = _earlier(corpus, fractions, log)
    try:
        with (
            Journal(corpus, stamp=_stamp(), time_limit_seconds=time_limit_seconds) as journal,
            ProbePool(*probes.chains, workers=workers, time_limit_seconds=time_limit_seconds) as pool,
        ):
            found, probed = _probe_all(files, journal, pool, log)
            made = _assembled(files, found, earlier, fractions, notes)
            numbers = audit(made.videos, made.rejects, ignored=files.ignored, notes=made.notes)
            pictures = _thumbnails(files.root, made.videos, pool)
            page = audit_page(numbers, source=str(source), thumbnails=pictures)
            _write(corpus, files, made, page, fractions)
    except OSError as error:
        raise CorpusError(f"{corpus} cannot be written: {error.strerror or error}") from error
    print(audit_lines(numbers), file=log)
    if not made.videos:
        raise _nothing_usable(source, corpus, numbers)
    seconds = time.monotonic() - begun
    return Prepared(files.root, made.videos, corpus, made.rejects, files.ignored, probed, seconds)


def _assembled(
    files: Source,
    found: Sequence[tuple[Entry, Outcome]],
    earlier: Sequence[Video],
    fractions: Sequence[float],
    notes: Sequence[str],
) -> Assembled:
    made = assemble(found, earlier=earlier, fractions=fractions)
    rejects = sorted((*made.rejects, *files.rejects), key=lambda reject: reject.path)
    labels = sorted({video.label for video in made.videos})
    if len(labels) > 1 and _LIKE_SPLITS.issuperset(labels):
        said = f"the labels ({', '.join(labels)}) look like splits: a CSV with the columns path, label and split uses them so."
        notes = (*notes, said)
    return Assembled(made.videos, tuple(rejects), (*notes, *made.notes))


def _check_numbers(workers: int | None, time_limit_seconds: float, fractions: Sequence[float]) -> None:
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be 1 or more, got {workers}")
    if not time_limit_seconds > 0 or not math.isfinite(time_limit_seconds):
        raise UsageError(f"the time limit must be above 0 seconds, got {time_limit_seconds}")
    if len(fractions) != 3 or min(fractions) < 0 or not abs(sum(fractions) - 1) < 1e-6:
        raise UsageError(
            "fractions must be three shares, of train, valid and test, that sum to 1, such as 0.8 0.1 0.1; "
            f"got {' '.join(f'{f:g}' for f in fractions)}"
        )


def _corpus_folder(out: Path) -> Path:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise CorpusError(
            f"{out} cannot be a corpus folder: a file is in its place; give another --out"
        ) from error
    except OSError as error:
        raise CorpusError(f"{out} cannot be made: {error.strerror}; give another --out") from error
    return out


def _earlier(corpus: Path, fractions: Sequence[float], log: Log) -> tuple[tuple[Video, ...], tuple[str, ...]]:
    """Read the manifest that is to be replaced, for its splits."""
    if not (corpus / MANIFEST_FILE).exists():
        return (), ()
    try:
        videos = read_manifest(corpus).videos
        before = json.loads((corpus / CORPUS_FILE).read_text(encoding="utf-8"))["fractions"]
    except (CorpusError, OSError, ValueError, KeyError) as error:
        print(f"the earlier manifest cannot be used, splits are chosen anew: {error}", file=log)
        return (), ()
    if list(before) != list(fractions):
        note = (
            f"splits of the earlier run (fractions {before}) are kept; remove {MANIFEST_FILE} from the "
            "corpus folder to split all videos anew."
        )
        return videos, (note,)
    return videos, ()


def _stamp() -> str:
    """Name what probes: other versions of the decoders may find something else."""
    versions = []
    for name in ("av", "decord", "decord2"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"probe {_PROBE_VERSION}, {', '.join(versions)}"


def _probe_all(
    files: Source, journal: Journal, pool: ProbePool, log: Log
) -> tuple[list[tuple[Entry, Outcome]], int]:
    """Give the outcome of every file, from the journal or by probing, and the number probed."""
    found = [(entry, known) for entry in files.entries if (known := journal.outcome(entry)) is not None]
    known_paths = {entry.path for entry, _ in found}
    waiting = {files.root / entry.path: entry for entry in files.entries if entry.path not in known_paths}
    bar = tqdm(
        total=len(files.entries),
        initial=len(found),
        desc="probing",
        unit=" files",
        file=log,
        mininterval=0.2 if log.isatty() else 10.0,
        disable=not waiting,
        dynamic_ncols=True,
    )
    rejected = 0
    try:
        for path, outcome in pool.run(waiting):
            journal.add(waiting[path], outcome)
            found.append((waiting[path], outcome))
            rejected += outcome.facts is None
            bar.set_postfix(rejected=rejected, refresh=False)
            bar.update()
    except KeyboardInterrupt:
        bar.close()
        print(
            f"stopped after {len(found):,} of {len(files.entries):,} files; the same command goes on from there",
            file=log,
        )
        raise
    bar.close()
    return found, len(waiting)


def _thumbnails(root: Path, videos: Sequence[Video], pool: ProbePool) -> list[Thumbnail]:
    """Draw pictures of a few videos, of as many labels as can be; those that fail are left out."""
    chosen = {root / video.path: video for video in _spread(videos)}
    drawn = {
        path: base64.b64decode(outcome.facts["jpeg"])
        for path, outcome in pool.run(chosen, chain=1)
        if outcome.facts is not None
    }
    return [
        Thumbnail(video.path, video.label, f"{video.duration_seconds:.1f} s, {video.split}", drawn[path])
        for path, video in chosen.items()
        if path in drawn
    ]


def _spread(videos: Sequence[Video]) -> list[Video]:
    """Choose videos label by label in turn."""
    turns: Counter[str] = Counter()
    ranked = []
    for video in videos:
        ranked.append((turns[video.label], video.label, video))
        turns[video.label] += 1
    ranked.sort(key=lambda item: item[:2])
    return [video for _, _, video in ranked[:_MOST_THUMBNAILS]]


def _write(corpus: Path, files: Source, made: Assembled, page: str, fractions: Sequence[float]) -> None:
    """Write the results, the manifest last; each file is whole at any time."""
    write_page(corpus / AUDIT_FILE, page)
    write_table(corpus / REJECTS_FILE, made.rejects, row_type=Reject)
    if not made.videos:
        return
    about = {
        "source": str(files.root),
        "fractions": list(fractions),
        "probe": _stamp(),
        "usable": len(made.videos),
        "rejected": len(made.rejects),
        "ignored": files.ignored,
    }
    write_page(corpus / CORPUS_FILE, json.dumps(about, indent=1) + "\n")
    write_manifest(corpus, made.videos, root=files.root)


def _nothing_usable(source: StrPath, corpus: Path, numbers: Audit) -> AvmiError:
    reasons = ", ".join(f"{reason} {group.count:,}" for reason, group in numbers.rejected.items())
    which = f"all {numbers.rejects:,} files were" if numbers.rejects > 1 else "its only file was"
    return CorpusError(
        f"{source} holds no usable video: {which} rejected ({reasons}); {corpus / AUDIT_FILE} says why"
    )
