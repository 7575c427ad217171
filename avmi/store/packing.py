"""How a corpus is packed (`Packing`) ↔ shards.json of the folder of shards."""

import dataclasses
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from avmi.corpus.source import SHARDS_FILE
from avmi.errors import CorpusError
from avmi.types import StrPath

PACKING_FILE = SHARDS_FILE
FORMAT_VERSION = 1

SoundCodec = Literal["pcm", "flac"]


@dataclass(frozen=True)
class Packing:
    """What is kept of every video, and how the shards are cut; the same for a whole folder of shards."""

    frames_per_second: float = 4.0
    size_px: int = 224  # short side; smaller videos keep their size
    quality: int = 69  # of the JPEGs: the most at which 340 × 256 video of long GOPs grows by less than 15 %
    audio: SoundCodec = "pcm"
    sample_rate_hz: int = 16000
    shard_megabytes: float = 500.0  # some thousand ten-second videos; a fetch from afar takes seconds

    @property
    def shard_bytes(self) -> int:
        """Size that a shard of several videos does not exceed."""
        return round(self.shard_megabytes * 1e6)


DEFAULT_PACKING = Packing()


def write_packing(shards: StrPath, packing: Packing) -> None:
    """Write `shards.json`, whole or not at all."""
    text = json.dumps({"format_version": FORMAT_VERSION, **dataclasses.asdict(packing)}, indent=1) + "\n"
    replace_file(Path(shards) / PACKING_FILE, text.encode())


def read_packing(shards: StrPath) -> Packing | None:
    """Read `shards.json`; None when the folder holds no shards of avmi.

    Raises `CorpusError` when the file is of another version or damaged.
    """
    path = Path(shards) / PACKING_FILE
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise CorpusError(f"{path} cannot be read ({error}): run the same `avmi pack` again") from error
    if not isinstance(found, dict) or found.pop("format_version", None) != FORMAT_VERSION:
        raise CorpusError(f"{path} is of another version of avmi: pack the corpus again with this one")
    try:
        return Packing(**found)
    except TypeError as error:
        raise CorpusError(f"{path} is damaged ({error}): run the same `avmi pack` again") from error


def is_packed(corpus: StrPath) -> bool:
    """Tell whether a corpus folder is one of shards."""
    return (Path(corpus) / PACKING_FILE).is_file()


def replace_file(path: Path, content: bytes) -> None:
    """Write a small file under a temporary name and rename it: never half a file, also after a power cut."""
    # Jobs on several machines may have one process number.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
