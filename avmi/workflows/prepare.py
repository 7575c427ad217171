"""`avmi prepare`: a folder or table of videos → a corpus folder: manifest, rejects, audit.

A corpus folder holds manifest.parquet, rejects.parquet, audit.html, corpus.json (from what and how it was
made) and journal.jsonl (what was found of every file, so that no file is probed twice).
"""

import base64
import dataclasses
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avmi.corpus.assemble import Assembled, assemble
from avmi.corpus.audit import Audit, audit
from avmi.corpus.findings import Likeness, with_findings
from avmi.corpus.journal import Journal
from avmi.corpus.manifest import (
    MANIFEST_FILE,
    REJECTS_FILE,
    EarlierRow,
    Manifest,
    Reject,
    Video,
    read_earlier,
    write_manifest,
    write_table,
)
from avmi.corpus.packet_file import write_packets
from avmi.corpus.pool import Engine
from avmi.corpus.probing import Found, Log, packet_rows, probe_all, stamp
from avmi.corpus.source import Source, read_source
from avmi.decode.probe import Probes, probes_of
from avmi.engine.choose import engine_of
from avmi.engine.share import Share, ShareDone
from avmi.errors import AvmiError, CorpusError, UsageError
from avmi.report.audit import Thumbnail, audit_lines, audit_page
from avmi.report.audit_findings import pictured_paths
from avmi.report.page import write_page
from avmi.types import SPLITS, EngineName, Needs, StrPath

AUDIT_FILE = "audit.html"
CORPUS_FILE = "corpus.json"
_MOST_THUMBNAILS = 24
_FRACTIONS = (0.8, 0.1, 0.1)
_LIKE_SPLITS = {"dev", "eval", "test", "train", "training", "val", "valid", "validate", "validation"}


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


@dataclass(frozen=True)
class _Made(Assembled):
    """What was assembled, with its findings."""

    likenesses: tuple[Likeness, ...]


def prepare(
    source: StrPath,
    *,
    out: StrPath,
    workers: int | None = None,
    time_limit_seconds: float = 30.0,
    fractions: Sequence[float] = _FRACTIONS,
    needs: Needs = "both",
    root: StrPath | None = None,
    engine: EngineName = "local",
    log: Log | None = None,
    probes: Probes | None = None,
) -> Prepared:
    """Probe every video of a folder or table and write the corpus folder `out`.

    `source` is a folder (label = subfolder of first level) or a CSV/Parquet of
    path[,start_seconds,end_seconds,label,split]. `needs` says what a file must hold: picture and sound, or
    one of them; a row then lacks what its file lacks. `root` is the folder that a table's paths start from
    (default: the table's own).
    `workers` processes (default: one per core) probe a file at a time, each within the time limit; with the
    engine ray they are all over a cluster, whose machines see the same folders. `fractions` are the shares of
    train, valid and test; splits of an earlier run are kept. Progress and the audit go to `log` (default: stderr). Stopped and called again, it probes only what is new.
    Raises `CorpusError` when there is nothing to read, nothing usable, or `out` cannot be written.
    """
    begun = time.monotonic()
    log = log or sys.stderr
    _check_numbers(workers, time_limit_seconds, fractions)
    files = read_source(source, out=out, root=root)
    corpus = _corpus_folder(Path(out))
    earlier, notes = _earlier(corpus, fractions, log)
    chains = (probes or probes_of(needs)).chains
    try:
        with (
            Journal(corpus, stamp=stamp(), time_limit_seconds=time_limit_seconds, needs=needs) as journal,
            engine_of(engine, *chains, workers=workers, time_limit_seconds=time_limit_seconds) as pool,
        ):
            found, probed = probe_all(files, journal, pool, log)
            made = _assembled(files, found, earlier, fractions, notes, needs=needs)
            numbers = audit(
                made.videos,
                made.rejects,
                ignored=files.ignored,
                notes=made.notes,
                likenesses=made.likenesses,
            )
            page = _page(numbers, files, made.videos, pool, source=str(source))
            write_packets(corpus, packet_rows(files, made.videos, journal))
            _write(corpus, files, made, page, fractions, needs=needs)
    except OSError as error:
        raise CorpusError(f"{corpus} cannot be written: {error.strerror or error}") from error
    print(audit_lines(numbers), file=log)
    if not made.videos:
        raise _nothing_usable(source, corpus, numbers)
    seconds = time.monotonic() - begun
    return Prepared(files.root, made.videos, corpus, made.rejects, files.ignored, probed, seconds)


