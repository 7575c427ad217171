"""Names for plain values that cross module borders; imports nothing of avmi."""

from os import PathLike
from typing import Literal

StrPath = str | PathLike[str]
Split = Literal["train", "valid", "test"]
Modality = Literal["image", "audio"]

SPLITS: tuple[Split, ...] = ("train", "valid", "test")
