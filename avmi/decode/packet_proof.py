"""A path and the packet table that `scan` made of it → the table, if reading by it is exact, or why it is not.

Pictures are compared bit for bit with those of a seek and decode through the container, which `scan` has kept, or else
are decoded here: around the first, a middle and the last keyframe. Sound is compared with what came out of a decode
from the start.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from jaxtyping import Float, Shaped

from avmi.corpus.packets import PacketTable, PicturePackets, SoundPackets
from avmi.corpus.proof_places import proof_places
from avmi.decode.on_screen import tolerance_ticks
from avmi.decode.opened import OpenedFile
from avmi.decode.packet_bytes import Unfit
from avmi.decode.packet_pictures import PacketPictures
from avmi.decode.packet_reader import open_file
from avmi.decode.packet_sound import PacketSound, run_up_packets
from avmi.decode.pictures import PictureSource
from avmi.decode.rgb import upright_rgb
from avmi.errors import DecodeError

# AAC fills bands with noise that every decoder draws anew, from about 4 kHz on (FFmpeg's encoder: NOISE_LOW_LIMIT);
# below this no band is noise, and a frame with another start would differ.
_NO_NOISE_BELOW_HZ = 3000
# Of the spectrum's largest value: single precision leaves 1e-6, a frame without its neighbour differs by 0.1.
_SAME_SPECTRUM = 1e-3
_SAME_SAMPLES = 1e-6
_LATE = 0.75  # of the time that a picture stands


def proved(
    path: Path,
    table: PacketTable,
    *,
    kept_sound: Mapping[int, Shaped[np.ndarray, "..."]],
    kept_pictures: Mapping[int, VideoFrame],
    end_seconds: float,
) -> tuple[PacketTable | None, str]:
    """Give the table with what is proved of its sound, or None and the reason.

    `kept_sound` is decoded sound by its packet's number, `kept_pictures` are those of `proof_places` by their number
    on the screen; `end_seconds` is when the last picture goes.
    """
    try:
        file, _ = open_file(path)
    except OSError:
        return None, "not a file of its own"
    with file:
        try:
            if table.pictures is not None:
                reason = _pictures_reason(path, file, table, kept_pictures, end_seconds)
                if reason:
                    return None, reason
            if table.sound is not None:
                sound = _proved_sound(file, table.sound, table.origin_seconds, kept_sound)
                table = dataclasses.replace(table, sound=sound)
        except Unfit as error:
            return None, str(error)
        except (DecodeError, FFmpegError) as error:
            return None, f"container: {getattr(error, 'reason', type(error).__name__)}"
    return table, ""


def _pictures_reason(
    path: Path, file: FileIO, table: PacketTable, kept: Mapping[int, VideoFrame], end_seconds: float
) -> str:
    packets = table.pictures
    assert packets is not None
    places, ticks = zip(*proof_pictures(packets), strict=True)
    read = PacketPictures(file, packets, tolerance_ticks=tolerance_ticks(float(packets.tick))).at(ticks)
    truth = _kept(packets, kept, places) if kept else _through_the_container(path, table, ticks, end_seconds)
    return _difference(read, truth, rotation=packets.rotation)


def proof_pictures(packets: PicturePackets) -> list[tuple[int, float]]:
    """Choose pictures to compare, by their number on the screen, and a time at which each stands there.

    It is late: a picture that the table lacks would be on the screen then.
    """
    stamps = np.sort(packets.stamps[packets.shown])
    keys = np.searchsorted(stamps, np.sort(packets.stamps[packets.keys & packets.shown]))
    places = proof_places(len(stamps), keys)
    ends = np.append(stamps[1:], stamps[-1])[places]
    return list(zip(places, (stamps[places] + _LATE * (ends - stamps[places])).tolist(), strict=True))


def _kept(
    packets: PicturePackets, kept: Mapping[int, VideoFrame], places: Sequence[int]
) -> Iterator[tuple[int, VideoFrame]]:
    """Give stamps and frames that `scan` has decoded through the container."""
    stamps = np.sort(packets.stamps[packets.shown])
    for place in places:
        if place not in kept:
            raise Unfit("other pictures come out")
        yield int(stamps[place]), kept[place]


def _through_the_container(
    path: Path, table: PacketTable, ticks: Sequence[float], end_seconds: float
) -> Iterator[tuple[int, VideoFrame]]:
    assert table.pictures is not None
    opened = OpenedFile(path)
    try:
        source = PictureSource(opened)
        for tick in ticks:
            seconds = tick * float(table.pictures.tick) - table.origin_seconds
            picture = source.at(seconds, end_seconds=end_seconds, last_seconds=None)
            yield picture.ticks, picture.frame
    finally:
        opened.close()


def _difference(
    read: Iterator[tuple[int, VideoFrame]], truth: Iterator[tuple[int, VideoFrame]], *, rotation: int
) -> str:
    """Compare stamps and frames one by one, so that few are in memory."""
    for (stamp, frame), (true_stamp, true_frame) in zip(read, truth, strict=True):
        if stamp != true_stamp or not _are_same(frame, true_frame):
            return "other pictures come out"
        if (round(true_frame.rotation / 90) - round(rotation / 90)) % 4:
            return "the rotation changes"
    return ""


def _are_same(a: VideoFrame, b: VideoFrame) -> bool:
    kinds = [
        (f.format.name, f.width, f.height, f.colorspace, f.color_range, f.color_primaries, f.color_trc)
        for f in (a, b)
    ]
    if kinds[0] != kinds[1]:
        return False
    if not a.format.is_planar:
        return np.array_equal(upright_rgb(a, short_side_px=None), upright_rgb(b, short_side_px=None))
    width_bytes = 1 if max(component.bits for component in a.format.components) <= 8 else 2
    for plane, other in zip(a.planes, b.planes, strict=True):
        rows = [np.frombuffer(memoryview(p), np.uint8).reshape(-1, p.line_size) for p in (plane, other)]
        shown = slice(0, plane.height), slice(0, plane.width * width_bytes)  # the rest is the decoder's own
        if not np.array_equal(rows[0][shown], rows[1][shown]):
            return False
    return True


def _proved_sound(
    file: FileIO,
    packets: SoundPackets,
    origin_seconds: float,
    kept: Mapping[int, Shaped[np.ndarray, "..."]],
) -> SoundPackets:
    """Give the packets with what is proved of them; raises `Unfit` when the last ones do not come out."""
    reader = PacketSound(file, packets, origin_seconds=origin_seconds)
    can_start = _can_start(reader, packets, kept)
    if can_start != packets.can_start_anywhere:
        packets = dataclasses.replace(packets, can_start_anywhere=can_start)
        reader = PacketSound(file, packets, origin_seconds=origin_seconds)
    reader.probe()
    return packets


def _can_start(
    reader: PacketSound, packets: SoundPackets, kept: Mapping[int, Shaped[np.ndarray, "..."]]
) -> bool:
    """Whether packets decoded after a run-up give what they gave from the start; two of them are tried."""
    if not packets.can_start_anywhere or run_up_packets(packets.coding) is None or not kept:
        return False
    for number in sorted(kept)[-2:]:
        truth = kept[number]
        try:
            given = reader.frame_after_run_up(number).to_ndarray()
        except Unfit:
            return False
        if given.shape != truth.shape or given.dtype != truth.dtype:
            return False
        if packets.coding.decoder == "aac":
            if not _same_but_noise(given, truth, hz=packets.coding.sample_rate_hz):
                return False
        elif not np.allclose(given, truth, rtol=0, atol=_SAME_SAMPLES if given.dtype.kind == "f" else 0):
            return False
    return True


def _same_but_noise(
    a: Float[np.ndarray, "channels samples"], b: Float[np.ndarray, "channels samples"], *, hz: int
) -> bool:
    window = np.hanning(a.shape[1])
    below = np.fft.rfftfreq(a.shape[1], 1 / hz) < _NO_NOISE_BELOW_HZ
    spectra: Sequence[np.ndarray] = [np.abs(np.fft.rfft(x * window))[:, below] for x in (a - b, b)]
    return bool(spectra[0].max() <= _SAME_SPECTRUM * spectra[1].max() + 1e-6)
