"""The samples of one shard as tables of numbers ↔ a file beside it that can be memory-mapped; or the tar → these.

The index says where everything lies, so that a picture is found without parsing anything. It holds nothing
that the tar does not: `scan_shard` makes it again from the tar alone.
"""

import json
import mmap
import tarfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from avmi.errors import CorpusError, DecodeError
from avmi.store.packing import replace_file
from avmi.store.sample import TAR_END, SampleFacts, facts_from_json

INDEX_SUFFIX = ".index"
FORMAT_VERSION = 1
CODECS = ("", "pcm", "flac")  # by their number in the table
_ALIGN_BYTES = 64

FRAME = np.dtype([("seconds", "<f8"), ("offset", "<i8"), ("size", "<i4"), ("crc32", "<u4")])
BLOCK = np.dtype("<u4")


def _sample_dtype(key_bytes: int) -> Any:
    places = [(name, "<i8") for name in ("start", "size", "json_offset", "json_size")]
    pictures = [("first_frame", "<i8"), ("frames", "<i4"), ("width_px", "<i4"), ("height_px", "<i4")]
    sound = [(f"sound_{name}", "<i8") for name in ("offset", "size", "samples", "first_block", "blocks")]
    more = [("tolerance_seconds", "<f8"), ("sound_start_seconds", "<f8"), ("sound_rate_hz", "<i4")]
    kinds = [("codec", "u1"), ("has_holes", "u1")]
    return np.dtype([("key", f"S{key_bytes}"), *places, *pictures, *sound, *more, *kinds])


@dataclass(frozen=True)
class Placed:
    """A sample in a tar: where it begins and ends, where its JSON lies in it, and what that says."""

    start: int
    size: int
    json_offset: int
    json_size: int
    facts: SampleFacts


@dataclass(frozen=True)
class ShardIndex:
    """Tables of one shard; `samples` are sorted by their keys."""

    samples: Shaped[np.ndarray, "_"]
    frames: Shaped[np.ndarray, "_"]
    blocks: Shaped[np.ndarray, "_"]
    size_bytes: int  # of the tar
    sha256: str  # of the tar

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def keys(self) -> list[str]:
        """Give the samples' keys in the order of the alphabet."""
        return [key.decode() for key in self.samples["key"].tolist()]

    def find(self, key: str) -> dict[str, Any] | None:
        """Find the row of a sample, as plain values: fields of a numpy row cost ten times as much to read."""
        wanted = key.encode()
        place = int(np.searchsorted(self.samples["key"], wanted))
        if place == len(self.samples) or self.samples["key"][place] != wanted:
            return None
        return dict(zip(self.samples.dtype.names or (), self.samples[place].item(), strict=True))


def index_path(shard: Path) -> Path:
    """Name the index of a shard: train-00000.tar has train-00000.index."""
    return shard.with_suffix(INDEX_SUFFIX)


def make_index(placed: Sequence[Placed], *, size_bytes: int, sha256: str) -> ShardIndex:
    """Lay samples out as tables."""
    placed = sorted(placed, key=lambda p: p.facts.key.encode())
    key_bytes = max((len(p.facts.key.encode()) for p in placed), default=1)
    samples = np.zeros(len(placed), _sample_dtype(key_bytes))
    frames: list[tuple[float, int, int, int]] = []
    blocks: list[int] = []
    for row, sample in zip(samples, placed, strict=True):
        facts, pictures, sound = sample.facts, sample.facts.pictures, sample.facts.sound
        row["key"] = facts.key.encode()
        for name in ("start", "size", "json_offset", "json_size"):
            row[name] = getattr(sample, name)
        row["first_frame"], row["sound_first_block"] = len(frames), len(blocks)
        row["has_holes"] = bool((pictures and pictures.holes) or (sound and sound.holes))
        if pictures:
            row["frames"] = len(pictures.times_seconds)
            row["width_px"], row["height_px"] = pictures.width_px, pictures.height_px
            row["tolerance_seconds"] = pictures.tolerance_seconds
            columns = (pictures.times_seconds, pictures.offsets, pictures.sizes, pictures.crc32)
            frames += zip(*columns, strict=True)
        if sound:
            row["codec"] = CODECS.index(sound.codec)
            row["sound_offset"], row["sound_size"] = sound.offset, sound.size
            row["sound_samples"], row["sound_blocks"] = sound.samples, len(sound.crc32)
            row["sound_start_seconds"], row["sound_rate_hz"] = sound.start_seconds, sound.sample_rate_hz
            blocks += sound.crc32
    return ShardIndex(samples, np.array(frames, FRAME), np.array(blocks, BLOCK), size_bytes, sha256)


