"""An open file, the packets of its sound and an interval → its mono sound, resampled, as `sound.py` gives it.

What each packet gives when all are decoded from the start is in the table, so only the packets of the interval are
decoded, after a run-up of as many as the codec needs to forget that it was not there before; where that is not
exact, everything from the start. Anything unforeseen raises `Unfit`: the container decides.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import FileIO
from itertools import islice

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from jaxtyping import Float32

from avmi.corpus.packets import Coding, SoundPackets
from avmi.decode.packet_bytes import Unfit, packet_of, read_packets
from avmi.decode.sound import GUARD_SECONDS
from avmi.decode.sound_clock import place_of_start
from avmi.decode.sound_samples import cut_samples, samples_needed, scaled_mono

# Bytes that an MP3 packet may need of those before it (main_data_begin has 9 bits).
_RESERVOIR_BYTES = 511
# Packets of run-up by the decoder's name: each one's half is added to the next (AAC, Vorbis, MP3's filter bank);
# lossless packets stand alone.
_RUN_UP = {"aac": 2, "vorbis": 2, "mp3": 3, "mp3float": 3, "mp2": 2, "mp2float": 2, "alac": 0, "flac": 0}
# Packets that are decoded and mixed together: so much sound (128 KB of stereo) stays in the processor's cache.
_TOGETHER = 16
# FFmpeg's AAC decoder takes what is left of a packet for the next frame: fed as one, packets take 10 µs each
# instead of 13. Each must give one frame, or the container is asked.
_TAKES_SEVERAL = {"aac"}

# Of sound before a window that is kept where decoding begins at the start: short files are kept whole.
_KEPT_SECONDS = 60.0

_Decoded = list[tuple[int, AudioFrame]]  # frames with their packets' numbers


def run_up_packets(coding: Coding) -> int | None:
    """How many packets a decoder needs to forget its start; None when it never does."""
    if coding.decoder.startswith("pcm_"):
        return 0
    return _RUN_UP.get(coding.decoder)


@dataclass(frozen=True)
class _Held:
    """Blocks that are decoded, and the packet that the decoder, left as it is, would take next."""

    begin: int
    next_packet: int
    wave: Float32[np.ndarray, "samples"]
    count: int  # of blocks

    @property
    def end(self) -> int:
        return self.begin + self.count


class PacketSound:
    """The sound of a file, by its packet table."""

    def __init__(self, file: FileIO, packets: SoundPackets, *, origin_seconds: float) -> None:
        self._file, self._packets = file, packets
        self._tick_seconds = float(packets.tick)
        self._hz = packets.coding.sample_rate_hz
        heard = np.flatnonzero(packets.samples)
        self._heard = heard
        self._lengths = packets.samples[heard]
        self._stamps = packets.stamps[heard] * self._tick_seconds - origin_seconds
        self._ends = self._stamps + self._lengths / self._hz
        self._bounds = np.concatenate([[0], np.cumsum(self._lengths)])  # of the blocks, in samples
        self._can_start = packets.can_start_anywhere
        self._context: AudioCodecContext | None = None
        self._held: _Held | None = None

    def between(
        self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int
    ) -> Float32[np.ndarray, "samples"]:
        """Cut and resample an interval; raises `DecodeError` as `Reader.audio` does, and `Unfit`."""
        low, high = start_seconds - GUARD_SECONDS, end_seconds + GUARD_SECONDS
        near = np.flatnonzero((self._ends > low) & (self._stamps < high))
        if not len(near):
            raise Unfit("no sound there")
        begin, end = int(near[0]), int(near[-1]) + 1
        first = place_of_start(
            self._stamps[begin:end],
            self._lengths[begin:end],
            start_seconds,
            end_seconds,
            source_hz=self._hz,
            tick_seconds=self._tick_seconds,
        )
        count = round((end_seconds - start_seconds) * sample_rate_hz)
        needed = samples_needed(first, count, source_hz=self._hz, target_hz=sample_rate_hz)
        bounds = self._bounds[begin : end + 1] - self._bounds[begin]
        # The blocks that hold the samples needed; what lies outside the stream is silence, as ever.
        a = max(int(np.searchsorted(bounds, needed[0], side="right")) - 1, 0)
        b = min(int(np.searchsorted(bounds, needed[1], side="left")), end - begin)
        wave = self._decode(begin + a, begin + b)
        return cut_samples(
            wave,
            first - int(bounds[a]),
            start_seconds,
            end_seconds,
            source_hz=self._hz,
            sample_rate_hz=sample_rate_hz,
        )

    def _decode(self, begin: int, end: int) -> Float32[np.ndarray, "samples"]:
        """Decode blocks; what the window before has given, and the decoder's state after it, are used."""
        last = int(self._heard[end - 1])
        start = self.run_up(int(self._heard[begin]))
        held, self._held = self._held, None  # after an error nothing is held
        goes_on = held is not None and held.begin <= begin and start <= held.next_packet
        if held is None or not goes_on:
            held = _Held(begin if self._can_start else 0, start, np.zeros(0, np.float32), count=0)
        base = max(held.begin, self._kept_from(begin))
        wave = held.wave[self._samples(held.begin, min(base, held.end)) :]
        fresh, next_packet = max(base, held.end), held.next_packet
        if fresh < end:
            frames = self._frames(next_packet, last + 1, goes_on=goes_on)
            new = self._waves(frames, int(self._heard[fresh]), last + 1)
            wave, next_packet = (np.concatenate([wave, new]) if len(wave) else new), last + 1
        self._held = _Held(base, next_packet, wave, count=max(end, held.end) - base)
        return wave[self._samples(base, begin) : self._samples(base, end)]

    def _kept_from(self, begin: int) -> int:
        """Tell from which block on sound is kept for later windows: these ascend, but not always."""
        if self._can_start:
            return begin
        # Having it again means decoding from the start; an hour of it would be 700 MB.
        least = self._bounds[begin] - _KEPT_SECONDS * self._hz
        return max(int(np.searchsorted(self._bounds, least, side="right")) - 1, 0)

    def _samples(self, begin: int, end: int) -> int:
        """How many samples these blocks hold."""
        return int(self._bounds[end] - self._bounds[begin])

    def probe(self) -> None:
        """Raise `Unfit` when the last blocks do not come out as the table says."""
        self._decode(max(len(self._heard) - 4, 0), len(self._heard))

    def frame_after_run_up(self, number: int) -> AudioFrame:
        """Decode one packet after its run-up; raises `Unfit` when no frame comes out."""
        self._held = None  # the decoder goes elsewhere
        for some in self._frames(self.run_up(number), number + 1):
            for packet, frame in some:
                if packet == number:
                    return frame
        raise Unfit("sound does not come out")

    def run_up(self, first: int) -> int:
        """Packet at which to begin, so that this one comes out as from the start."""
        if not self._can_start:
            return 0
        start = max(first - (run_up_packets(self._packets.coding) or 0), 0)
        if self._packets.coding.decoder.startswith("mp3"):
            missing = _RESERVOIR_BYTES
            while start > 0 and missing > 0:
                start -= 1
                missing -= int(self._packets.sizes[start])
        return start

    def _frames(self, start: int, end: int, *, goes_on: bool = False) -> Iterator[_Decoded]:
        """Decode packets, some at a time."""
        # A flushed decoder still knows the window's shape of what it had last: only a fresh one begins as the file does.
        if self._context is None or (start == 0 and not goes_on):
            self._context = open_audio_decoder(self._packets.coding)
        elif not goes_on:
            self._context.flush_buffers()
        places, sizes = self._packets.places[start:end].tolist(), self._packets.sizes[start:end].tolist()
        contents = read_packets(self._file, places, sizes)
        number = start
        while some := list(islice(contents, _TOGETHER)):
            yield self._decoded(self._context, number, some)
            number += len(some)

    def _decoded(self, context: AudioCodecContext, first: int, contents: Sequence[bytes]) -> _Decoded:
        try:
            if self._packets.coding.decoder in _TAKES_SEVERAL:
                frames = context.decode(packet_of(b"".join(contents)))
                if len(frames) != len(contents):
                    raise Unfit("not every packet gives its sound")
                return list(enumerate(frames, first))
            return [
                (number, frame)
                for number, content in enumerate(contents, first)
                for frame in context.decode(packet_of(content))
            ]
        except FFmpegError as error:
            raise Unfit(str(error)) from error

    def _waves(self, decoded: Iterable[_Decoded], first: int, end: int) -> Float32[np.ndarray, "samples"]:
        """Join what the packets from `first` on gave; each must have given what it gave from the start."""
        numbers: list[int] = []
        lengths: list[int] = []
        waves: list[np.ndarray] = []
        for some in decoded:
            kept = [(number, frame) for number, frame in some if number >= first]
            numbers += [number for number, _ in kept]
            lengths += [frame.samples for _, frame in kept]
            waves.append(joined_mono([frame for _, frame in kept], sample_rate_hz=self._hz))
        wave = np.concatenate(waves) if waves else np.zeros(0, np.float32)
        expected = self._packets.samples[first:end]
        given = np.zeros(end - first, np.int64)
        given[np.array(numbers, dtype=np.int64) - first] = lengths
        if len(set(numbers)) < len(numbers) or (given < expected).any():
            raise Unfit("sound does not come out")
        if (given == expected).all():
            return wave
        return self._trimmed(wave, numbers, lengths)

    def _trimmed(
        self, wave: Float32[np.ndarray, "_"], numbers: Sequence[int], lengths: Sequence[int]
    ) -> Float32[np.ndarray, "samples"]:
        """Take off what the container takes off: the encoder's delay, and what fills the last packet up."""
        pieces, at = [], 0
        stream_start, stream_end = int(self._heard[0]), int(self._heard[-1])
        for number, length in zip(numbers, lengths, strict=True):
            wanted = int(self._packets.samples[number])
            if wanted == length:
                pieces.append(wave[at : at + length])
            elif number <= stream_start:
                pieces.append(wave[at + length - wanted : at + length])
            elif number >= stream_end:
                pieces.append(wave[at : at + wanted])
            else:
                raise Unfit("sound of another length comes out")
            at += length
        return np.concatenate(pieces)


