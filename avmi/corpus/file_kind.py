"""A file's bytes → what is wrong with it: text, a torso, damaged (`DecodeError` or a sentence); no decoding."""

import string
from pathlib import Path

from avmi.corpus.members import open_bytes, size_of
from avmi.errors import DecodeError

_MP4_BOXES = set(b"ftyp moov mdat wide free skip styp moof sidx mfra meta uuid udta emsg pdin prft".split())
# What may be missing of the pictures and sounds themselves: less than anybody sees.
_SLACK_SHARE = 0.01
_TEXT = set(string.printable.encode())


def not_opened(path: Path, head: bytes, error: Exception) -> DecodeError:
    """Say why a file cannot be opened; `head` are its first bytes."""
    kind = _container_kind(head)
    if kind == "MP4":
        missing = _missing_of_mp4(path)
        if missing:
            return DecodeError(missing, reason="truncated")
    if kind and size_of(path) < 4096:
        return DecodeError(f"begins like {kind} but ends after {size_of(path)} bytes", reason="truncated")
    if kind:
        return DecodeError(f"begins like {kind} but cannot be opened: {error}")
    if head and all(byte in _TEXT for byte in head):
        return DecodeError(f"text, not a video: it begins {head[:32].decode()!r}", reason="not_media")
    if not any(head):
        return DecodeError("begins with zero bytes: an unfinished download, or no video", reason="not_media")
    return DecodeError("no container that FFmpeg knows", reason="not_media")


def _container_kind(head: bytes) -> str:
    """Name the container whose signature the first bytes are; "" for none."""
    if head[4:8] in _MP4_BOXES:
        return "MP4"
    if head[:4] == b"RIFF" and head[8:11] == b"AVI":
        return "AVI"
    signatures = {
        b"\x1a\x45\xdf\xa3": "Matroska",
        b"FLV\x01": "FLV",
        b"OggS": "Ogg",
        b"\x00\x00\x01\xba": "MPEG-PS",
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "ASF",
    }
    return next((name for signature, name in signatures.items() if head.startswith(signature)), "")


def cut_off(path: Path, *, container: str) -> str:
    """Say what a file lacks of what its own structure promises in bytes; "" for no clear lack.

    `container` is FFmpeg's name of the format. FFmpeg opens cut files as well as it can: an AVI as a
    shorter one, an MP4 with those streams whose index is still there.
    """
    if container == "avi":
        return _missing_of_avi(path)
    return _missing_of_mp4(path) if container.startswith("mov,") else ""


def _missing_of_mp4(path: Path) -> str:
    """Walk an MP4's outermost boxes; say what is missing when the file ends before them."""
    size, at, names = size_of(path), 0, set()
    with open_bytes(path) as file:
        while at + 8 <= size:
            file.seek(at)
            header = file.read(16)
            length, name = int.from_bytes(header[:4], "big"), header[4:8]
            if length == 1:  # a 64-bit length follows the name
                length = int.from_bytes(header[8:16], "big")
            if name not in _MP4_BOXES or 0 < length < 8:
                break  # something else follows the boxes
            names.add(name)
            if length == 0:  # up to the end of the file
                break
            missing = at + length - size
            if missing > 0 and (name != b"mdat" or missing > _SLACK_SHARE * size):
                return (
                    f"its {name.decode()!r} part should have {length:,} bytes, "
                    f"but the file ends after {size - at:,} of them"
                )
            at += length
    if b"moov" not in names:
        return "its index ('moov', written last) is missing: recording or copying was cut off"
    return ""


def _missing_of_avi(path: Path) -> str:
    with open_bytes(path) as file:
        promised = int.from_bytes(file.read(8)[4:], "little") + 8
    size = size_of(path)
    if promised >= 2**32 - 1 or promised <= size * (1 + _SLACK_SHARE):  # never filled in, or whole
        return ""
    return f"its header promises {promised:,} bytes, the file has {size:,}"
