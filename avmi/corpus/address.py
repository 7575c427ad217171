"""A folder, or an address of object storage (s3://bucket/shards) → a local folder that stands for it.

The small files of a packed corpus (manifest, settings, rejects) are copied into a cache folder; shards follow when
they are read (`avmi.store.fetch`). Access rights come from where the storage's own tools look for them, never
from the address.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from avmi.config.address import address_of, check_corpus
from avmi.errors import CorpusError
from avmi.types import StrPath

REMOTE_FILE = "remote.json"
CACHE_VARIABLE = "AVMI_CACHE"
# What a laptop can spare and a few dozen shards need.
CACHE_GIGABYTES = 20.0
# The package that fsspec needs for a kind of address, where it is not fsspec's own.
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
_PACKAGES |= {"http": "aiohttp", "https": "aiohttp", "hf": "huggingface_hub", "sftp": "paramiko"}
# Written by `avmi pack`; the manifest last, so that a folder with one is whole.
_OPTIONAL, _REQUIRED = ("rejects.parquet",), ("shards.json", "manifest.parquet")

Found = TypeVar("Found")


@dataclass(frozen=True)
class Remote:
    """Where a local folder's shards come from, and how much of the disk they may take."""

    address: str
    cache_gigabytes: float = CACHE_GIGABYTES
    versions: tuple[str, ...] = ()  # of the small files


def local_folder(
    corpus: StrPath, *, cache: StrPath | None = None, cache_gigabytes: float = CACHE_GIGABYTES
) -> Path:
    """Give the local folder of a corpus; of an address, a folder in the cache with its small files.

    Raises `CorpusError` when the address cannot be read or holds no packed corpus.
    """
    address = address_of(corpus)
    if address is None:
        return Path(corpus)
    try:
        check_corpus(Path(corpus))
    except ValueError as error:
        raise CorpusError(f"corpus: {error}") from None
    folder = (Path(cache) if cache else cache_folder()) / "shards" / _short_hash(address)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _copy_small_files(address, folder, cache_gigabytes)
    except OSError as error:
        raise CorpusError(
            f"the cache {folder} cannot be written ({error.strerror or error}): "
            f"set {CACHE_VARIABLE}, or data.shard_cache, to another folder"
        ) from error
    return folder


def cache_folder() -> Path:
    """Folder for what can be made or fetched again: $AVMI_CACHE, else avmi in the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "avmi"


def read_remote(folder: Path) -> Remote | None:
    """Read where the shards of a local folder come from; None when they are its own."""
    try:
        found = json.loads((folder / REMOTE_FILE).read_text(encoding="utf-8"))
        return Remote(found["address"], found["cache_gigabytes"], tuple(found["versions"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{folder / REMOTE_FILE} cannot be read ({error}): remove the folder") from error


def file_system(address: str) -> Any:
    """Give fsspec's file system of an address; raises `CorpusError` when a package for it is missing."""
    import fsspec

    scheme = address.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(address)[0]
    except ImportError as error:
        package = _PACKAGES.get(scheme, scheme)
        raise CorpusError(
            f"{address} needs the package {package}, which is not installed: pip install {package}"
        ) from error
    except ValueError as error:
        raise CorpusError(f"{address}: no such kind of address as {scheme}://") from error
    except Exception as error:  # every storage has errors of its own
        raise CorpusError(f"{address} cannot be reached: {said(error)}") from error


def said(error: BaseException) -> str:
    """Say a storage's error in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _copy_small_files(address: str, folder: Path, cache_gigabytes: float) -> None:
    files = file_system(address)
    versions, contents = [], {}
    for name in (*_OPTIONAL, *_REQUIRED):
        path = f"{address}/{name}"
        try:
            versions.append(str(_asked(path, files.ukey)))
        except FileNotFoundError:
            if name in _REQUIRED:
                raise CorpusError(
                    f"{address} holds no {name}: it must be a copy of a folder that `avmi pack` wrote"
                ) from None
            continue
        contents[name] = path
    known = read_remote(folder)
    stays = known is not None and known.versions == tuple(versions)
    if not stays:
        for old in folder.iterdir():  # shards of what the address held before
            if old.suffix in (".tar", ".index"):
                old.unlink(missing_ok=True)
        for name, path in contents.items():
            _replace(folder / name, _asked(path, files.cat_file))
    if known is None or not stays or known.cache_gigabytes != cache_gigabytes:
        about = {"address": address, "cache_gigabytes": cache_gigabytes, "versions": versions}
        _replace(folder / REMOTE_FILE, json.dumps(about).encode())


def _asked(path: str, question: Callable[[str], Found]) -> Found:
    """Ask the storage; a file that is not there stays `FileNotFoundError`, all else is one sentence."""
    try:
        return question(path)
    except (FileNotFoundError, KeyboardInterrupt, CorpusError):
        raise
    except Exception as error:
        raise CorpusError(f"{path} cannot be read: {said(error)}") from error


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
