"""A path and the packet table that `scan` made of it → the table, if reading by it is exact, or why it is not.

Pictures are compared bit for bit with those of a seek and decode through the container: after the last keyframe, in
the middle, and the first one. Sound is compared with what came out of a decode from the start.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from jaxtyping import Float, Shaped

from avmi.corpus.packets import PacketTable, PicturePackets, SoundPackets
from avmi.decode.opened import OpenedFile
from avmi.decode.packet_pictures import PacketPictures, Unfit
from avmi.decode.packet_reader import open_file
from avmi.decode.packet_sound import PacketSound, run_up_packets
from avmi.decode.pictures import PictureSource, tolerance_ticks
from avmi.decode.rgb import upright_rgb
from avmi.errors import DecodeError

# AAC fills bands with noise that every decoder draws anew, from about 4 kHz on (FFmpeg's encoder: NOISE_LOW_LIMIT);
# below this no band is noise, and a frame with another start would differ.
_NO_NOISE_BELOW_HZ = 3000
# Of the spectrum's largest value: single precision leaves 1e-6, a frame without its neighbour differs by 0.1.
_SAME_SPECTRUM = 1e-3
_SAME_SAMPLES = 1e-6
# Pictures further behind their keyframe cost more to decode than the rest of `prepare` takes.
_NEAR_KEY = 16
_LATE = 0.75  # of the time that a picture stands


def proved(
    path: Path, table: PacketTable, *, kept: Mapping[int, Shaped[np.ndarray, "..."]], end_seconds: float
) -> tuple[PacketTable | None, str]:
    """Give the table with what is proved of its sound, or None and the reason.

    `kept` is decoded sound by its packet's number; `end_seconds` is when the last picture goes.
    """
    try:
        file, _ = open_file(path)
    except OSError:
        return None, "not a file of its own"
    with file:
        try:
            if table.pictures is not None and (reason := _pictures_differ(path, file, table, end_seconds)):
                return None, reason
            if table.sound is not None:
                reader = PacketSound(file, table.sound, origin_seconds=table.origin_seconds)
                sound = dataclasses.replace(
                    table.sound, can_start_anywhere=_can_start(reader, table.sound, kept)
                )
                table = dataclasses.replace(table, sound=sound)
                PacketSound(file, sound, origin_seconds=table.origin_seconds).probe()
        except Unfit as error:
            return None, str(error)
        except (DecodeError, FFmpegError) as error:
            return None, f"container: {getattr(error, 'reason', type(error).__name__)}"
    return table, ""


def proof_ticks(packets: PicturePackets) -> list[float]:
    """Choose times to compare: around the first, a middle and the last keyframe, and the last picture.

    Late in what each picture stands: a picture that the table lacks would be on the screen there.
    """
    stamps = np.sort(packets.stamps[packets.shown])
    keys = np.searchsorted(stamps, np.sort(packets.stamps[packets.keys & packets.shown]))
    last = len(stamps) - 1
    middle, final = (int(keys[len(keys) // 2]), int(keys[-1])) if len(keys) else (last // 2, last // 2)
    places = {0, middle + 1, final + 2}
    # Before a keyframe an open group leads into it; in long groups that costs too much to look at.
    before = [key - 1 for key in (middle, final)] + [last]
    starts = np.append(0, keys)
    for place in before:
        start = int(starts[max(int(np.searchsorted(starts, place, side="right")) - 1, 0)])
        if place - start < _NEAR_KEY:
            places.add(place)
    chosen = np.unique(np.clip(np.array(list(places), dtype=np.int64), 0, last))
    ends = np.append(stamps[1:], stamps[-1])[chosen]
    return [float(tick) for tick in stamps[chosen] + _LATE * (ends - stamps[chosen])]


def _pictures_differ(path: Path, file: Any, table: PacketTable, end_seconds: float) -> str:
    packets = table.pictures
    assert packets is not None
    tick, origin = float(packets.tick), table.origin_seconds
    targets = proof_ticks(packets)
    given = list(PacketPictures(file, packets, tolerance_ticks=tolerance_ticks(tick)).at(targets))
    opened = OpenedFile(path)
    try:
        source = PictureSource(opened)
        for target, (stamp, frame) in zip(targets, given, strict=True):
            truth = source.at(target * tick - origin, end_seconds=end_seconds, last_seconds=None)
            if truth.ticks != stamp or not _are_same(frame, truth.frame):
                return "other pictures come out"
            if (round(truth.frame.rotation / 90) - round(packets.rotation / 90)) % 4:
                return "the rotation changes"
    finally:
        opened.close()
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
