"""A path "<shard>.tar/<member>" → where that member's bytes lie in the tar; other paths → the file itself.

Members of a tar are stored as they are, one after the other, so FFmpeg can read a video in place (its subfile
protocol). The table of a tar's members is read once and kept in the cache folder, to be mapped into memory.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from avmi.corpus.address import cache_folder
from avmi.errors import DecodeError

TAR_SUFFIX = ".tar"
# Protocols that FFmpeg may use for a member: the tar, and a part of it.
PROTOCOLS, MEMBER_PROTOCOLS = "file", "file,subfile"
_OPEN_TABLES = 64


@dataclass(frozen=True)
class Member:
    """A part of a tar."""

    tar: Path
    name: str
    start: int
    size: int


@dataclass(frozen=True)
class MemberTable:
    """The ordinary files of a tar by their names; `error` says why it could not be read to its end."""

    names: Shaped[np.ndarray, "_"]  # UTF-8, sorted
    starts: Shaped[np.ndarray, "_"]
    sizes: Shaped[np.ndarray, "_"]
    error: str

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        for name, start, size in zip(self.names, self.starts, self.sizes, strict=True):
            yield bytes(name).decode(), int(start), int(size)

    def find(self, name: str) -> tuple[int, int] | None:
        """Give start and size of a member."""
        wanted = name.encode()
        place = int(np.searchsorted(self.names, wanted))
        if place == len(self.names) or self.names[place] != wanted:
            return None
        return int(self.starts[place]), int(self.sizes[place])


def member_of(path: Path) -> Member | None:
    """Find the part of a tar that a path names; None for a path of an ordinary file.

    Raises `DecodeError` (unreadable, missing) when the tar cannot be read or has no such member.
    """
    tar = tar_of(path)
    if tar is None:
        return None
    name = path.relative_to(tar).as_posix()
    try:
        found = member_table(tar).find(name)
    except OSError as error:
        raise DecodeError(f"{tar}: {error.strerror or error}", reason="unreadable") from error
    if found is None:
        raise DecodeError(f"{tar} has no member {name}", reason="missing")
    return Member(tar, name, *found)


def tar_of(path: Path) -> Path | None:
    """Give the tar that a path leads into; None when it leads into none."""
    if TAR_SUFFIX not in str(path):
        return None
    return next((p for p in path.parents if p.suffix.lower() == TAR_SUFFIX and p.is_file()), None)


def open_bytes(path: Path) -> io.BufferedReader:
    """Open a file, or a member of a tar, for reading its bytes."""
    member = member_of(path)
    if member is None:
        return path.open("rb")
    return io.BufferedReader(_Part(member))


def size_of(path: Path) -> int:
    """Size in bytes of a file, or of a member of a tar."""
    member = member_of(path)
    return path.stat().st_size if member is None else member.size


def ffmpeg_name(path: Path) -> tuple[str, str]:
    """Give the name under which FFmpeg reads a path, and the protocols that it must be allowed for it."""
    member = member_of(path)
    if member is None:
        # An absolute name cannot be taken for a URL ("a:b.mp4").
        return str(path.absolute()), PROTOCOLS
    end = member.start + member.size
    return f"subfile,,start,{member.start},end,{end},,:{member.tar.absolute()}", MEMBER_PROTOCOLS


def member_table(tar: Path) -> MemberTable:
    """List a tar's members: from the cache folder while the tar is the same, else by reading it."""
    found = tar.stat()
    return _table(str(tar.absolute()), found.st_size, found.st_mtime_ns)


@functools.lru_cache(maxsize=_OPEN_TABLES)
def _table(tar: str, size: int, mtime_ns: int) -> MemberTable:
    stamp = hashlib.sha256(f"{tar}\0{size}\0{mtime_ns}".encode("utf-8", "surrogateescape")).hexdigest()
    folder = cache_folder() / "members" / stamp[:24]
    try:
        return _load(folder)
    except (OSError, ValueError, KeyError):
        table = _read(tar, size)
    with contextlib.suppress(OSError):  # no cache: the next process reads the tar again
        _save(folder, table)
    return table


def _read(tar: str, size: int) -> MemberTable:
    members: dict[bytes, tuple[int, int]] = {}  # of several with one name the last counts, as tar has it
    error = ""
    try:
        with tarfile.open(tar, "r:") as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them
                if not info.isfile() or info.issparse():
                    continue
                if info.offset_data + info.size > size:
                    error = f"it breaks off in {info.name}"
                    break
                try:
                    members[info.name.removeprefix("./").encode()] = (info.offset_data, info.size)
                except UnicodeEncodeError:
                    continue  # a name that is not UTF-8 cannot stand in a manifest
            ended = archive.offset
        if not error and ended + tarfile.BLOCKSIZE > size:
            error = "it breaks off"  # a whole tar ends with blocks of zeros
    except tarfile.TarError as broken:
        error = str(broken)
    names = sorted(members)
    places = np.array([members[name] for name in names], np.int64).reshape(-1, 2)
    return MemberTable(np.array(names, np.bytes_), places[:, 0].copy(), places[:, 1].copy(), error)


def _save(folder: Path, table: MemberTable) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir(exist_ok=True)
    for name in ("names", "starts", "sizes"):
        np.save(temporary / f"{name}.npy", getattr(table, name))
    (temporary / "about.json").write_text(json.dumps({"error": table.error}))
    try:
        temporary.rename(folder)
    except OSError:  # another process was first
        for file in temporary.iterdir():
            file.unlink()
        temporary.rmdir()


def _load(folder: Path) -> MemberTable:
    about = json.loads((folder / "about.json").read_text())
    arrays = {n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("names", "starts", "sizes")}
    return MemberTable(**arrays, error=about["error"])


class _Part(io.RawIOBase):
    """A member of a tar as a file."""

    def __init__(self, member: Member) -> None:
        self._file = member.tar.open("rb")
        self._member, self._at = member, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._member.size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)[: max(0, self._member.size - self._at)]
        self._file.seek(self._member.start + self._at)
        count = self._file.readinto(view) or 0
        self._at += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
