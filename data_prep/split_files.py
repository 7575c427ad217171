"""SPLIT=FILE words of the command line → annotation files, each with its split if it was named."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from avmi.errors import UsageError
from avmi.types import Split
from data_prep.listing import split_named


@dataclass(frozen=True)
class SplitFile:
    """One annotation file; None: the split stands in the file, or in its name."""

    path: Path
    split: Split | None = None


def split_files(words: Iterable[str]) -> list[SplitFile]:
    """Part SPLIT=FILE; a word without a split is a file's name, whatever it holds.

    Raises `UsageError` for a split that is none.
    """
    found = []
    for word in words:
        name, equals, path = word.partition("=")
        if not equals or Path(word).exists():
            found.append(SplitFile(Path(word).expanduser()))
            continue
        split = split_named(name)
        if split is None:
            raise UsageError(f"{word}: {name!r} is no split; give train=FILE, valid=FILE or test=FILE")
        found.append(SplitFile(Path(path).expanduser(), split))
    return found
