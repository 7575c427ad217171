"""A path and its packet table → exact pictures and sound without opening the container.

Whatever the table does not lead to, by damage, the edges of the streams or a changed file, is asked of the container:
its pictures, its sound and its errors are the reader's.
"""

import os
from collections.abc import Callable, Sequence
from io import FileIO
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter

from avmi.corpus.manifest import Video
from avmi.corpus.packets import PacketTable
from avmi.decode.clip import Frames, Waveform, WholeReader
from avmi.decode.on_screen import tolerance_ticks
from avmi.decode.packet_bytes import Unfit
from avmi.decode.packet_pictures import PacketPictures
from avmi.decode.packet_sound import PacketSound
from avmi.decode.rgb import rgb_of
from avmi.errors import DecodeError


class PacketReader(WholeReader):
    """One video, read by its packet table."""

    def __init__(
        self,
        file: FileIO,
        table: PacketTable,
        *,
        video: Video,
        open_container: Callable[[], WholeReader],
    ) -> None:
        self._file, self._table, self._video = file, table, video
        self._open_container = open_container
        self._pictures: PacketPictures | None = None
        self._sound: PacketSound | None = None
        self._opened: WholeReader | None = None
        self._reformatter = VideoReformatter()

    @property
    def container(self) -> WholeReader:
        """The reader of the container, opened when it is first needed; raises `DecodeError` when it cannot be."""
        if self._opened is None:
            self._opened = self._open_container()
        return self._opened

    def frames(self, at_seconds: Sequence[float], *, short_side_px: int | None) -> Frames:
        """Pictures on the screen at these ascending times; see `Reader.frames`."""
        if list(at_seconds) != sorted(at_seconds):
            raise ValueError(f"times must ascend, got {list(at_seconds)}")
        if not at_seconds:  # a clip of sound alone: its file may have no pictures
            return Frames(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0))
        if at_seconds[-1] < self._video.video_end_seconds and self._table.pictures is not None:
            try:
                return self._frames(at_seconds, short_side_px)
            except Unfit:
                pass
        return self.container.frames(at_seconds, short_side_px=short_side_px)

    def _frames(self, at_seconds: Sequence[float], short_side_px: int | None) -> Frames:
        packets = self._table.pictures
        assert packets is not None
        tick, origin = float(packets.tick), self._table.origin_seconds
        if self._pictures is None:
            self._pictures = PacketPictures(self._file, packets, tolerance_ticks=tolerance_ticks(tick))
        pixels, times, shown = [], [], None
        for stamp, frame in self._pictures.at([(seconds + origin) / tick for seconds in at_seconds]):
            if frame is not shown:
                try:
                    rgb = rgb_of(
                        frame, self._reformatter, short_side_px=short_side_px, rotation=packets.rotation
                    )
                except (FFmpegError, ValueError) as error:
                    raise Unfit(str(error)) from error
                shown = frame
            pixels.append(rgb)
            times.append(stamp * tick - origin)
        if len({picture.shape for picture in pixels}) > 1:
            raise Unfit("pictures change their size")
        return Frames(np.stack(pixels), np.array(times, dtype=np.float64))

    @property
    def tolerance_seconds(self) -> float:
        """How long before its timestamp a picture counts as on the screen."""
        if self._table.pictures is None:
            return self.container.tolerance_seconds
        tick = float(self._table.pictures.tick)
        return tolerance_ticks(tick) * tick

    def every_frame(self, *, short_side_px: int | None) -> Frames:
        """All pictures in their order; see `WholeReader.every_frame`."""
        return self.container.every_frame(short_side_px=short_side_px)

    def audio(self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int) -> Waveform:
        """Mono sound of this interval; see `Reader.audio`."""
        if self._table.sound is not None:
            if self._sound is None:
                origin = self._table.origin_seconds
                self._sound = PacketSound(self._file, self._table.sound, origin_seconds=origin)
            try:
                samples = self._sound.between(start_seconds, end_seconds, sample_rate_hz=sample_rate_hz)
                return Waveform(samples, sample_rate_hz, start_seconds)
            except (Unfit, DecodeError):  # an error is the container's to tell
                pass
        return self.container.audio(start_seconds, end_seconds, sample_rate_hz=sample_rate_hz)

    def close(self) -> None:
        """Release the file and the decoders."""
        self._file.close()
        self._pictures = self._sound = None
        if self._opened is not None:
            self._opened.close()


def open_file(path: Path) -> tuple[FileIO, os.stat_result]:
    """Open a file for reading packets, unbuffered; raises `OSError`."""
    file = path.open("rb", buffering=0)
    try:
        return file, os.fstat(file.fileno())
    except OSError:
        file.close()
        raise
