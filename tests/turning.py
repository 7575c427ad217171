"""An MP4 as written → the same with a matrix that turns its pictures clockwise, as telephones write them."""

import struct
from pathlib import Path

# x' = a x + c y, y' = b x + d y with y downwards (QuickTime File Format, "Matrices").
_A_B_C_D = {0: (1, 0, 0, 1), 90: (0, 1, -1, 0), 180: (-1, 0, 0, -1), 270: (0, -1, 1, 0)}


def turn(path: Path, clockwise_degrees: int) -> Path:
    """Overwrite the matrix of the file's first track, which must be the pictures; return the path."""
    a, b, c, d = (value << 16 for value in _A_B_C_D[clockwise_degrees])
    file = bytearray(path.read_bytes())
    at = file.find(b"tkhd") + 4 + 40  # 40 bytes of a track header of version 0 come first
    file[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(file)
    return path