def joined_mono(frames: Sequence[AudioFrame], *, sample_rate_hz: int) -> Float32[np.ndarray, "samples"]:
    """Mix frames of one format to mono and join them, without an array for each."""
    if not frames:
        return np.zeros(0, np.float32)
    first = frames[0]
    channels, kind, planar = first.layout.nb_channels, first.format.name, first.format.is_planar
    for frame in frames:
        if frame.is_corrupt or frame.sample_rate != sample_rate_hz:
            raise Unfit("damaged sound")
    if any(f.format.name != kind or f.layout.nb_channels != channels for f in frames):
        raise Unfit("the sound's format changes")
    dtype = np.dtype(_KINDS[kind.rstrip("p")])
    width = dtype.itemsize * (1 if planar else channels)
    planes = [(frame.planes, frame.samples * width) for frame in frames]
    # A plane may be longer than its samples: AAC's have room for twice as many.
    rows = [memoryview(of_frame[row])[:size] for row in range(len(planes[0][0])) for of_frame, size in planes]
    stack = np.frombuffer(b"".join(rows), dtype)
    return scaled_mono(stack.reshape(channels, -1) if planar else stack.reshape(-1, channels).T)


_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}


def open_audio_decoder(coding: Coding) -> AudioCodecContext:
    """Set a decoder up as the container would have; raises `Unfit` when this FFmpeg has it not."""
    try:
        context = av.CodecContext.create(coding.decoder, "r")
        assert isinstance(context, AudioCodecContext)
        context.thread_count = 1
        if coding.extradata:
            context.extradata = coding.extradata
        if len(coding.tag) == 4:
            context.codec_tag = coding.tag
        context.sample_rate, context.layout = coding.sample_rate_hz, coding.layout
        context.open()
    except (FFmpegError, ValueError) as error:
        raise Unfit(str(error)) from error
    return context
