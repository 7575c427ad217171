"""A shard on the disk → its samples, memory-mapped: pictures and sound by their places, checked as they are read."""

import mmap
import os
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16, Shaped

from avmi.errors import DecodeError
from avmi.store.index import CODECS, ShardIndex, index_path, read_index
from avmi.store.sample import (
    CRC_BLOCK_BYTES,
    WAV_HEADER_BYTES,
    SampleFacts,
    facts_from_json,
)

# Two mappings a shard hold a file each; systems allow a process 1,024 files, or 256.
MOST_OPEN_SHARDS = 64


@dataclass(frozen=True)
class Sample:
    """One packed video in a mapped shard."""

    shard: "Shard"
    key: str
    row: dict[str, Any]  # of the index's table

    @property
    def where(self) -> str:
        """Name it as paths in the manifest do."""
        return f"{self.shard.path}/{self.key}"

    @property
    def frames(self) -> Shaped[np.ndarray, "_"]:
        """Table of its pictures: seconds, offset, size, crc32."""
        first = self.row["first_frame"]
        return self.shard.index.frames[first : first + self.row["frames"]]

    @property
    def codec(self) -> str:
        """How its sound is kept: pcm, flac, or "" for none."""
        return CODECS[self.row["codec"]]

    def jpeg(self, place: int) -> memoryview:
        """Give a picture as it is stored; raises `DecodeError` (shard_damaged)."""
        frame = self.frames[place]
        content = self.bytes(int(frame["offset"]), int(frame["size"]))
        if not self.shard.is_frame_checked[number := self.row["first_frame"] + place]:
            if zlib.crc32(content) != frame["crc32"]:
                raise DecodeError(f"{self.where}: picture {place} is damaged", reason="shard_damaged")
            self.shard.is_frame_checked[number] = True
        return content

    def pcm(self, first: int, count: int) -> Int16[np.ndarray, "samples"]:
        """Give samples of 16-bit sound, checked; raises `DecodeError` (shard_damaged)."""
        data = self.bytes(
            self.row["sound_offset"] + WAV_HEADER_BYTES, self.row["sound_size"] - WAV_HEADER_BYTES
        )
        low, high = 2 * first, 2 * (first + count)
        for block in range(low // CRC_BLOCK_BYTES, -(-high // CRC_BLOCK_BYTES)):
            begin = block * CRC_BLOCK_BYTES
            self._check_block(block, data[begin : begin + CRC_BLOCK_BYTES])
        return np.frombuffer(data[low:high], "<i2")

    def flac(self) -> memoryview:
        """Give the sound as a whole FLAC file, checked; raises `DecodeError` (shard_damaged)."""
        content = self.bytes(self.row["sound_offset"], self.row["sound_size"])
        self._check_block(0, content)
        return content

    def facts(self) -> SampleFacts:
        """Read its JSON; raises `DecodeError` (shard_damaged)."""
        content = self.bytes(self.row["json_offset"], self.row["json_size"])
        return facts_from_json(bytes(content), where=self.where)

    def _check_block(self, block: int, content: memoryview) -> None:
        number = self.row["sound_first_block"] + block
        is_there = block < self.row["sound_blocks"] and number < len(self.shard.is_block_checked)
        if is_there and self.shard.is_block_checked[number]:
            return
        if not is_there or zlib.crc32(content) != self.shard.index.blocks[number]:
            raise DecodeError(f"{self.where}: its sound is damaged", reason="shard_damaged")
        self.shard.is_block_checked[number] = True

    def bytes(self, offset: int, size: int) -> memoryview:
        """Give bytes of the sample, in place."""
        start = self.row["start"] + offset
        return self.shard.bytes(start, start + size)


class Shard:
    """One tar of packed videos, mapped into memory together with its index."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Times of pictures stand in it: another one would be a wrong picture. A megabyte is summed up in 0.3 ms.
        self.index: ShardIndex = read_index(index_path(path), check=True)
        try:
            self._file = path.open("rb")
            self._view = memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))
        except (OSError, ValueError) as error:
            raise DecodeError(f"{path} cannot be read: {error}", reason="shard_unreadable") from error
        # What was right once is not summed up again: at 3.7 GB a second that is some 0.05 ms of a visit of 0.8.
        self.is_frame_checked = bytearray(len(self.index.frames))
        self.is_block_checked = bytearray(len(self.index.blocks))
        self._check_size()

    def sample(self, key: str) -> Sample:
        """Find a packed video; raises `DecodeError` when the shard has none of this key."""
        self._check_size()
        row = self.index.find(key)
        if row is None:
            raise DecodeError(
                f"{self.path} holds no {key}: run the same `avmi pack` again", reason="shard_damaged"
            )
        return Sample(self, key, row)

    def bytes(self, start: int, stop: int) -> memoryview:
        """Give bytes in place; raises `DecodeError` outside the file, or when it is another one by now."""
        self._check_size()
        if not 0 <= start <= stop <= len(self._view):
            raise DecodeError(f"{self.path}: its index does not fit it", reason="shard_damaged")
        return self._view[start:stop]

    def _check_size(self) -> None:
        # Reading a mapped page behind the end of a file ends the process: better ask first, 1 µs each time.
        size = os.fstat(self._file.fileno()).st_size
        if size < len(self._view) or size != self.index.size_bytes:
            raise DecodeError(
                f"{self.path} has {size:,} bytes, written were {self.index.size_bytes:,}",
                reason="shard_damaged",
            )


class OpenShards:
    """The shards that this process has mapped; the one unused for longest is let go."""

    def __init__(self, *, most: int = MOST_OPEN_SHARDS) -> None:
        self._most = most
        self._open: OrderedDict[Path, Shard] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"_most": self._most, "_open": OrderedDict()}  # another process maps for itself

    def get(self, path: Path) -> Shard:
        """Map a shard, or find it mapped; raises `DecodeError` when it cannot be read."""
        if path not in self._open:
            self._open[path] = Shard(path)
            while len(self._open) > self._most:
                self._open.popitem(last=False)
        self._open.move_to_end(path)
        return self._open[path]
