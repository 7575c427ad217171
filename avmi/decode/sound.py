"""An opened file and an interval → its mono sound, resampled, on the clock of `clip.py`.

Decoded blocks are joined by counting samples, and the count is held against the timestamps: their
rolling median tells a real gap from the jitter of single timestamps.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from jaxtyping import Float32, Float64, Int64, Shaped

from avmi.corpus.container import interleaved
from avmi.corpus.plan import EDGE_SECONDS
from avmi.decode.opened import OpenedFile
from avmi.errors import DecodeError

# Decoded on either side of the interval, so that its edges are resampled and placed like its middle.
GUARD_SECONDS = 0.35
# Filter length of soxr HQ at the rates in use is below 5 ms; the rest is rounding up.
_FILTER_SECONDS = 0.02
# Half width, in blocks, of the rolling median over the timestamps.
_MEDIAN_BLOCKS = 10
_LARGEST_STEP_SECONDS = 1e-3
# Stamps that agree so well with the count are exact: what is left is the rounding of 64-bit seconds.
_SAME_SECONDS = 1e-9
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


def cut_samples(
    wave: Float32[np.ndarray, "_"],
    first: int,
    start_seconds: float,
    end_seconds: float,
    *,
    source_hz: int,
    sample_rate_hz: int,
) -> Float32[np.ndarray, "samples"]:
    """Resample an interval that begins at sample `first` of a wave; raises `DecodeError` ("damaged")."""
    count = round((end_seconds - start_seconds) * sample_rate_hz)
    samples = _resample_from(wave, first, count, source_hz=source_hz, target_hz=sample_rate_hz)
    if not np.isfinite(samples).all():
        raise DecodeError(
            f"the sound from {start_seconds:.3f} to {end_seconds:.3f} s is damaged", reason="damaged"
        )
    return samples.clip(-1, 1)


def place_of_start(
    stamps: Float64[np.ndarray, "blocks"],
    lengths: Int64[np.ndarray, "blocks"],
    start_seconds: float,
    end_seconds: float,
    *,
    source_hz: int,
    tick_seconds: float,
) -> int:
    """Place of the interval's first sample among the blocks'; -n when n samples before them are missing.

    `stamps` are in seconds. Raises `DecodeError` as `cut_sound` does.
    """
    interval = f"{start_seconds:.3f} to {end_seconds:.3f} s"
    counted = np.concatenate([[0], np.cumsum(lengths)]) / source_hz
    if np.isnan(stamps).all():
        raise DecodeError("the sound has no timestamps", reason="no_timestamps")
    late = stamps - counted[:-1]
    inside = (stamps < end_seconds) & (stamps + lengths / source_hz > start_seconds)
    zero_seconds = _clock_of_first_sample(late, inside, tick_seconds, interval)
    # By the count other blocks may lie inside than by their stamps: after a gap at the edge.
    inside |= (zero_seconds + counted[:-1] < end_seconds) & (zero_seconds + counted[1:] > start_seconds)
    zero_seconds = _clock_of_first_sample(late, inside, tick_seconds, interval)
    first = round((start_seconds - zero_seconds) * source_hz)
    length = math.ceil((end_seconds - start_seconds) * source_hz)
    allowed = math.ceil(EDGE_SECONDS * source_hz) + 1
    if first < -allowed or first + length > lengths.sum() + allowed:
        raise DecodeError(
            f"the sound from {interval} is not all there: it goes from {zero_seconds:.3f} to "
            f"{zero_seconds + counted[-1]:.3f} s",
            reason="audio_short",
        )
    return first


def _clock_of_first_sample(
    late: Float64[np.ndarray, "blocks"],
    inside: Shaped[np.ndarray, "blocks"],
    tick_seconds: float,
    interval: str,
) -> float:
    """Time of sample zero by the timestamps of the blocks inside the interval.

    `late` is, for each block, its timestamp less the samples counted before it: constant where
    nothing is missing. A step of it inside the interval is a gap (or a clock that runs away).
    """
    late = late[~np.isnan(late)] if np.isnan(late).any() else late
    if len(late) != len(inside) or not inside.any():
        raise DecodeError(f"there is no sound from {interval}", reason="audio_short")
    allowed = max(_LARGEST_STEP_SECONDS, 1.5 * tick_seconds)
    if np.ptp(late) <= _SAME_SECONDS:
        return float(np.median(late))
    # Mirrored at its ends: one early stamp at the end of the stream is no majority.
    padded = np.pad(late, _MEDIAN_BLOCKS, mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * _MEDIAN_BLOCKS + 1)
    smooth = np.median(windows, axis=1)
    jitter = float(np.median(np.abs(late - smooth)[inside]))
    step = float(np.ptp(smooth[inside]))
    if step > allowed + 2 * jitter:
        raise _gap(interval, step)
    # So close to an end the median cannot see a step; where no stamp jitters, a deviation there is one.
    deviates = np.abs(late - smooth) > allowed
    at_end = np.ones(len(late), dtype=bool)
    at_end[_MEDIAN_BLOCKS:-_MEDIAN_BLOCKS] = False
    if (deviates & inside & at_end).any() and not (deviates & ~at_end).any():
        raise _gap(interval, float(np.abs(late - smooth)[inside & at_end].max()))
    return float(np.median(smooth[inside]))


def _gap(interval: str, step_seconds: float) -> DecodeError:
    return DecodeError(
        f"the sound from {interval} has a gap: its timestamps step by {step_seconds * 1000:.1f} ms",
        reason="audio_gap",
    )


def mono(block: Block) -> Float32[np.ndarray, "samples"]:
    """Average the channels; integer samples are scaled to [-1, 1]."""
    planes = block.planes()
    if len(planes) != block.channels:  # packed: one row, channels in turn
        planes = planes.reshape(-1, block.channels).T
    return scaled_mono(planes)


def scaled_mono(planes: Shaped[np.ndarray, "channels samples"]) -> Float32[np.ndarray, "samples"]:
    """Average the rows; integer samples are scaled to [-1, 1]."""
    mixed = planes[0] if len(planes) == 1 else planes.mean(axis=0, dtype=np.float32)
    wave = np.asarray(mixed, dtype=np.float32)
    if planes.dtype.kind == "f":
        return wave
    if planes.dtype == np.uint8:
        return (wave - 128) / 128
    return wave / np.float32(-float(np.iinfo(planes.dtype).min))


def _resample_from(
    wave: Float32[np.ndarray, "_"], first: int, count: int, *, source_hz: int, target_hz: int
) -> Float32[np.ndarray, "samples"]:
    """Resample so that the first of `count` samples falls on source sample `first`; silence outside."""
    low, high = samples_needed(first, count, source_hz=source_hz, target_hz=target_hz)
    piece = wave[max(low, 0) : max(high, 0)]
    piece = np.pad(piece, (max(-low, 0), max(high - len(wave), 0)))
    if source_hz != target_hz:
        piece = soxr.resample(piece, source_hz, target_hz, quality="HQ")
    skip = (first - low) * target_hz // source_hz
    return np.asarray(piece[skip : skip + count], dtype=np.float32)


def samples_needed(first: int, count: int, *, source_hz: int, target_hz: int) -> tuple[int, int]:
    """First source sample and the one after the last that `count` resampled ones from `first` on depend on."""
    unit = source_hz // math.gcd(source_hz, target_hz)  # after so many samples both grids meet
    lead = unit * math.ceil(_FILTER_SECONDS * source_hz / unit)
    tail = math.ceil(_FILTER_SECONDS * source_hz)
    return first - lead, first + math.ceil(count * source_hz / target_hz) + tail
