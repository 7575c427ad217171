"""An open file, the packets of its pictures and ascending ticks → the frames on the screen at them.

The table says which packet holds the picture that is on the screen, and at which keyframe to start. Only the packets
from there to the last picture wanted are fed, frames that no other needs are skipped by the decoder unless they are
wanted, and what the decoder still holds then is drained. Anything unforeseen raises `Unfit`: the container decides.
"""

import contextlib
from collections.abc import Iterator, Sequence
from io import FileIO
from itertools import groupby

import av
import numpy as np
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from avmi.corpus.packets import Coding, PicturePackets
from avmi.corpus.picture_runs import CAN_SKIP
from avmi.decode.opened import DAMAGE_IS_AN_ERROR
from avmi.decode.packet_bytes import Unfit, packet_of, read_packets

# Keyframes to begin at, before the container is asked.
_TRIES = 3


class PacketPictures:
    """The pictures of a file, by its packet table."""

    def __init__(self, file: FileIO, packets: PicturePackets, *, tolerance_ticks: float) -> None:
        self._file, self._packets = file, packets
        self._tolerance = tolerance_ticks
        shown = np.flatnonzero(packets.shown)
        self._order = shown[np.argsort(packets.stamps[shown])]  # packets in the order of the screen
        self._stamps = packets.stamps[self._order]
        self._keys = np.flatnonzero(packets.keys)
        self._skips = packets.coding.decoder in CAN_SKIP
        self._context: VideoCodecContext | None = None

    def at(self, ticks: Sequence[float]) -> Iterator[tuple[int, VideoFrame]]:
        """Give each time's stamp and frame, in order; a frame that stands at several times comes several times.

        Raises `Unfit`, also in the middle.
        """
        places = np.searchsorted(self._stamps, np.asarray(ticks) + self._tolerance, side="right") - 1
        if places[0] < 0:
            raise Unfit("before the first picture")
        wanted = [int(packet) for packet in self._order[places]]
        starts = {packet: self._start_of(packet) for packet in wanted}
        for start, same in groupby(wanted, key=lambda packet: starts[packet]):
            targets = list(same)
            frames = self._decode_from(start, set(targets))
            for packet in targets:
                yield int(self._packets.stamps[packet]), frames[packet]

    @property
    def last_stamp(self) -> int:
        """When the last picture comes up, in ticks."""
        return int(self._stamps[-1])

    def _start_of(self, packet: int) -> int:
        """Find the last keyframe that is neither decoded nor shown after a picture."""
        keys = self._keys[: np.searchsorted(self._keys, packet, side="right")]
        keys = keys[self._packets.stamps[keys] <= self._packets.stamps[packet]]
        if not len(keys):
            raise Unfit("no keyframe before the picture")
        return int(keys[-1])

    def _decode_from(self, start: int, targets: set[int]) -> dict[int, VideoFrame]:
        """Decode from a keyframe; where an open group stumbles over what it begins without, from one before."""
        for _ in range(_TRIES - 1):
            try:
                return self._decode(start, targets)
            except Unfit:
                place = int(np.searchsorted(self._keys, start))
                if place == 0:
                    raise
                start = int(self._keys[place - 1])
        return self._decode(start, targets)

    def _decode(self, start: int, targets: set[int]) -> dict[int, VideoFrame]:
        packets = self._packets
        wanted = {int(packets.stamps[packet]): packet for packet in targets}
        first_stamp = int(packets.stamps[start])
        context = self._ready_context()
        found: dict[int, VideoFrame] = {}
        begun = False
        for frame in self._frames(context, start, targets):
            stamp = frame.pts
            if frame.is_corrupt or stamp is None:
                raise Unfit("a damaged picture")
            if not begun:
                if stamp < first_stamp:
                    continue  # leads an open group: refers to what was not decoded
                if stamp != first_stamp or not frame.key_frame:
                    raise Unfit("decoding does not begin at the keyframe")
                begun = True
            if stamp in wanted:
                found[wanted[stamp]] = frame
        if len(found) < len(targets):
            raise Unfit("a picture does not come out")
        return found

    def _ready_context(self) -> VideoCodecContext:
        if self._context is None:
            self._context = open_video_decoder(self._packets.coding)
        else:
            self._context.flush_buffers()
        return self._context

    def _frames(self, context: VideoCodecContext, start: int, targets: set[int]) -> Iterator[VideoFrame]:
        packets = self._packets
        last = max(targets)
        places, sizes = packets.places[start : last + 1].tolist(), packets.sizes[start : last + 1].tolist()
        stamps = packets.stamps[start : last + 1].tolist()
        first_stamp, skipping = stamps[0], False
        contents = read_packets(self._file, places, sizes)
        try:
            for number, content, stamp in zip(range(start, last + 1), contents, stamps, strict=True):
                skip = self._skips and number != start and number not in targets
                if skip != skipping:
                    context.skip_frame = "NONREF" if skip else "DEFAULT"
                    skipping = skip
                packet = packet_of(content)
                packet.pts = stamp
                if stamp >= first_stamp:
                    yield from context.decode(packet)
                else:  # leads an open group: what it refers to is not there, and it is not wanted
                    with contextlib.suppress(FFmpegError):
                        yield from context.decode(packet)
            if skipping:
                context.skip_frame = "DEFAULT"
            yield from context.decode(None)
        except FFmpegError as error:
            raise Unfit(str(error)) from error


def open_video_decoder(coding: Coding) -> VideoCodecContext:
    """Set a decoder up as the container would have; raises `Unfit` when this FFmpeg has it not."""
    try:
        context = av.CodecContext.create(coding.decoder, "r")
        assert isinstance(context, VideoCodecContext)
        context.thread_count = 1
        context.options = DAMAGE_IS_AN_ERROR
        if coding.extradata:
            context.extradata = coding.extradata
        if len(coding.tag) == 4:
            context.codec_tag = coding.tag
        context.width, context.height = coding.width_px, coding.height_px
        if coding.pixel_format:
            context.pix_fmt = coding.pixel_format
        context.color_range, context.color_primaries, context.color_trc, context.colorspace = coding.colour
        if coding.bits_a_sample:
            context.bits_per_coded_sample = coding.bits_a_sample
        context.open()
    except (FFmpegError, ValueError) as error:
        raise Unfit(str(error)) from error
    return context
