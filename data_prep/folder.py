"""A folder of videos → a corpus: class = subfolder, or splits = subfolders and class = the subfolder below.

`avmi prepare` reads a folder of classes by itself; this adds folders called train, valid and test (or val, …).
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from data_prep.listing import Clip, Listing, Name, split_named
from data_prep.matching import Files


def listing_of_folder(files: Files) -> Listing | None:
    """List the files of a folder whose first level is splits; None when it is not."""
    clips = []
    for path in sorted(path for paths in files.by_stem.values() for path in paths):
        parts = PurePosixPath(path).parts
        split = split_named(parts[0]) if len(parts) > 1 else None
        if split is None:
            return None
        labels = (parts[1],) if len(parts) > 2 else ()
        clips.append(Clip(path, path, split, labels))
    return Listing("folder", tuple(clips), names_of_path) if clips else None


def names_of_path(clip: Clip) -> Iterator[Name]:
    """Give the name of a clip whose key is its file's path."""
    name = PurePosixPath(clip.key).name
    stem, dot, suffix = name.rpartition(".")
    yield Name(
        stem if dot and len(suffix) < 5 else name, cut="no" if clip.start_seconds is not None else "yes"
    )
    yield Name(name, cut="no" if clip.start_seconds is not None else "yes")
