"""A damaged video file → what every backend gets wrong about it, held against plain decodes of the whole file.

A plain decode goes from the first packet to the last, whatever fails on the way. It says which packets the decoder
refused: what was made of those, or may be, up to the next keyframe, is no picture that anyone may give.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from rows import video_row

from avmi.corpus.manifest import Video
from avmi.decode.choose import choose_decoder
from avmi.decode.opened import OpenedFile
from avmi.decode.probe import probe
from avmi.decode.pyav import PyAvReader
from avmi.decode.rgb import upright_rgb
from avmi.errors import ConfigError, DecodeError

BACKENDS = ("pyav", "decord", "torchcodec")
# Mean difference of grey levels between two conversions of one picture to RGB.
_SAME_PICTURE_LEVELS = 3.0
_SAME_SECONDS = 1e-6
# decord's times are single precision, torchcodec's are the rounded ones of the file.
_ROUNDED_SECONDS = 0.51e-3


@dataclass(frozen=True)
class Sent:
    """A packet of pictures, and what came of sending it to the decoder."""

    seconds: float
    is_key: bool
    is_shown: bool
    is_refused: bool


@dataclass
class Straight:
    """What a plain decode from the start to the end gives; times in seconds on the container's clock."""

    pictures: list[tuple[float, np.ndarray]] = dataclasses.field(default_factory=list)
    sent: list[Sent] = dataclasses.field(default_factory=list)
    sound: list[tuple[float, np.ndarray]] = dataclasses.field(default_factory=list)  # mono blocks
    sound_hz: int = 0
    is_by_order: bool = False  # AVI with B-frames: its times mean nothing
    is_one_a_packet: bool = False  # so that a packet that gives none is damaged

    def stamps(self) -> np.ndarray:
        """When pictures come up, or would have if they were not damaged."""
        lost = [s.seconds for s in self.sent if s.is_shown and (s.is_refused or self.is_one_a_packet)]
        stamps = np.array([seconds for seconds, _ in self.pictures] + lost)
        return np.unique(stamps[np.isfinite(stamps)])

    def spoilt(self) -> set[float]:
        """Name the pictures that are, or may be, made of refused packets."""
        spoilt: set[float] = set()
        spreads, spoils_leading = False, False
        key = -np.inf
        for sent in self.sent:
            leads = (
                sent.seconds < key
            )  # is shown before a keyframe that it follows: nothing later refers to it
            if sent.is_key and not sent.is_refused:
                key, spoils_leading, spreads = sent.seconds, spreads, False
            elif sent.is_refused:
                spreads, spoils_leading = spreads or not leads, True
            if spreads or (leads and spoils_leading):
                spoilt.add(sent.seconds)
        return spoilt | (set(self.stamps().tolist()) - {seconds for seconds, _ in self.pictures})


def straight_decode(path: Path, *, with_sound: bool = True) -> Straight:
    """Decode every packet in the file's order; nothing of the package's seeking is used."""
    file = OpenedFile(path)
    found = Straight()
    found.is_by_order = bool(
        file.format_name == "avi" and file.video and file.video.codec_context.has_b_frames
    )
    if file.video is not None:
        found.is_one_a_packet = file.video.codec_context.name in ("h264", "hevc", "vp9")
    streams = [s for s in (file.video, file.audio if with_sound else None) if s is not None]
    for packet, frames in _decoded(file.container, streams):
        if packet.size and packet.stream is file.video:
            seconds = _seconds(packet, file)
            shown = not packet.is_discard
            found.sent.append(Sent(seconds, packet.is_keyframe, shown, frames is None))
        for frame in frames or ():
            _add(found, frame, file)
    file.close()
    return found


def _decoded(container: Any, streams: list[Any]) -> Iterator[tuple[Any, list[Any] | None]]:
    """Give each packet with its frames; None when the decoder refuses it."""
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except (FFmpegError, IndexError):
            return
        if packet is None:
            return
        try:
            yield packet, packet.decode()
        except FFmpegError:
            yield packet, None


def _seconds(at: Any, file: OpenedFile) -> float:
    """Time of a packet or frame; AVI counts chunks, and what FFmpeg makes of that is a picture late at times."""
    ticks = at.dts if file.format_name == "avi" else at.pts
    return np.nan if ticks is None else float(ticks * at.time_base) - file.origin_seconds


def _add(found: Straight, frame: Any, file: OpenedFile) -> None:
    seconds = _seconds(frame, file)
    if isinstance(frame, av.VideoFrame):
        if not frame.is_corrupt:
            found.pictures.append((seconds, upright_rgb(frame, short_side_px=None)))
    else:
        planes = av.AudioResampler(format="fltp").resample(frame)
        found.sound.extend((seconds, part.to_ndarray().mean(axis=0)) for part in planes)
        found.sound_hz = frame.sample_rate


def judged(path: Path) -> dict[str, Any]:
    """Probe a file; when it is usable, hold what each backend gives against straight decodes of it.

    Returns the mistakes ("wrong") and how often each backend gave something or refused. Raises `DecodeError`
    when the file is unusable. Runs in a child of the pool.
    """
    facts = probe(path)
    known = {field.name for field in dataclasses.fields(Video)}  # a probe may tell more
    video = video_row(str(path), **{name: value for name, value in facts.items() if name in known})
    judge = Judge(path, video)
    for backend in BACKENDS:
        try:
            with choose_decoder(backend).open(path, video=video) as reader:
                judge.pictures(reader, backend)
                if backend == "pyav":
                    judge.sound(reader)
        except DecodeError as error:
            judge.counts[f"{backend} refuses: {error.reason}"] += 1
        except ConfigError:
            judge.counts[f"{backend} is not installed"] += 1
    return {"wrong": judge.wrong, "counts": judge.counts}


