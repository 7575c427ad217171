"""An opened file and an interval → its mono sound, resampled, on the clock of `clip.py`.

Blocks are decoded from the start, or after a seek where that gives the same; `sound_clock.py` says where the
interval lies among them, `sound_samples.py` cuts and resamples it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from jaxtyping import Float32, Shaped

from avmi.corpus.container import interleaved
from avmi.decode.opened import OpenedFile
from avmi.decode.sound_clock import place_of_start
from avmi.decode.sound_samples import cut_samples, scaled_mono
from avmi.errors import DecodeError

# Decoded on either side of the interval, so that its edges are resampled and placed like its middle.
GUARD_SECONDS = 0.35
# Up to this second sound is decoded from the start: cheaper than it is worth to be clever.
_SEEK_AFTER_SECONDS = 60.0
# A seek goes this far before the guard: the first block after it may be wrong (AAC needs the one before).
_PREROLL_SECONDS = 0.3
# Codecs whose samples after a seek equal those of a decode from the start (tests/decode/test_sound.py), but
# for what AAC itself fills with noise: decoders draw that anew.
_EXACT_AFTER_SEEK = ("aac", "alac", "flac", "pcm_")


@dataclass(frozen=True)
class Block:
    """One decoded frame with its timestamp; its samples are copied out only when they are asked for."""

    seconds: float  # NaN when there is no timestamp
    length: int  # samples of one channel
    channels: int
    sample_rate_hz: int
    planes: Callable[[], Shaped[np.ndarray, "planes _"]]  # as the codec gives them

    @property
    def end_seconds(self) -> float:
        """When the last sample has ended."""
        return self.seconds + self.length / self.sample_rate_hz


class SoundSource:
    """The sound of an opened file's best audio stream."""

    def __init__(self, file: OpenedFile) -> None:
        if file.audio is None or file.audio.codec_context is None:
            raise DecodeError(f"{file.path} has no audio stream that can be decoded", reason="no_audio")
        if file.audio.time_base is None:
            raise DecodeError(f"{file.path}: the sound has no clock", reason="no_timestamps")
        self._file = file
        self._tick_seconds = float(file.audio.time_base)
        self._turn = -1
        self._packets: Iterator[Any] | None = None
        self._blocks: list[Block] = []
        self._begin_seconds = math.inf  # the blocks are complete from here on
        self._ended = False

    def between(
        self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int
    ) -> Float32[np.ndarray, "samples"]:
        """Cut and resample an interval; raises `DecodeError` as `Reader.audio` does."""
        low, high = start_seconds - GUARD_SECONDS, end_seconds + GUARD_SECONDS
        self._decode(low, high)
        near = [
            place
            for place, block in enumerate(self._blocks)
            if block.end_seconds > low and block.seconds < high
        ]
        blocks = self._blocks[near[0] : near[-1] + 1] if near else []
        try:
            return cut_sound(
                blocks,
                start_seconds,
                end_seconds,
                sample_rate_hz=sample_rate_hz,
                tick_seconds=self._tick_seconds,
            )
        except DecodeError as error:
            raise DecodeError(f"{self._file.path}: {error}", reason=error.reason) from None

    def _decode(self, low: float, high: float) -> None:
        """Have every block between these times, or all until the end of the stream."""
        stands_here = self._turn == self._file.turn
        has_all = self._ended or (bool(self._blocks) and self._blocks[-1].seconds >= high)
        is_far = (
            bool(self._blocks)
            and self._should_seek(low)
            and low - _PREROLL_SECONDS > self._blocks[-1].end_seconds
        )
        if low < self._begin_seconds or not (stands_here or has_all) or (is_far and not has_all):
            self._start_before(low)
        self._drop_before(low)
        while not self._ended and not (self._blocks and self._blocks[-1].seconds >= high):
            self._decode_packet()
            if self._blocks and self._blocks[0].seconds < low - _SEEK_AFTER_SECONDS:
                self._drop_before(low)

    def _should_seek(self, low: float) -> bool:
        context = self._file.audio.codec_context  # type: ignore[union-attr]
        return (
            low - _PREROLL_SECONDS > _SEEK_AFTER_SECONDS
            and self._file.format_name == "mov"  # every packet has its own timestamp in the index
            and context.name.startswith(_EXACT_AFTER_SEEK)
            and (context.name != "aac" or context.profile == "LC")  # SBR and PS remember for long
            and self._tick_seconds * context.sample_rate <= 1  # so timestamps are exact
        )

    def _start_before(self, low: float) -> None:
        stream = self._file.audio
        assert stream is not None
        if self._should_seek(low):
            goal = (low - _PREROLL_SECONDS + self._file.origin_seconds) / self._tick_seconds
            if self._file.seek(stream, math.floor(goal)):
                self._read_on(begin_seconds=math.nan)
                while not self._ended and not self._blocks:
                    self._decode_packet()
                if self._blocks and self._blocks[0].seconds <= low:
                    self._begin_seconds = self._blocks[0].seconds
                    return
        self._file.rewind()
        self._read_on(begin_seconds=-math.inf)

    def _read_on(self, *, begin_seconds: float) -> None:
        self._packets = self._file.packets(self._file.audio)  # type: ignore[arg-type]
        self._turn = self._file.turn
        self._blocks, self._ended, self._begin_seconds = [], False, begin_seconds

    def _drop_before(self, low: float) -> None:
        """Keep short files whole, forget what lies far behind in long ones."""
        if low > _SEEK_AFTER_SECONDS:
            kept = [block for block in self._blocks if not block.end_seconds < low]
            if len(kept) < len(self._blocks):
                self._blocks, self._begin_seconds = kept, low

    def _decode_packet(self) -> None:
        assert self._packets is not None
        try:
            packet = next(self._packets, None)
        except FFmpegError:  # the file cannot be read on from here
            packet = None
        if packet is None:
            self._ended = True
            return
        try:
            frames = packet.decode()
        except FFmpegError:
            return  # one bad packet leaves a gap, which the timestamps show
        for frame in frames:
            if frame.samples and not frame.is_corrupt:
                self._blocks.append(self._block(frame))

    def _block(self, frame: AudioFrame) -> Block:
        seconds = math.nan
        if frame.pts is not None:
            seconds = frame.pts * self._tick_seconds - self._file.origin_seconds
        elif self._blocks:
            seconds = self._blocks[-1].end_seconds
        return Block(
            seconds,
            frame.samples,
            frame.layout.nb_channels,
            frame.sample_rate,
            planes=lambda: interleaved(frame).to_ndarray(),
        )