def write_index(path: Path, index: ShardIndex) -> None:
    """Write an index, whole or not at all: a line of JSON, then the tables."""
    tables = (index.samples, index.frames, index.blocks)
    body = b"".join(table.tobytes() + bytes(-table.nbytes % _ALIGN_BYTES) for table in tables)
    about = {
        "avmi_index": FORMAT_VERSION,
        "tables": [len(table) for table in tables],
        "key_bytes": index.samples.dtype["key"].itemsize,
        "size_bytes": index.size_bytes,
        "sha256": index.sha256,
        "crc32": zlib.crc32(body),
    }
    line = json.dumps(about).encode() + b"\n"
    replace_file(path, line.rjust(-(-len(line) // _ALIGN_BYTES) * _ALIGN_BYTES) + body)


def read_index(path: Path, *, check: bool = False) -> ShardIndex:
    """Map an index into memory; `check` reads it through and compares its checksum.

    Raises `DecodeError` (shard_unreadable, shard_damaged) when it is missing or not what was written.
    """
    try:
        with path.open("rb") as file:
            line = file.readline(4096)
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise DecodeError(f"{path} cannot be read: {error}", reason="shard_unreadable") from error
    try:
        about = json.loads(line)
        if about["avmi_index"] != FORMAT_VERSION:
            raise ValueError("another version")
        if check and zlib.crc32(memoryview(mapped)[len(line) :]) != about["crc32"]:
            raise ValueError("its checksum is wrong")
        at, tables = len(line), []
        for count, dtype in zip(
            about["tables"], (_sample_dtype(about["key_bytes"]), FRAME, BLOCK), strict=True
        ):
            table = np.frombuffer(mapped, dtype, count, at) if count else np.zeros(0, dtype)
            tables.append(table)
            at += table.nbytes + -table.nbytes % _ALIGN_BYTES
        samples, frames, blocks = tables
        # Of the first line only this is in no checksum.
        if samples["frames"].sum() != len(frames) or samples["sound_blocks"].sum() != len(blocks):
            raise ValueError("its tables do not fit each other")
        return ShardIndex(samples, frames, blocks, about["size_bytes"], about["sha256"])
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DecodeError(
            f"{path} is damaged ({error}): `avmi pack --check` makes it again", reason="shard_damaged"
        ) from error


def scan_shard(shard: Path) -> Iterator[Placed]:
    """Read a tar from end to end for its samples; raises `CorpusError` where it is not one of avmi.

    Contents are not checked here, but for the JSONs, which check themselves.
    """
    start = 0
    try:
        with tarfile.open(shard, "r:") as tar, shard.open("rb") as file:
            for member in tar:
                if not member.name.endswith(".json"):
                    continue
                file.seek(member.offset_data)
                content = file.read(member.size)
                end = member.offset_data + member.size + -member.size % tarfile.BLOCKSIZE
                facts = facts_from_json(content, where=f"{shard}/{member.name}")
                yield Placed(start, end - start, member.offset_data - start, member.size, facts)
                start = end
                tar.members = []  # type: ignore[attr-defined]  # tarfile would keep all of them
        if shard.stat().st_size != start + len(TAR_END):
            raise tarfile.ReadError(f"it breaks off, or something follows, after {start:,} bytes")
    except (tarfile.TarError, DecodeError, OSError, KeyError, TypeError) as error:
        raise CorpusError(f"{shard} is no whole shard of avmi: {error}") from error