class Judge:
    """Collects the mistakes about one file."""

    def __init__(self, path: Path, video: Video) -> None:
        self.wrong: list[str] = []
        self.counts: Counter[str] = Counter()
        self._video = video
        self._truth = straight_decode(path)
        # Other memory lies in the decoder's buffers: where a picture shows it, nobody can say what it is.
        self._again = straight_decode(path, with_sound=False)
        self._stamps, self._spoilt = self._truth.stamps(), self._truth.spoilt()
        with PyAvReader(path, video=video) as reader:
            self._tolerance_seconds = reader.tolerance_seconds

    def pictures(self, reader: Any, backend: str) -> None:
        """Ask for pictures in a random order."""
        start, end = self._video.video_start_seconds, self._video.video_end_seconds - 1e-3
        for wanted in np.random.default_rng(7).permutation(np.linspace(start, end, 9)).tolist():
            try:
                found = reader.frames([wanted], short_side_px=None)
            except DecodeError as error:
                self.counts[f"{backend} picture: {error.reason}"] += 1
                continue
            self.counts[f"{backend} picture"] += 1
            self._picture(found.pixels[0], float(found.times_seconds[0]), wanted, backend)

    def _picture(self, pixels: np.ndarray, seconds: float, wanted: float, backend: str) -> None:
        if self._truth.is_by_order:  # then at least one of the file's pictures
            if backend == "pyav" and not any(np.array_equal(p, pixels) for _, p in self._truth.pictures):
                self.wrong.append(f"pyav: the picture at {wanted:.4f} s is none of the file's")
            return
        stamps = self._expected(wanted, backend)
        slack = _SAME_SECONDS if backend == "pyav" else _ROUNDED_SECONDS
        near = [stamp for stamp in stamps if abs(stamp - seconds) <= slack]
        if not near:
            self.wrong.append(f"{backend}: picture of {seconds:.4f} s at {wanted:.4f} s, true is {stamps}")
            return
        if near[0] in self._spoilt:
            self._not_clean(backend, f"the picture of {seconds:.4f} s is made of damage")
            return
        first, second = (_at(near[0], straight) for straight in (self._truth, self._again))
        if first and second and min(_distance(a, b) for a in first for b in second) > 0:
            self.counts["the decoder itself does not repeat the picture"] += 1
            return
        far = min((_distance(pixels, shown) for shown in first), default=np.inf)
        if far > (0.0 if backend == "pyav" else _SAME_PICTURE_LEVELS):
            self._not_clean(backend, f"the picture at {wanted:.4f} s is {far:.1f} levels off")

    def _expected(self, wanted: float, backend: str) -> list[float]:
        """Give the stamp of the picture that is on the screen; two, where a backend's clock is too coarse to tell."""
        edge = self._tolerance_seconds
        slacks = [edge - 1e-8, edge + 1e-8]  # what is just on the edge is a matter of rounding
        if backend != "pyav":
            slacks += [-_SAME_SECONDS, max(edge, _ROUNDED_SECONDS)]
        places = [int(np.searchsorted(self._stamps, wanted + slack, side="right")) - 1 for slack in slacks]
        return [float(self._stamps[place]) for place in sorted(set(places)) if place >= 0]

    def _not_clean(self, backend: str, what: str) -> None:
        if backend == "pyav":
            self.wrong.append(f"{backend}: {what}")
        else:
            self.counts[f"{backend} mends damage in its own way"] += 1  # it does not say so: docs/media.md

    def sound(self, reader: Any) -> None:
        """Ask for four neighbouring intervals and for all of the sound."""
        start, end = self._video.audio_start_seconds, self._video.audio_end_seconds
        rate = self._truth.sound_hz
        for first, last in [*pairwise(np.linspace(start, end, 5).tolist()), (start, end)]:
            try:
                heard = reader.audio(first, last, sample_rate_hz=rate).samples
            except DecodeError as error:
                self.counts[f"sound: {error.reason}"] += 1
                continue
            self.counts["sound"] += 1
            if len(heard) != round((last - first) * rate):
                self.wrong.append(f"sound: {len(heard)} samples from {first:.3f} to {last:.3f} s")
                continue
            self.wrong.extend(_misplaced(heard, first, self._truth))


def _at(seconds: float, straight: Straight) -> list[np.ndarray]:
    return [pixels for at, pixels in straight.pictures if abs(at - seconds) <= _SAME_SECONDS]


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean()) if a.shape == b.shape else np.inf


def _misplaced(heard: np.ndarray, start_seconds: float, truth: Straight) -> Iterator[str]:
    """Find blocks of the straight decode that were not heard within 1 ms of their timestamp.

    One timestamp that agrees with neither neighbour is no clock: its block is heard where the others say.
    """
    reach = round(1e-3 * truth.sound_hz) + 1
    starts = np.array([seconds for seconds, _ in truth.sound])
    ends = starts + np.array([len(block) for _, block in truth.sound]) / (truth.sound_hz or 1)
    joins = np.abs(starts[1:] - ends[:-1]) < 2e-3
    is_alone = ~(np.append(False, joins) | np.append(joins, False))
    for (seconds, block), alone in zip(truth.sound, is_alone, strict=True):
        if alone:
            continue
        place = round((seconds - start_seconds) * truth.sound_hz) if np.isfinite(seconds) else -1
        if place < reach or place + len(block) + reach > len(heard) or np.ptp(block) < 1e-3:
            continue
        block = block.clip(-1, 1)
        far = min(
            float(np.abs(heard[place + s : place + s + len(block)] - block).max())
            for s in range(-reach, reach + 1)
        )
        if far > 1e-4:
            yield f"sound: the block of {seconds:.4f} s is not within 1 ms of its place ({far:.3f})"