def cut_sound(
    blocks: Sequence[Block],
    start_seconds: float,
    end_seconds: float,
    *,
    sample_rate_hz: int,
    tick_seconds: float,
) -> Float32[np.ndarray, "samples"]:
    """Join neighbouring blocks, cut an interval out of them and resample it.

    Raises `DecodeError` ("audio_short", "audio_gap", "no_timestamps", "audio_changes", "damaged"). Up to
    `EDGE_SECONDS` may be missing at either end of the stream, as the plan allows; it becomes silence.
    """
    interval = f"{start_seconds:.3f} to {end_seconds:.3f} s"
    if not blocks:
        raise DecodeError(f"there is no sound from {interval}", reason="audio_short")
    rates = {block.sample_rate_hz for block in blocks}
    if len(rates) > 1:
        raise DecodeError(f"the sample rate changes between {interval}", reason="audio_changes")
    source_hz = rates.pop()
    first = place_of_start(
        np.array([block.seconds for block in blocks]),
        np.array([block.length for block in blocks]),
        start_seconds,
        end_seconds,
        source_hz=source_hz,
        tick_seconds=tick_seconds,
    )
    wave = np.concatenate([mono(block) for block in blocks])
    return cut_samples(
        wave, first, start_seconds, end_seconds, source_hz=source_hz, sample_rate_hz=sample_rate_hz
    )


def mono(block: Block) -> Float32[np.ndarray, "samples"]:
    """Average the channels; integer samples are scaled to [-1, 1]."""
    planes = block.planes()
    if len(planes) != block.channels:  # packed: one row, channels in turn
        planes = planes.reshape(-1, block.channels).T
    return scaled_mono(planes)
