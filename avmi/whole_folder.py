"""A folder of files ↔ the disk: written whole or not at all, found whole or not; what a kill left is put in order."""

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

# .NAME.8 hex digits.tmp is a folder in the making, .old one that was just replaced.
_LEFT = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.(?P<kind>tmp|old)")


def temporary_beside(folder: Path) -> Path:
    """Make a new folder that will get the name of another one; `replace_folder` gives it, `recover` removes it."""
    temporary = _beside(folder, "tmp")
    temporary.mkdir(parents=True)
    return temporary


def sha256_of(path: Path) -> str:
    """Hash a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def damaged_files(folder: Path, hashes: Mapping[str, str]) -> list[Path]:
    """List the files that are missing, cannot be read, or are not those of the hashes."""
    damaged = []
    for name, wanted in hashes.items():
        try:
            is_whole = sha256_of(folder / name) == wanted
        except OSError:
            is_whole = False
        if not is_whole:
            damaged.append(folder / name)
    return damaged


def sync_folder(folder: Path) -> None:
    """Force the files of a folder, and their names, to the disk, so that a rename never names an empty one."""
    for path in [*folder.iterdir(), folder]:
        _sync(path)


def replace_folder(temporary: Path, folder: Path) -> None:
    """Give a finished folder its name, putting aside one that stands there; a kill in between loses neither."""
    if folder.exists():
        old = _beside(folder, "old")
        folder.rename(old)
        temporary.rename(folder)
        shutil.rmtree(old, ignore_errors=True)
    else:
        temporary.rename(folder)
    _sync_name(folder.parent)


def remove_folder(folder: Path) -> None:
    """Remove a folder; a kill on the way leaves it under a name that `recover` removes."""
    temporary = _beside(folder, "tmp")
    folder.rename(temporary)
    shutil.rmtree(temporary, ignore_errors=True)


def replace_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, and force it to the disk."""
    temporary = path.with_name(f"{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    _sync(temporary)
    temporary.replace(path)
    _sync_name(path.parent)


def recover(parent: Path) -> None:
    """Put in order what a killed run left: the replaced folder gets its name back where the new one has not got it."""
    for path in sorted(parent.iterdir()) if parent.is_dir() else ():
        left = _LEFT.fullmatch(path.name)
        if left is None:
            continue
        if left["kind"] == "old" and not (parent / left["name"]).exists():
            path.rename(parent / left["name"])
            _sync_name(parent)
        else:
            shutil.rmtree(path, ignore_errors=True)


def _beside(folder: Path, kind: str) -> Path:
    return folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.{kind}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_name(parent: Path) -> None:
    with contextlib.suppress(OSError):  # some network disks sync no folders, and Windows opens none
        _sync(parent)
