"""A sound file of a user, or the sound of a video file → one mono waveform."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from av.error import FFmpegError

from avmi.corpus.container import interleaved
from avmi.decode.clip import Waveform
from avmi.decode.opened import OpenedFile
from avmi.decode.sound import Block, mono
from avmi.errors import DecodeError, InputError
from avmi.types import StrPath


def read_sound(path: StrPath) -> Waveform:
    """Read the whole sound of a file at its own rate, its first sample at zero seconds.

    Raises `InputError` for what is no sound file, has no sound, or is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such sound file")
    try:
        file = OpenedFile(path)
    except DecodeError as error:
        raise InputError(
            f"{path} is not a sound: give a WAV, FLAC, MP3, M4A or similar file, or a video with sound"
        ) from error
    try:
        blocks = list(_blocks(file, path))
    finally:
        file.close()
    rates = {block.sample_rate_hz for block in blocks}
    if len(rates) > 1:
        raise InputError(f"{path} changes its sample rate on the way ({sorted(rates)} Hz): convert it to WAV")
    if not blocks:
        raise InputError(f"{path} is damaged: none of its sound can be decoded")
    samples = np.concatenate([mono(block) for block in blocks])
    if not np.isfinite(samples).all():
        raise InputError(f"{path} is damaged: it holds samples that are no numbers")
    return Waveform(samples.clip(-1, 1), rates.pop(), 0.0)


def _blocks(file: OpenedFile, path: Path) -> Iterator[Block]:
    if file.audio is None or file.audio.codec_context is None:
        raise InputError(f"{path} has no sound that can be decoded: give another file")
    packets = file.packets(file.audio)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                return
            frames = packet.decode()
        except FFmpegError as error:
            raise InputError(f"{path} is damaged: {error}") from error
        for frame in frames:
            if frame.samples:
                planes, channels = interleaved(frame).to_ndarray, frame.layout.nb_channels
                yield Block(math.nan, frame.samples, channels, frame.sample_rate, planes=planes)
