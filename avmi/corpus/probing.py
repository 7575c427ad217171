"""The files of a source, a journal and a pool → the outcome of every file, each probed once; progress → a log."""

import importlib.metadata
from collections.abc import Iterator, Sequence
from typing import Protocol, runtime_checkable

from tqdm import tqdm

from avmi.corpus.journal import Journal
from avmi.corpus.manifest import Video
from avmi.corpus.packet_file import PacketRow
from avmi.corpus.pool import Engine, Outcome
from avmi.corpus.source import Entry, Source

# Raise it when probing measures something else than before: journals are then not believed any more.
_PROBE_VERSION = 3

Found = list[tuple[Entry, Outcome]]


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


def stamp() -> str:
    """Name what probes: other versions of the decoders may find something else."""
    versions = []
    for name in ("av", "decord", "decord2"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"probe {_PROBE_VERSION}, {', '.join(versions)}"


def packet_rows(files: Source, videos: Sequence[Video], journal: Journal) -> Iterator[PacketRow]:
    """Give the packet tables of a manifest's videos out of the journal, in the order of their contents."""
    entries = {entry.path: entry for entry in files.entries}
    by_content = {video.content_hash: video.path for video in videos if not video.index_reason}
    for content, path in sorted(by_content.items()):
        table = journal.packet_table(path)
        if table is not None:
            yield PacketRow(content, entries[path].size_bytes, entries[path].mtime_ns, table)


def probe_all(files: Source, journal: Journal, pool: Engine, log: Log) -> tuple[Found, int]:
    """Give the outcome of every entry, from the journal or by probing, and the number of files probed.

    A file of several entries is probed once.
    """
    by_path: dict[str, list[Entry]] = {}
    for entry in files.entries:
        by_path.setdefault(entry.path, []).append(entry)
    outcomes = {
        path: known for path, same in by_path.items() if (known := journal.outcome(same[0])) is not None
    }
    waiting = {files.root / path: same[0] for path, same in by_path.items() if path not in outcomes}
    if outdated := sum(journal.is_outdated(entry) for entry in waiting.values()):
        print(
            f"{outdated:,} files were probed by another version of this program or of its decoders, "
            "which may have found something else: they are probed again",
            file=log,
        )
    bar = tqdm(
        total=len(by_path),
        initial=len(outcomes),
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
            outcomes[waiting[path].path] = outcome
            rejected += outcome.facts is None
            bar.set_postfix(rejected=rejected, refresh=False)
            bar.update()
    except KeyboardInterrupt:
        bar.close()
        print(
            f"stopped after {len(outcomes):,} of {len(by_path):,} files; the same command goes on from there",
            file=log,
        )
        raise
    bar.close()
    return [(entry, outcomes[entry.path]) for entry in files.entries], len(waiting)
