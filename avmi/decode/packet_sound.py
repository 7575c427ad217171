"""An open file, the packets of its sound and an interval → its mono sound, resampled, as `sound.py` gives it.

What each packet gives when all are decoded from the start is in the table, so only the packets of the interval are
decoded, after a run-up of as many as the codec needs to forget that it was not there before; where that is not
exact, everything from the start. Anything unforeseen raises `Unfit`: the container decides.
"""

from collections.abc import Sequence
from io import FileIO

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.error import FFmpegError
from jaxtyping import Float32

from avmi.corpus.packets import Coding, SoundPackets
from avmi.decode.packet_pictures import Unfit, read_packet
from avmi.decode.sound import GUARD_SECONDS, cut_samples, place_of_start, samples_needed, scaled_mono

# Bytes that an MP3 packet may need of those before it (main_data_begin has 9 bits).
_RESERVOIR_BYTES = 511
# Packets of run-up by the decoder's name: each one's half is added to the next (AAC, Vorbis, MP3's filter bank);
# lossless packets stand alone.
_RUN_UP = {"aac": 2, "vorbis": 2, "mp3": 3, "mp3float": 3, "mp2": 2, "mp2float": 2, "alac": 0, "flac": 0}


def run_up_packets(coding: Coding) -> int | None:
    """How many packets a decoder needs to forget its start; None when it never does."""
    if coding.decoder.startswith("pcm_"):
        return 0
    return _RUN_UP.get(coding.decoder)


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
        self._context: AudioCodecContext | None = None
        self._from_start: list[Float32[np.ndarray, samples]] = []
        self._next = 0  # packet, of a decode from the start

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
        bounds = np.concatenate([[0], np.cumsum(self._lengths[begin:end])])
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
        """Decode blocks; of a codec that never forgets its start, all from there on, once."""
        if not self._packets.can_start_anywhere:
            while len(self._from_start) < end:
                self._decode_on(int(self._heard[min(end + 32, len(self._heard)) - 1]))
            return np.concatenate(self._from_start[begin:end])
        first, last = int(self._heard[begin]), int(self._heard[end - 1])
        start = self.run_up(first)
        frames = self._frames(start, last + 1)
        return self._waves(frames, first, last + 1)

    def probe(self) -> None:
        """Raise `Unfit` when the last blocks do not come out as the table says."""
        self._decode(max(len(self._heard) - 4, 0), len(self._heard))

    def frame_after_run_up(self, number: int) -> AudioFrame:
        """Decode one packet after its run-up; raises `Unfit` when no frame comes out."""
        for packet, frame in self._frames(self.run_up(number), number + 1):
            if packet == number:
                return frame
        raise Unfit("sound does not come out")

    def run_up(self, first: int) -> int:
        """Packet at which to begin, so that this one comes out as from the start."""
        start = max(first - (run_up_packets(self._packets.coding) or 0), 0)
        if self._packets.coding.decoder.startswith("mp3"):
            missing = _RESERVOIR_BYTES
            while start > 0 and missing > 0:
                start -= 1
                missing -= int(self._packets.sizes[start])
        return start

    def _decode_on(self, last: int) -> None:
        first = self._next
        frames = self._frames(first, last + 1, goes_on=first > 0)
        wave = self._waves(frames, first, last + 1)
        lengths = self._packets.samples[first : last + 1]
        self._from_start += np.split(wave, np.cumsum(lengths[lengths > 0])[:-1])
        self._next = last + 1

    def _frames(self, start: int, end: int, *, goes_on: bool = False) -> list[tuple[int, AudioFrame]]:
        if self._context is None:
            self._context = open_audio_decoder(self._packets.coding)
        elif not goes_on:
            self._context.flush_buffers()
        places, sizes = self._packets.places[start:end].tolist(), self._packets.sizes[start:end].tolist()
        frames = []
        try:
            for number, place, size in zip(range(start, end), places, sizes, strict=True):
                given = self._context.decode(read_packet(self._file, place, size))
                frames += [(number, frame) for frame in given]
        except FFmpegError as error:
            raise Unfit(str(error)) from error
        return frames

    def _waves(
        self, frames: Sequence[tuple[int, AudioFrame]], first: int, end: int
    ) -> Float32[np.ndarray, "samples"]:
        """Join what the packets from `first` on gave; each must have given what it gave from the start."""
        expected = self._packets.samples[first:end]
        kept = [(number, frame) for number, frame in frames if number >= first]
        numbers = [number for number, _ in kept]
        lengths = np.array([frame.samples for _, frame in kept], dtype=np.int64)
        given = np.zeros(end - first, np.int64)
        given[np.array(numbers, dtype=np.int64) - first] = lengths
        if len(set(numbers)) < len(numbers) or (given < expected).any():
            raise Unfit("sound does not come out")
        waves = joined_mono([frame for _, frame in kept], sample_rate_hz=self._hz)
        if (given == expected).all():
            return waves
        pieces, at = [], 0
        stream_start, stream_end = int(self._heard[0]), int(self._heard[-1])
        for number, length in zip(numbers, lengths.tolist(), strict=True):
            wanted = int(expected[number - first])
            if wanted == length:
                pieces.append(waves[at : at + length])
            elif number <= stream_start:  # the encoder's delay is taken from the beginning
                pieces.append(waves[at + length - wanted : at + length])
            elif number >= stream_end:  # and what fills the last packet up from its end
                pieces.append(waves[at : at + wanted])
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
    if any(f.format.name != kind or f.layout.nb_channels != channels for f in (frames[-1],)):
        raise Unfit("the sound's format changes")
    dtype = np.dtype(_KINDS[kind.rstrip("p")])
    width = dtype.itemsize * (1 if planar else channels)
    planes = [frame.planes for frame in frames]
    rows = [
        _joined([plane[row] for plane in planes], [frame.samples * width for frame in frames])
        for row in range(len(planes[0]))
    ]
    stack = np.stack([np.frombuffer(row, dtype) for row in rows])
    if not planar:
        stack = stack.reshape(-1, channels).T
    return scaled_mono(stack)


_KINDS = {"u8": "u1", "s16": "i2", "s32": "i4", "flt": "f4", "dbl": "f8"}


def _joined(planes: Sequence[av.audio.plane.AudioPlane], sizes: Sequence[int]) -> bytes:
    """Join the planes' bytes; a plane may be longer than its samples."""
    whole = b"".join(planes)
    if len(whole) == sum(sizes):
        return whole
    pieces, at = [], 0
    for plane, size in zip(planes, sizes, strict=True):
        pieces.append(whole[at : at + size])
        at += plane.buffer_size
    return b"".join(pieces)


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
