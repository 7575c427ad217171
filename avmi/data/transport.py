"""Views that a worker cut → the same tensors in the main process, through memory that both share.

The bytes go into an anonymous file in memory (memfd), of which the pipe carries only the descriptor: nothing
large is pickled, /dev/shm (64 MB in many containers) is not used, a worker that is killed leaves nothing behind,
and the descriptor is closed as soon as the bytes are copied out, so that their number does not grow. Where a system
has no memfd the bytes go through the pipe.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.connection import Connection

import numpy as np
import torch
from torch import Tensor

HAS_MEMFD = hasattr(os, "memfd_create")
_ALIGNED_BYTES = 64  # a cache line; numpy wants 8


@dataclass(frozen=True)
class Placed:
    """Where in the shared memory a tensor is."""

    dtype: str
    shape: tuple[int, ...]
    offset_bytes: int


@dataclass(frozen=True)
class Layout:
    """Where the views of each clip are, and how many bytes they take together."""

    clips: tuple[Mapping[str, Placed], ...]
    size_bytes: int


def lay_out(views: Sequence[Mapping[str, Tensor]]) -> Layout:
    """Give every tensor its place."""
    offset, clips = 0, []
    for of_clip in views:
        placed = {}
        for name, tensor in of_clip.items():
            placed[name] = Placed(str(tensor.numpy().dtype), tuple(tensor.shape), offset)
            offset += -(-tensor.nbytes // _ALIGNED_BYTES) * _ALIGNED_BYTES
        clips.append(placed)
    return Layout(tuple(clips), offset)


def send(pipe: Connection, views: Sequence[Mapping[str, Tensor]], layout: Layout) -> None:
    """Send the tensors' bytes; the receiver must have the layout already."""
    if not layout.size_bytes:
        return
    parts = [
        (np.ascontiguousarray(of_clip[name].numpy()), placed.offset_bytes)
        for of_clip, places in zip(views, layout.clips, strict=True)
        for name, placed in places.items()
    ]
    if not HAS_MEMFD:
        joined = bytearray(layout.size_bytes)
        for array, offset in parts:
            joined[offset : offset + array.nbytes] = array.tobytes()
        pipe.send_bytes(joined)
        return
    file = os.memfd_create("avmi-views", os.MFD_CLOEXEC)
    try:
        os.ftruncate(file, layout.size_bytes)
        for array, offset in parts:
            _write(file, array, offset)
        reduction.send_handle(pipe, file, 0)  # 0: only Windows asks whom it is for
    finally:
        os.close(file)


def receive(pipe: Connection, layout: Layout) -> list[dict[str, Tensor]]:
    """Take the tensors that were sent; all of a visit lie in one piece of memory."""
    memory = _receive_memory(pipe, layout.size_bytes)
    return [{name: _tensor(memory, p) for name, p in places.items()} for places in layout.clips]


def _receive_memory(pipe: Connection, size_bytes: int) -> bytearray:
    if not size_bytes:
        return bytearray()
    if not HAS_MEMFD:
        return bytearray(pipe.recv_bytes())
    file = reduction.recv_handle(pipe)
    # Copied, not mapped: Python's mmap keeps a descriptor of its own open, one for each visit that waits for
    # the rest of its batch, and a process has 1,024 of them. The copy takes 0.01 ms for 80 kB.
    memory = bytearray(size_bytes)
    try:
        _read(file, memoryview(memory))
    finally:
        os.close(file)
    return memory


def _tensor(memory: bytearray, placed: Placed) -> Tensor:
    count = int(np.prod(placed.shape, dtype=np.int64))
    if not count:
        return torch.from_numpy(np.empty(placed.shape, placed.dtype))
    flat = np.frombuffer(memory, dtype=placed.dtype, count=count, offset=placed.offset_bytes)
    return torch.from_numpy(flat.reshape(placed.shape))


def _read(file: int, memory: memoryview) -> None:
    place = 0
    while place < len(memory):  # one read gives at most 2 GiB
        read = os.preadv(file, [memory[place:]], place)
        if not read:
            raise EOFError("a worker sent less than it had said")
        place += read


def _write(file: int, array: np.ndarray, offset: int) -> None:
    left = memoryview(array.reshape(-1).view(np.uint8).data)
    while len(left):  # one write takes at most 2 GiB
        written = os.pwrite(file, left, offset)
        left, offset = left[written:], offset + written
