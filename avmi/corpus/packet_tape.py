"""A file's packets and decoded sound, as `scan` meets them → a packet table, or why there is none.

The bytes at a packet's place in the file are compared with the packet: containers that break packets up (MPEG-TS,
Ogg), strip their heads (Matroska) or encrypt them have no table.
"""

from fractions import Fraction
from io import FileIO
from pathlib import Path

import av
import numpy as np
from jaxtyping import Int64, Shaped

from avmi.corpus.packets import Coding, PacketTable, PicturePackets, SoundPackets

# A packet's position is that of its block; the block's own head is shorter than this in mkv, avi and flv.
_LONGEST_HEAD_BYTES = 64
# Side data that a decoder of single packets would miss.
_NEEDED_SIDE_DATA = {
    "palette",
    "new_extradata",
    "param_change",
    "matroska_block_additional",
    "encryption_init_info",
    "encryption_info",
    "frame_cropping",
}
# More would be a table of megabytes (a day of video); such files are read as ever.
_MOST_PACKETS = 2_000_000
_MOST_KEPT = 8
_WINDOW_BYTES = 256 << 10  # read at once: most small files whole


class PacketTape:
    """Takes packets in as they come, then makes the table; use it as a context manager."""

    def __init__(self, path: Path) -> None:
        self.reason = ""
        self.kept: dict[int, Shaped[np.ndarray, ...]] = {}  # decoded sound by its packet's number
        self._kept_step = 16
        self._pictures: list[tuple[int, int, int, bool, bool]] = []
        self._sound: list[tuple[int, int]] = []
        self._heard: list[tuple[int, int, int | None]] = []  # number of the packet, samples, stamp
        try:
            self._file = path.open("rb", buffering=0)
        except OSError:
            self.reason = "not a file of its own"
            return
        # One each: the two may lie far from each other in the file.
        self._picture_bytes, self._sound_bytes = _Window(self._file), _Window(self._file)

    def __enter__(self) -> "PacketTape":
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "_file"):
            self._file.close()

    def picture(self, packet: av.Packet, *, stamp: int | None) -> None:
        """Note a packet of the pictures."""
        if self.reason or not packet.size:
            return
        if stamp is None:
            self.reason = "pictures without timestamps"
            return
        place = self._place(packet, self._picture_bytes)
        self._pictures.append((stamp, place, packet.size, packet.is_keyframe, not packet.is_discard))

    def sound(self, packet: av.Packet) -> None:
        """Note a packet of the sound, before what is decoded from it."""
        if not self.reason and packet.size:
            self._sound.append((self._place(packet, self._sound_bytes), packet.size))

    def heard(self, frame: av.AudioFrame, samples: Shaped[np.ndarray, "..."], *, is_last: bool) -> None:
        """Note a frame that the packet noted last gave; `is_last` when the decoder gave it without one."""
        if self.reason:
            return
        number = len(self._sound) - 1
        if is_last or (self._heard and self._heard[-1][0] == number):
            self.reason = "sound that comes late"
            return
        self._heard.append((number, frame.samples, frame.pts))
        if number % self._kept_step == self._kept_step // 2:
            self.kept[number] = samples
            if len(self.kept) > _MOST_KEPT:
                self._kept_step *= 2
                self.kept = {
                    n: s for n, s in self.kept.items() if n % self._kept_step == self._kept_step // 2
                }

    def damaged(self) -> None:
        """Note that a packet of the sound cannot be decoded."""
        self.reason = self.reason or "damaged sound"

    def _place(self, packet: av.Packet, window: "_Window") -> int:
        """Find a packet's bytes in the file; sets the reason when they are not there."""
        position = packet.pos
        if position is None:
            self.reason = "packets without a place"
            return -1
        if len(self._pictures) + len(self._sound) > _MOST_PACKETS:
            self.reason = "too many packets"
            return -1
        place = window.find(bytes(packet), position)
        if place < 0:
            self.reason = "packets are not whole in the file"
            return -1
        for side in packet.iter_sidedata():
            if side.data_type in _NEEDED_SIDE_DATA:
                self.reason = f"side data: {side.data_type}"
        return place

    def table(
        self,
        container: str,
        origin_seconds: float,
        video: av.VideoStream | None,
        audio: av.AudioStream | None,
        *,
        rotation: int,
        shown_stamps: Int64[np.ndarray, "_"] | None,
    ) -> PacketTable | None:
        """Make the table; None when `reason` says why not.

        `shown_stamps` are the stamps of the pictures that come out of the decoder, where they are not those
        of the packets.
        """
        pictures = sound = None
        if video is not None and container == "avi" and video.codec_context.has_b_frames:
            self.reason = self.reason or "B-frames without timestamps (AVI)"
        if not self.reason and video is not None:
            pictures = self._picture_packets(video, rotation, shown_stamps)
        if not self.reason and audio is not None:
            sound = self._sound_packets(audio)
        return None if self.reason else PacketTable(container, origin_seconds, pictures, sound)

    def _picture_packets(
        self, video: av.VideoStream, rotation: int, shown_stamps: Int64[np.ndarray, "_"] | None
    ) -> PicturePackets | None:
        stamps, places, sizes, keys, shown = (np.array(c) for c in zip(*self._pictures, strict=True))
        if len(np.unique(stamps)) < len(stamps):
            self.reason = "two pictures at one time"
            return None
        if shown_stamps is not None:
            shown &= np.isin(stamps, shown_stamps)
        context = video.codec_context
        coding = Coding(
            decoder=context.name,
            tag=_tag_of(context),
            extradata=context.extradata or b"",
            width_px=context.width,
            height_px=context.height,
            pixel_format=context.pix_fmt or "",
            colour=(context.color_range, context.color_primaries, context.color_trc, context.colorspace),
            bits_a_sample=context.bits_per_coded_sample,
        )
        return PicturePackets(coding, Fraction(video.time_base), rotation, stamps, places, sizes, keys, shown)

    def _sound_packets(self, audio: av.AudioStream) -> SoundPackets | None:
        if any(stamp is None for _, _, stamp in self._heard) or not self._heard:
            self.reason = "sound without timestamps"
            return None
        places, sizes = (np.array(column) for column in zip(*self._sound, strict=True))
        samples, stamps = np.zeros(len(places), np.int64), np.zeros(len(places), np.int64)
        numbers, counts, times = (np.array(column, np.int64) for column in zip(*self._heard, strict=True))
        samples[numbers], stamps[numbers] = counts, times
        if (np.diff(times) <= 0).any():
            self.reason = "sound that goes back"
            return None
        context = audio.codec_context
        if context.layout.nb_channels > 7:  # see `container.interleaved`
            self.reason = "more than seven channels"
            return None
        coding = Coding(
            decoder=context.name,
            tag=_tag_of(context),
            extradata=context.extradata or b"",
            sample_rate_hz=context.sample_rate,
            layout=context.layout.name,
        )
        # SBR and PS remember for long.
        forgets = context.name != "aac" or context.profile == "LC"
        return SoundPackets(coding, Fraction(audio.time_base), forgets, stamps, places, sizes, samples)


class _Window:
    """A part of a file in memory, which moves on as packets are looked for."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._begin, self._content = 0, b""
        self._reaches_end = False
        self._last_position, self._last_end = -1, 0

    def find(self, packet: bytes, position: int) -> int:
        """Find the first byte of a packet whose block lies at this position; -1 when it is not there."""
        # Several packets of one block (lacing) follow each other.
        begin = self._last_end if position == self._last_position else position
        end = begin + len(packet) + _LONGEST_HEAD_BYTES
        is_behind = not self._reaches_end and end > self._begin + len(self._content)
        if begin < self._begin or is_behind:
            self._file.seek(begin)
            wanted = max(_WINDOW_BYTES, end - begin)
            self._begin, self._content = begin, self._file.read(wanted)
            self._reaches_end = len(self._content) < wanted
        place = self._begin + self._content.find(packet, begin - self._begin, end - self._begin)
        if place < begin:
            return -1
        self._last_position, self._last_end = position, place + len(packet)
        return place


def _tag_of(context: av.CodecContext) -> str:
    try:
        return str(context.codec_tag)
    except UnicodeDecodeError:
        return ""
