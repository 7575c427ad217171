"""The packets of a file → its packet table: all that a decoder needs to start without opening the container.

A table holds, for the best picture stream and the best sound stream, where each packet's bytes lie in the file, how
many they are and when they are shown, and how the decoder is set up. `packed` and `unpacked` turn it into a few
hundred bytes and back. Whether reading by it is exact is proved elsewhere (`avmi.decode.packet_proof`).
"""

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64

_MAGIC = b"avmi packets 1\n"
_NUMBERS = (np.int8, np.int16, np.int32, np.int64)


@dataclass(frozen=True)
class Coding:
    """How a decoder is set up: FFmpeg's names and the bytes that the container keeps for it."""

    decoder: str  # of FFmpeg
    tag: str  # four characters, which tell some decoders whose mistakes to expect
    extradata: bytes
    width_px: int = 0
    height_px: int = 0
    pixel_format: str = ""
    colour: tuple[int, int, int, int] = (0, 2, 2, 2)  # range, primaries, transfer, space, in FFmpeg's numbers
    bits_a_sample: int = 0
    sample_rate_hz: int = 0
    layout: str = ""


@dataclass(frozen=True)
class PicturePackets:
    """The packets of the pictures in the order of decoding."""

    coding: Coding
    tick: Fraction  # seconds
    rotation: int  # FFmpeg's, counter-clockwise degrees
    stamps: Int64[np.ndarray, "packets"]  # when the picture comes up, in ticks
    places: Int64[np.ndarray, "packets"]  # first byte in the file
    sizes: Int64[np.ndarray, "packets"]
    keys: Bool[np.ndarray, "packets"]
    shown: Bool[np.ndarray, "packets"]  # not hidden by an edit list


@dataclass(frozen=True)
class SoundPackets:
    """The packets of the sound, and what came out of each when all of them were decoded from the start."""

    coding: Coding
    tick: Fraction
    # After a few packets' run-up the samples are those of a decode from the start; `scan` only knows what it is not.
    can_start_anywhere: bool
    stamps: Int64[np.ndarray, "packets"]  # of the first sample that came out
    places: Int64[np.ndarray, "packets"]
    sizes: Int64[np.ndarray, "packets"]
    samples: Int64[np.ndarray, "packets"]  # of one channel


@dataclass(frozen=True)
class PacketTable:
    """What is kept of a file; None stands for a stream that it has not, or that is not used."""

    container: str  # FFmpeg's first name
    origin_seconds: float  # where the container's clock has the package's zero
    pictures: PicturePackets | None
    sound: SoundPackets | None


def packed(table: PacketTable) -> bytes:
    """Write a table as bytes: numbers as differences, of as few bytes as they need, deflated."""
    head: dict[str, Any] = {"container": table.container, "origin_seconds": table.origin_seconds}
    columns: list[bytes] = []
    if (pictures := table.pictures) is not None:
        head["pictures"] = _head(pictures.coding, pictures.tick) | {"rotation": pictures.rotation}
        columns += [
            *_stream_columns(pictures.stamps, pictures.places, pictures.sizes),
            np.packbits(pictures.keys).tobytes(),
            np.packbits(pictures.shown).tobytes(),
        ]
    if (sound := table.sound) is not None:
        head["sound"] = _head(sound.coding, sound.tick) | {"can_start_anywhere": sound.can_start_anywhere}
        columns += [*_stream_columns(sound.stamps, sound.places, sound.sizes), _column(sound.samples)]
    about = json.dumps(head, separators=(",", ":")).encode()
    parts = [struct.pack("<I", len(part)) + part for part in (about, *columns)]
    return _MAGIC + zlib.compress(b"".join(parts), 6)


def unpacked(blob: bytes | memoryview) -> PacketTable:
    """Read a table; raises `ValueError` when the bytes are no table."""
    if bytes(blob[: len(_MAGIC)]) != _MAGIC:
        raise ValueError("no packet table")
    try:
        return _unpacked(zlib.decompress(blob[len(_MAGIC) :]))
    except (zlib.error, struct.error, KeyError, TypeError, IndexError, ZeroDivisionError) as error:
        raise ValueError(f"a damaged packet table: {error}") from error


