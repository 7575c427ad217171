"""A tar in a folder of videos → the videos in it, as webdataset and video2dataset lay them out; with their labels.

Members that share a name up to the first dot of its last part are one sample: key.mp4 beside key.json, key.cls,
key.txt. The label is "label" in the JSON (columns that video2dataset saves stand there), else the text of .cls
(webdataset's class), else the folder that the tar lies in. A .txt is a caption, no label.
"""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avmi.corpus.manifest import Reject
from avmi.corpus.members import MemberTable, member_table
from avmi.corpus.table import LABEL_SEPARATOR, Listed
from avmi.types import SPLITS

COMPRESSED_SUFFIXES = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")
# More is no metadata of one video.
_LONGEST_SIDE_FILE_BYTES = 1 << 20


@dataclass(frozen=True)
class FoundVideos:
    """The videos of one file, what is wrong with it, and how many files or members are no videos."""

    listed: tuple[Listed, ...] = ()
    rejects: tuple[Reject, ...] = ()
    ignored: int = 0


def is_compressed(name: str) -> bool:
    """Tell a compressed tar by its name: its members cannot be read in place."""
    return name.lower().endswith(COMPRESSED_SUFFIXES)


def compressed_reject(path: str) -> Reject:
    """Say why a compressed tar is not read."""
    return Reject(path, "compressed_tar", "videos in a compressed tar cannot be read in place: decompress it")


def read_tar(tar: Path, *, path: str, folder_label: str, is_media: Callable[[str], bool]) -> FoundVideos:
    """List the videos of a tar, which is named `path` in the manifest; `is_media` tells them by their names."""
    try:
        table = member_table(tar)
    except OSError as error:
        return FoundVideos(rejects=(Reject(path, "unreadable", error.strerror or str(error)),))
    sizes = {name: size for name, _, size in table}
    listed: list[Listed] = []
    rejects: list[Reject] = []
    ignored = 0
    with tar.open("rb") as file:
        for name in sizes:
            if not is_media(name):
                ignored += 1
            elif ".." in name.split("/") or name.startswith("/"):
                rejects.append(
                    Reject(f"{path}/{name}", "bad_name", "its name in the tar leads out of the tar")
                )
            else:
                labels, split = _labels(file, table, sizes, name)
                first, *further = labels or [folder_label]
                listed.append(Listed(f"{path}/{name}", first, split, further_labels=tuple(further)))
    if table.error:
        what = "what follows is lost" if listed else "nothing in it can be read"
        rejects.append(Reject(path, "broken_tar", f"{table.error}; {what}"))
    return FoundVideos(tuple(listed), tuple(rejects), ignored)


def _labels(file: Any, table: MemberTable, sizes: dict[str, int], name: str) -> tuple[list[str], Any]:
    """Read the labels and the split that stand beside a video."""
    folder, slash, last = name.rpartition("/")
    key = f"{folder}{slash}{last.partition('.')[0]}"
    labels: list[str] = []
    split = None
    if f"{key}.json" in sizes:
        try:
            found = json.loads(_content(file, table, f"{key}.json"))
        except ValueError:
            found = None
        if isinstance(found, dict):
            labels = _as_labels(found.get("label"))
            split = found.get("split") if found.get("split") in SPLITS else None
    if not labels and f"{key}.cls" in sizes:
        labels = _as_labels(_content(file, table, f"{key}.cls").decode("utf-8", "replace"))
    return labels, split


def _as_labels(value: object) -> list[str]:
    if isinstance(value, list):
        return [label for inner in value for label in _as_labels(inner)]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return []
    return [label.strip() for label in str(value).split(LABEL_SEPARATOR) if label.strip()]


def _content(file: Any, table: MemberTable, name: str) -> bytes:
    found = table.find(name)
    if found is None or found[1] > _LONGEST_SIDE_FILE_BYTES:
        return b""
    file.seek(found[0], os.SEEK_SET)
    content: bytes = file.read(found[1])
    return content
