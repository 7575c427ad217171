"""Packed samples in a fixed order → shards: each is written under another name, and renamed when it is whole.

A shard that stands in the folder is never touched again. What a run that was killed leaves behind are whole
samples in `.parts`, from which the next one goes on, and torsos, which it removes.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from avmi.corpus.lock import hold
from avmi.errors import CorpusError, DecodeError
from avmi.store.index import (
    INDEX_SUFFIX,
    Placed,
    ShardIndex,
    index_path,
    make_index,
    read_index,
    scan_shard,
    write_index,
)
from avmi.store.packing import Packing
from avmi.store.sample import TAR_BLOCK, TAR_END, facts_from_json, sync

PARTS_FOLDER = ".parts"
SUMS_FILE = "SHA256SUMS"
_PIECE_BYTES = 1 << 20


@dataclass(frozen=True)
class Part:
    """A whole sample in `.parts`, and what it is: where its JSON lies and what that says."""

    path: Path
    placed: Placed


class ShardWriter:
    """Fills the shards of one split, in the order in which samples are given."""

    def __init__(self, folder: Path, name: str, *, packing: Packing) -> None:
        self._folder, self._name, self._packing = folder, name, packing
        numbers = [_number(path) for path in folder.glob(f"{name}-*.tar")]
        self._next = max(numbers, default=-1) + 1
        self._waiting: list[Part] = []
        self._bytes = len(TAR_END)
        self.written: list[Path] = []

    def add(self, part: Part) -> None:
        """Take the next sample; writes a shard when it would grow too large with it."""
        if self._waiting and self._bytes + part.placed.size > self._packing.shard_bytes:
            self.flush()
        self._waiting.append(part)
        self._bytes += part.placed.size

    def flush(self) -> None:
        """Write what waits as a shard; a sample larger than a shard has one of its own."""
        if not self._waiting:
            return
        shard = self._folder / f"{self._name}-{self._next:05d}.tar"
        temporary = self._folder / PARTS_FOLDER / f"{shard.name}.tmp"
        try:
            with temporary.open("wb") as file:
                index = _join(self._waiting, file)
                sync(file)
            # The index first: a tar that stands there has one.
            write_index(index_path(shard), index)
            temporary.replace(shard)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
        for part in self._waiting:
            part.path.unlink(missing_ok=True)
        self.written.append(shard)
        self._waiting, self._bytes, self._next = [], len(TAR_END), self._next + 1


def _join(parts: list[Part], file: BinaryIO) -> ShardIndex:
    digest, size, placed = hashlib.sha256(), 0, []
    for part in parts:
        here = part.placed
        placed.append(Placed(size, here.size, here.json_offset, here.json_size, here.facts))
        with part.path.open("rb") as source:
            while piece := source.read(_PIECE_BYTES):
                digest.update(piece)
                size += file.write(piece)
        if size != placed[-1].start + here.size:
            raise CorpusError(f"{part.path} changed while it was read: is another program writing there?")
    digest.update(TAR_END)
    size += file.write(TAR_END)
    return make_index(placed, size_bytes=size, sha256=digest.hexdigest())


def read_part(path: Path) -> Part | None:
    """Look whether a part is whole, from its end: its JSON comes last and says how long it is; else None."""
    try:
        with path.open("rb") as file:
            placed = _last_json(file, path.stat().st_size)
    except (OSError, DecodeError, ValueError):
        return None
    return Part(path, placed)


def _last_json(file: BinaryIO, size: int) -> Placed:
    """Find the last member of a sample; its header is the block before a content that fills the rest."""
    import tarfile

    for blocks in range(2, size // TAR_BLOCK + 1):
        file.seek(size - blocks * TAR_BLOCK)
        head = file.read(TAR_BLOCK)
        if head[257:262] != b"ustar":
            continue
        try:
            info = tarfile.TarInfo.frombuf(head, "utf-8", "strict")
        except tarfile.HeaderError:
            continue
        if not info.name.endswith(".json") or -(-info.size // TAR_BLOCK) != blocks - 1:
            break
        offset = size - (blocks - 1) * TAR_BLOCK
        facts = facts_from_json(file.read(info.size), where=info.name)
        return Placed(0, size, offset, info.size, facts)
    raise ValueError("no JSON at its end")


def standing_shards(folder: Path) -> Iterator[tuple[Path, ShardIndex]]:
    """Give the shards that stand in a folder; makes an index again that is missing or damaged.

    Raises `CorpusError` when a tar there is no whole shard.
    """
    for shard in sorted(folder.glob("*.tar")):
        try:
            index = read_index(index_path(shard), check=True)
        except DecodeError:
            index = rebuild_index(shard)
        if index.size_bytes != shard.stat().st_size:
            raise CorpusError(
                f"{shard} has {shard.stat().st_size:,} bytes, written were {index.size_bytes:,}: remove it, "
                "and its videos are packed again"
            )
        yield shard, index


def rebuild_index(shard: Path) -> ShardIndex:
    """Make the index of a shard from the tar alone, and write it; raises `CorpusError` for a torso."""
    placed = list(scan_shard(shard))
    with shard.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    index = make_index(placed, size_bytes=shard.stat().st_size, sha256=sha256)
    write_index(index_path(shard), index)
    return index


def remove_torsos(folder: Path) -> None:
    """Remove what a run that was killed has left half done: unfinished files, and indexes without their tar."""
    for torso in (*(folder / PARTS_FOLDER).glob("*.tmp"), *folder.glob(".*.tmp")):
        torso.unlink(missing_ok=True)
    for index in folder.glob(f"*{INDEX_SUFFIX}"):
        if not index.with_suffix(".tar").exists():
            index.unlink(missing_ok=True)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep a second run away from the same shards; the lock ends with the process, however it ends."""
    with (folder / PARTS_FOLDER / "lock").open("a") as lock:
        hold(lock.fileno(), folder, verb="pack", how="alone")
        yield


@contextlib.contextmanager
def beside_others_in(folder: Path, *, share_suffix: str) -> Iterator[None]:
    """Let jobs of a job array work side by side: none twice, and no run that writes shards."""
    with (
        (folder / PARTS_FOLDER / "lock").open("a") as lock,
        (folder / PARTS_FOLDER / f"lock{share_suffix}").open("a") as own,
    ):
        hold(lock.fileno(), folder, verb="pack", how="with_others")
        hold(own.fileno(), folder, verb="pack", how="alone")
        yield


def _number(shard: Path) -> int:
    digits = shard.stem.rpartition("-")[2]
    return int(digits) if digits.isdigit() else -1
