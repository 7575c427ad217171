"""Names for plain values that cross module borders; imports nothing of avmi."""

from os import PathLike
from typing import Literal

StrPath = str | PathLike[str]
Split = Literal["train", "valid", "test"]
Modality = Literal["image", "audio"]
Needs = Literal["both", "picture", "sound"]  # what a file must hold to be usable

EngineName = Literal["local", "ray"]  # where many files are worked on

# What may be questionable about a usable video.
Finding = Literal["silent", "still", "short", "offset", "length_mismatch", "near_duplicate"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