def prepare_share(
    source: StrPath,
    *,
    out: StrPath,
    share: Share,
    workers: int | None = None,
    time_limit_seconds: float = 30.0,
    needs: Needs = "both",
    root: StrPath | None = None,
    engine: EngineName = "local",
    log: Log | None = None,
    probes: Probes | None = None,
) -> ShareDone:
    """Probe the files of one job of a job array, into a journal that it alone writes; see `prepare`.

    Jobs may run at the same time. Afterwards `prepare` takes in what they found and writes the corpus.
    """
    begun = time.monotonic()
    _check_numbers(workers, time_limit_seconds, _FRACTIONS)
    files = read_source(source, out=out, root=root)
    corpus = _corpus_folder(Path(out))
    mine = tuple(entry for entry in files.entries if share.has(entry.path))
    chains = (probes or probes_of(needs)).chains
    limit = time_limit_seconds
    suffix = share.suffix
    try:
        with (
            Journal(
                corpus, stamp=stamp(), time_limit_seconds=limit, needs=needs, share_suffix=suffix
            ) as journal,
            engine_of(engine, *chains, workers=workers, time_limit_seconds=limit) as pool,
        ):
            found, probed = probe_all(
                dataclasses.replace(files, entries=mine), journal, pool, log or sys.stderr
            )
    except OSError as error:
        raise CorpusError(f"{corpus} cannot be written: {error.strerror or error}") from error
    rejected = len({entry.path for entry, outcome in found if outcome.facts is None})
    paths = len({entry.path for entry in mine}), len({entry.path for entry in files.entries})
    return ShareDone(corpus, share, "files", paths[1], paths[0], probed, rejected, time.monotonic() - begun)


def _assembled(
    files: Source,
    found: Found,
    earlier: Sequence[EarlierRow],
    fractions: Sequence[float],
    notes: Sequence[str],
    *,
    needs: Needs,
) -> _Made:
    made = assemble(found, earlier=earlier, fractions=fractions, needs=needs)
    rejects = sorted((*made.rejects, *files.rejects), key=lambda reject: reject.path)
    labels = sorted({video.label for video in made.videos})
    if len(labels) > 1 and _LIKE_SPLITS.issuperset(labels):
        said = f"the labels ({', '.join(labels)}) look like splits: a CSV with the columns path, label and split uses them so."
        notes = (*notes, said)
    facts = {o.facts["content_hash"]: o.facts for _, o in found if o.facts is not None}
    videos, likenesses = with_findings(made.videos, facts)
    return _Made(videos, tuple(rejects), (*notes, *made.notes), likenesses)


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


def _earlier(
    corpus: Path, fractions: Sequence[float], log: Log
) -> tuple[tuple[EarlierRow, ...], tuple[str, ...]]:
    """Read the manifest that is to be replaced, for its splits."""
    if not (corpus / MANIFEST_FILE).exists():
        return (), ()
    try:
        videos = read_earlier(corpus)
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


def _page(numbers: Audit, files: Source, videos: Sequence[Video], pool: Engine, *, source: str) -> str:
    """Draw the audit page with pictures of a few videos and of what is found; those that fail are left out."""
    spread = _spread(videos)
    paths = [video.path for video in spread] + pictured_paths(numbers)
    drawn = {
        path: base64.b64decode(outcome.facts["jpeg"])
        for path, outcome in pool.run(dict.fromkeys(files.root / p for p in paths), chain=1)
        if outcome.facts is not None
    }
    pictures = {p: drawn[files.root / p] for p in paths if files.root / p in drawn}
    thumbnails = [
        Thumbnail(v.path, v.label, f"{v.duration_seconds:.1f} s, {v.split}", pictures[v.path])
        for v in spread
        if v.path in pictures
    ]
    return audit_page(numbers, source=source, thumbnails=thumbnails, pictures=pictures)


def _spread(videos: Sequence[Video]) -> list[Video]:
    """Choose videos label by label in turn."""
    turns: Counter[str] = Counter()
    ranked = []
    for video in videos:
        ranked.append((turns[video.label], video.label, video))
        turns[video.label] += 1
    ranked.sort(key=lambda item: item[:2])
    return [video for _, _, video in ranked[:_MOST_THUMBNAILS]]


def _write(
    corpus: Path, files: Source, made: Assembled, page: str, fractions: Sequence[float], *, needs: Needs
) -> None:
    """Write the results, the manifest last; each file is whole at any time."""
    write_page(corpus / AUDIT_FILE, page)
    write_table(corpus / REJECTS_FILE, made.rejects, row_type=Reject)
    if not made.videos:
        return
    about = {
        "source": str(files.root),
        "fractions": list(fractions),
        "needs": needs,
        "probe": stamp(),
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
