"""An open file and the places of packets → their bytes, in as few reads as their distances allow."""

from collections.abc import Iterator, Sequence
from io import FileIO

import av

# What lies between two packets is read along when it is shorter: copying it costs what another read would
# (a system call and its Python, about 3 µs), on a disk that turns or a network far less.
_LARGEST_GAP_BYTES = 32 << 10
# Of one read, unless a single packet is larger: 250 pictures of 4K are not held in memory at once.
_LARGEST_READ_BYTES = 1 << 20


class Unfit(Exception):
    """The table does not lead to what was asked for; the container has to be opened."""


def read_packets(file: FileIO, places: Sequence[int], sizes: Sequence[int]) -> Iterator[bytes]:
    """Give each packet's bytes; raises `Unfit` when they are not all there."""
    at = 0
    while at < len(places):
        end = _end_of_read(at, places, sizes)
        start = places[at]
        wanted = max(places[end - 1] + sizes[end - 1], start) - start
        file.seek(start)
        content = file.read(wanted)
        if len(content) != wanted:
            raise Unfit("the file has become shorter")
        for place, size in zip(places[at:end], sizes[at:end], strict=True):
            yield content[place - start : place - start + size]
        at = end


def packet_of(content: bytes) -> av.Packet:
    """Make a packet in FFmpeg's own memory: decoders read some bytes past its end, which are zero there."""
    packet = av.Packet(len(content))
    if content:
        packet.update(content)
    return packet


def _end_of_read(at: int, places: Sequence[int], sizes: Sequence[int]) -> int:
    """First packet that does not belong to the read that begins at this one."""
    start, reached = places[at], places[at] + sizes[at]
    for number in range(at + 1, len(places)):
        place, end = places[number], places[number] + sizes[number]
        if not reached <= place <= reached + _LARGEST_GAP_BYTES or end - start > _LARGEST_READ_BYTES:
            return number
        reached = end
    return len(places)
