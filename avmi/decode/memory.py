"""A decoder and a limit of bytes → a decoder that decodes a short video once, whole, and cuts from memory then.

For corpora whose decoded pictures fit into memory: training visits every video again and again, and decoding is
what it waits for. What comes out depends on the video alone, never on what is in memory: a resumed run repeats an
uninterrupted one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from avmi.corpus.manifest import Video
from avmi.decode.clip import Decoder, Frames, Reader, Waveform, WholeReader
from avmi.decode.on_screen import last_come
from avmi.errors import DecodeError

log = logging.getLogger(__name__)

# Longer videos are cut as ever: their sound alone would take longer to decode than the clips of a visit.
LONGEST_SECONDS = 60.0


@dataclass(frozen=True)
class WholePictures:
    """All pictures of a video, and how long before its timestamp each counts as on the screen."""

    frames: Frames
    tolerance_seconds: float
    end_seconds: float  # when the last one goes

    def at(self, seconds: Sequence[float]) -> Frames | None:
        """Take the pictures on the screen at these times; None when one of them is outside the video."""
        times = np.asarray(seconds, dtype=np.float64)
        places = last_come(self.frames.times_seconds, times, tolerance_seconds=self.tolerance_seconds)
        if (places < 0).any() or (times >= self.end_seconds).any():
            return None
        return Frames(self.frames.pixels[places], self.frames.times_seconds[places])


class RememberingDecoder:
    """Opens short videos through a memory of what was decoded; it keeps the first ones that fit."""

    def __init__(self, decoder: Decoder, *, most_bytes: int) -> None:
        self.decoder, self.most_bytes = decoder, most_bytes
        self.name = f"{decoder.name}, remembered"
        self.used_bytes = 0
        self._pictures: dict[tuple[Path, int | None], WholePictures | None] = {}
        self._sounds: dict[tuple[Path, int], Waveform | None] = {}

    def open(self, path: Path, *, video: Video | None) -> Reader:
        """Open a file; what is in memory is not opened before something else is asked for.

        The file of an interval may be hours long: it is cut as ever.
        """
        if video is None or video.is_interval or video.duration_seconds > LONGEST_SECONDS:
            return self.decoder.open(path, video=video)
        return _RememberingReader(self, path, video)

    def pictures(self, reader: "_RememberingReader", short_side_px: int | None) -> WholePictures | None:
        """Give a video's pictures from memory, or decode and keep them; None when they cannot be kept."""
        key = (reader.path, short_side_px)
        if key not in self._pictures and self.used_bytes < self.most_bytes:
            whole = _whole_pictures(reader, short_side_px)
            if whole is not None and not self._keep(whole.frames.pixels.nbytes):
                return None
            self._pictures[key] = whole
        return self._pictures.get(key)

    def sound(self, reader: "_RememberingReader", sample_rate_hz: int) -> Waveform | None:
        """Give a video's sound, from memory or decoded now; None when it has a gap or damage somewhere."""
        key = (reader.path, sample_rate_hz)
        if key in self._sounds:
            return self._sounds[key]
        sound = _whole_sound(reader, sample_rate_hz)
        if sound is None or self._keep(sound.samples.nbytes):
            self._sounds[key] = sound
        return sound

    def _keep(self, size_bytes: int) -> bool:
        if self.used_bytes + size_bytes > self.most_bytes:
            if self.used_bytes < self.most_bytes:
                log.info("the memory for decoded videos is full: the others are decoded at each visit")
                self.used_bytes = self.most_bytes
            return False
        self.used_bytes += size_bytes
        return True


class _RememberingReader(Reader):
    """One video: cuts from memory, and opens the file only for what is not there."""

    def __init__(self, memory: RememberingDecoder, path: Path, video: Video) -> None:
        self.path, self.video = path, video
        self._memory = memory
        self._opened: Reader | None = None

    @property
    def opened(self) -> Reader:
        """The reader of the file itself."""
        if self._opened is None:
            self._opened = self._memory.decoder.open(self.path, video=self.video)
        return self._opened

    def frames(self, at_seconds: Sequence[float], *, short_side_px: int | None) -> Frames:
        """Pictures on the screen at these ascending times; see `Reader.frames`."""
        whole = self._memory.pictures(self, short_side_px)
        found = whole.at(at_seconds) if whole is not None and at_seconds else None
        return found or self.opened.frames(at_seconds, short_side_px=short_side_px)

    def audio(self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int) -> Waveform:
        """Mono sound of this interval, from the sound of the whole video; see `Reader.audio`."""
        whole = self._memory.sound(self, sample_rate_hz)
        if whole is not None:
            try:
                return whole.window(start_seconds, end_seconds)
            except DecodeError:
                pass  # within the edge that the plan allows, or past the end: the file's own reader decides
        return self.opened.audio(start_seconds, end_seconds, sample_rate_hz=sample_rate_hz)

    def close(self) -> None:
        """Release the file, if it was opened."""
        if self._opened is not None:
            self._opened.close()


def _whole_pictures(reader: _RememberingReader, short_side_px: int | None) -> WholePictures | None:
    opened, video = reader.opened, reader.video
    if not isinstance(opened, WholeReader):
        return None
    try:
        frames = opened.every_frame(short_side_px=short_side_px)
    except DecodeError:
        return None
    tolerance = opened.tolerance_seconds
    if frames.times_seconds[-1] < video.last_frame_seconds - tolerance - 1e-9:
        return None  # the file says that more pictures come
    return WholePictures(frames, tolerance, video.video_end_seconds)


def _whole_sound(reader: _RememberingReader, sample_rate_hz: int) -> Waveform | None:
    start, end = reader.video.audio_start_seconds, reader.video.audio_end_seconds
    try:
        return reader.opened.audio(start, end, sample_rate_hz=sample_rate_hz)
    except DecodeError:
        return None
