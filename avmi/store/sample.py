"""One packed video ↔ the members of a tar that share its key: pictures, sound, JSON.

    <key>.00000.jpg  <key>.00001.jpg  …    the pictures on the screen at regular times, each once
    <key>.wav  or  <key>.flac              16-bit mono sound
    <key>.json                             `SampleFacts`: times, places, checksums, the manifest's row

Plain webdataset reads that as one sample. Places count from the sample's first byte, so that a sample can be
copied from tar to tar as it is. The JSON comes last: it knows the others' checksums, and carries its own.
"""

import dataclasses
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Protocol, runtime_checkable

from avmi.errors import DecodeError
from avmi.store.packing import SoundCodec

TAR_BLOCK = tarfile.BLOCKSIZE
TAR_END = bytes(2 * TAR_BLOCK)
WAV_HEADER_BYTES = 44
# One checksum for so many bytes of PCM (0.256 s at 16 kHz): a window is checked without reading the rest.
CRC_BLOCK_BYTES = 8192
_CHECKSUM = b',"checksum":"%08x"}'
SUFFIX_OF: dict[SoundCodec, str] = {"pcm": "wav", "flac": "flac"}

Hole = tuple[float, float]


@dataclass(frozen=True)
class PictureFacts:
    """The pictures of a packed video, in the order of their times."""

    width_px: int
    height_px: int
    tolerance_seconds: float  # how long before its time a picture counts as on the screen
    times_seconds: list[float]  # when each came up, on the video's own clock
    offsets: list[int]
    sizes: list[int]
    crc32: list[int]
    holes: list[Hole]  # where pictures are damaged in the video


@dataclass(frozen=True)
class SoundFacts:
    """The sound of a packed video; sample i is at start_seconds + i / sample_rate_hz."""

    codec: SoundCodec
    sample_rate_hz: int
    start_seconds: float
    samples: int
    offset: int
    size: int
    crc32: list[int]  # of every `CRC_BLOCK_BYTES` of a .wav behind its header; of a whole .flac
    holes: list[Hole]  # where sound is damaged or missing; silence stands there


@dataclass(frozen=True)
class SampleFacts:
    """All that is known of a packed video; `video` is its row in the manifest it was packed from."""

    key: str
    label: str
    split: str
    video_id: str
    source: str
    frames_per_second: float
    pictures: PictureFacts | None
    sound: SoundFacts | None
    video: dict[str, Any]


@runtime_checkable
class Output(Protocol):
    """Where a sample is written to."""

    def write(self, content: bytes, /) -> object:
        """Take in some bytes."""
        ...


class SampleWriter:
    """Writes a sample's members one after the other, so that an hour is never in memory at once."""

    def __init__(self, file: Output, key: str) -> None:
        self.key = key
        self._file = file
        self.size = 0

    def add(self, suffix: str, content: bytes) -> int:
        """Append a member; give the place of its content."""
        return self.add_pieces(suffix, (content,), size=len(content))

    def add_pieces(self, suffix: str, pieces: Iterable[bytes], *, size: int) -> int:
        """Append a member that comes in pieces; give the place of its content."""
        self._file.write(header(f"{self.key}.{suffix}", size))
        place = self.size + TAR_BLOCK
        written = 0
        for piece in pieces:
            self._file.write(piece)
            written += len(piece)
        if written != size:
            raise ValueError(f"{self.key}.{suffix}: {written} bytes instead of {size}")
        self._file.write(bytes(-size % TAR_BLOCK))
        self.size = place + size + -size % TAR_BLOCK
        return place

    def finish(self, facts: SampleFacts) -> None:
        """Append the JSON, the last member."""
        self.add("json", facts_as_json(facts))


def header(name: str, length: int) -> bytes:
    """Make a member's header, alike on every machine and day."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = length, 0o644, 0
    return info.tobuf(tarfile.GNU_FORMAT)


def wav_header(samples: int, sample_rate_hz: int) -> bytes:
    """Make the header of a 16-bit mono WAV of that many samples."""
    data = 2 * samples
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", 36 + data, b"WAVE", b"fmt ", 16, 1, 1, sample_rate_hz, 2 * sample_rate_hz, 2, 16),
        *(b"data", data),
    )


def facts_as_json(facts: SampleFacts) -> bytes:
    """Write facts with a checksum of everything before it as the last key."""
    text = json.dumps(dataclasses.asdict(facts), separators=(",", ":")).encode()[:-1]
    return text + _CHECKSUM % zlib.crc32(text)


def facts_from_json(content: bytes, *, where: str) -> SampleFacts:
    """Read facts; raises `DecodeError` (shard_damaged) when a single byte is not as it was written."""
    length = len(_CHECKSUM % 0)
    text, checksum = content[:-length], content[-length:]
    if checksum != _CHECKSUM % zlib.crc32(text):
        raise DecodeError(f"{where}: its JSON is damaged", reason="shard_damaged")
    found = json.loads(text + b"}")
    pictures, sound = found.pop("pictures"), found.pop("sound")
    return SampleFacts(
        **found,
        pictures=PictureFacts(**pictures) if pictures else None,
        sound=SoundFacts(**sound) if sound else None,
    )


def blocks_crc(content: bytes | bytearray, *, block_bytes: int = CRC_BLOCK_BYTES) -> list[int]:
    """Checksum every block of a member's content."""
    view = memoryview(content)
    return [zlib.crc32(view[i : i + block_bytes]) for i in range(0, len(view), block_bytes)]


def summed_up(pieces: Iterable[bytes], sums: list[int]) -> Iterator[bytes]:
    """Give pieces on, cut elsewhere, and append the checksums of their blocks to `sums`."""
    rest = b""
    for piece in pieces:
        content = rest + piece
        whole = len(content) - len(content) % CRC_BLOCK_BYTES
        sums += blocks_crc(content[:whole])
        yield content[:whole]
        rest = content[whole:]
    sums += blocks_crc(rest)
    yield rest


def key_of(video_id: str) -> str:
    """Name a video in a tar: webdataset ends a key at the first dot of the last part of the path."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "_" for c in video_id)[:80]


def sync(file: BinaryIO) -> None:
    """Have a file on the disk, not only on its way there."""
    file.flush()
    os.fsync(file.fileno())
