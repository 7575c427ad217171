"""A shard's name in the local folder of an address → the shard itself, fetched whole and once, in a bounded cache.

Several processes may share the cache: one fetches, the others wait. A shard that cannot be fetched fails its
videos at once for a while, so that a run sees many failures and not many timeouts.
"""

import contextlib
import hashlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from avmi.corpus.address import file_system, read_remote, said
from avmi.errors import CorpusError, DecodeError
from avmi.store.index import index_path, read_index

log = logging.getLogger(__name__)

ATTEMPTS = 3
_FIRST_PAUSE_SECONDS = 0.5  # doubled after each failure
_BELIEVE_FAILURE_SECONDS = 60.0
_PIECE_BYTES = 8 << 20
_TOUCH_SECONDS = 10.0


class Fetcher:
    """Sees to it that shards of one local folder are there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._remote = read_remote(folder)
        self._failed: dict[str, tuple[float, str]] = {}
        self._used: dict[Path, float] = {}

    @property
    def is_remote(self) -> bool:
        """Tell whether shards have to be fetched at all."""
        return self._remote is not None

    def have(self, shard: Path) -> None:
        """Fetch a shard unless it is there; raises `DecodeError` (shard_unreachable)."""
        if self._remote is None or self._is_used(shard):
            return
        when, why = self._failed.get(shard.name, (0.0, ""))
        if why and time.monotonic() - when < _BELIEVE_FAILURE_SECONDS:
            raise DecodeError(why, reason="shard_unreachable")
        try:
            with _alone(shard):
                if not shard.exists():
                    self._fetch(shard)
        except (OSError, CorpusError, DecodeError) as error:
            why = str(error)
            self._failed[shard.name] = (time.monotonic(), why)
            raise DecodeError(why, reason="shard_unreachable") from error
        self._used[shard] = time.monotonic()

    def _is_used(self, shard: Path) -> bool:
        """Note that a shard is in use, so that it is not the first to go; False when it is not there."""
        now = time.monotonic()
        if now - self._used.get(shard, -_TOUCH_SECONDS) < _TOUCH_SECONDS and shard.exists():
            return True
        try:
            os.utime(shard)
        except OSError:
            return False
        self._used[shard] = now
        return True

    def _fetch(self, shard: Path) -> None:
        assert self._remote is not None
        address = f"{self._remote.address}/{shard.name}"
        for attempt in range(ATTEMPTS):
            try:
                files = file_system(self._remote.address)
                index = index_path(shard)
                _copy(files, f"{self._remote.address}/{index.name}", index, sha256=None)
                expected = read_index(index, check=True)
                self._make_room(expected.size_bytes)
                _copy(files, address, shard, sha256=expected.sha256)
                return
            except FileNotFoundError as error:
                raise CorpusError(f"{address} does not exist: copy the folder of shards again") from error
            except CorpusError:
                raise
            except Exception as error:
                if attempt + 1 == ATTEMPTS:
                    raise CorpusError(
                        f"{address} cannot be fetched, tried {ATTEMPTS} times: {said(error)}"
                    ) from error
                log.warning("%s could not be fetched (%s): once more", address, said(error))
                time.sleep(_FIRST_PAUSE_SECONDS * 2**attempt)

    def _make_room(self, size_bytes: int) -> None:
        """Remove the shards that were not used for longest, until another one fits under the limit."""
        assert self._remote is not None
        held = []
        for path in self.folder.glob("*.tar"):
            with contextlib.suppress(OSError):
                found = path.stat()
                held.append((found.st_mtime, found.st_size, path))
        free = self._remote.cache_gigabytes * 1e9 - sum(size for _, size, _ in held)
        for _, size, path in sorted(held):
            if free >= size_bytes:
                return
            path.unlink(missing_ok=True)
            index_path(path).unlink(missing_ok=True)
            free += size


def _copy(files: Any, address: str, path: Path, *, sha256: str | None) -> None:
    """Copy a file from the storage, whole or not at all; raises `ValueError` when it is another one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with files.open(address, "rb") as source, temporary.open("wb") as target:
            while piece := source.read(_PIECE_BYTES):
                digest.update(piece)
                target.write(piece)
        if sha256 is not None and digest.hexdigest() != sha256:
            raise ValueError("what arrived is not what was packed: its checksum is another")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _alone(shard: Path) -> Iterator[None]:
    """Keep other processes from fetching the same shard at the same time."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with shard.with_name(f".{shard.name}.lock").open("a") as lock:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