def _unpacked(content: bytes) -> PacketTable:
    parts, at = [], 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        parts.append(content[at + 4 : at + 4 + length])
        at += 4 + length
    head = json.loads(parts[0])
    rest = iter(parts[1:])
    pictures = sound = None
    if "pictures" in head:
        coding, tick = _coding(head["pictures"])
        stamps, places, sizes = _stream_numbers([next(rest) for _ in range(4)])
        pictures = PicturePackets(
            coding,
            tick,
            head["pictures"]["rotation"],
            stamps,
            places,
            sizes,
            _bits(next(rest), len(sizes)),
            _bits(next(rest), len(sizes)),
        )
    if "sound" in head:
        coding, tick = _coding(head["sound"])
        stamps, places, sizes = _stream_numbers([next(rest) for _ in range(4)])
        anywhere = head["sound"]["can_start_anywhere"]
        sound = SoundPackets(coding, tick, anywhere, stamps, places, sizes, _numbers(next(rest)))
    return PacketTable(head["container"], head["origin_seconds"], pictures, sound)


def _head(coding: Coding, tick: Fraction) -> dict[str, Any]:
    plain = asdict(coding) | {"extradata": coding.extradata.hex()}
    return {"coding": plain, "tick": [tick.numerator, tick.denominator]}


def _coding(head: dict[str, Any]) -> tuple[Coding, Fraction]:
    plain = head["coding"]
    extradata, colour = bytes.fromhex(plain["extradata"]), tuple(plain["colour"])
    return Coding(**{**plain, "extradata": extradata, "colour": colour}), Fraction(*head["tick"])


def _stream_columns(stamps: np.ndarray, places: np.ndarray, sizes: np.ndarray) -> list[bytes]:
    """Write stamps as steps in units of their greatest common divisor, places as gaps between packets."""
    steps = np.diff(stamps, prepend=0)
    unit = int(np.gcd.reduce(steps[1:])) if len(steps) > 1 else 1
    first = steps[:1].copy()
    steps = steps // max(unit, 1)
    steps[:1] = 0
    gaps = places - np.concatenate([[0], (places + sizes)[:-1]])
    return [_column(np.concatenate([first, [max(unit, 1)]])), _column(steps), _column(gaps), _column(sizes)]


def _stream_numbers(columns: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    about, steps, gaps, sizes = (_numbers(column) for column in columns)
    if not len(steps) == len(gaps) == len(sizes):
        raise ValueError("a damaged packet table: columns of different lengths")
    first, unit = int(about[0]), int(about[1])
    # Each place is the gap after the packet before it.
    places = np.cumsum(gaps) + np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return first + unit * np.cumsum(steps), places, sizes


def _column(values: np.ndarray) -> bytes:
    """Write integers in the smallest type that holds them, equal bytes of all of them together."""
    low, high = (int(values.min()), int(values.max())) if len(values) else (0, 0)
    kind = next(k for k in _NUMBERS if np.iinfo(k).min <= low and high <= np.iinfo(k).max)
    narrow = np.ascontiguousarray(values, dtype=np.dtype(kind).newbyteorder("<"))
    width = narrow.dtype.itemsize
    return bytes([width]) + narrow.view(np.uint8).reshape(-1, width).T.tobytes()


def _numbers(column: bytes) -> Int64[np.ndarray, "_"]:
    width = column[0]
    together = np.frombuffer(column, np.uint8, offset=1).reshape(width, -1)
    return np.ascontiguousarray(together.T).view(f"<i{width}").reshape(-1).astype(np.int64)


def _bits(column: bytes, count: int) -> Bool[np.ndarray, "_"]:
    bits = np.unpackbits(np.frombuffer(column, np.uint8), count=count)
    return bits.astype(bool)
