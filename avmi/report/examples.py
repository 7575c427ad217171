"""Pictures with the sounds that they found, and the corpus → one picture of all of them, and the sounds to be heard."""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from avmi.config.parts import LogMel
from avmi.corpus.manifest import Manifest
from avmi.decode.clip import Waveform
from avmi.index import FoundClips, Hit
from avmi.report.figures import COLOURS, INK, PAPER, QUIET, drawable
from avmi.report.moments import Moment, find_videos, read_moments
from avmi.report.sound_plots import log_mel_pixels
from avmi.views.audio import LogMelSpectrogram
from avmi.views.waveform import read_waveform

log = logging.getLogger(__name__)

# One cell of the sheet, in pixels: 4:3 pictures above their spectrogram and three lines of text.
_CELL_PX, _PICTURE_PX, _SPECTROGRAM_PX = 168, 126, 56
_LINE_PX, _GAP_PX, _BORDER_PX = 15, 12, 4
_LINES = 3
_CELL_HEIGHT_PX = _PICTURE_PX + _SPECTROGRAM_PX + _LINES * _LINE_PX
_RIGHT, _RELATED, _WRONG = COLOURS[2], COLOURS[4], COLOURS[1]  # green, light blue, vermilion
# Moments that are kept, beside those that were just shown: some 20 MB.
_MOST_KEPT = 64


class ExampleSheet:
    """Draws examples of retrieval; decodes what they show when it is first shown, and keeps it.

    What cannot be read is a grey field with the reason in it. A video that takes longer than `time_limit_seconds`, as
    on a disk that hangs, ends the decoding for good: the examples go on without pictures and sounds. Sounds are heard
    and drawn as encoders get them.
    """

    def __init__(self, manifest: Manifest, *, log_mel: LogMel, time_limit_seconds: float) -> None:
        self._manifest, self._log_mel, self._limit = manifest, log_mel, time_limit_seconds
        self._spectrogram = LogMelSpectrogram(log_mel)
        self._kept: dict[tuple[str, float, float], Moment] = {}
        self._given_up = False

    def __call__(
        self, examples: Sequence[FoundClips]
    ) -> tuple[UInt8[np.ndarray, "height width 3"], list[list[Waveform | None]]]:
        """Draw a row for each example: the picture, its own sound, and what it found.

        Also gives the sounds of each row, None where one cannot be read.
        """
        hits = [hit for example in examples for hit in (example.query, example.own, *example.best)]
        self._read([hit for hit in hits if _key(hit) not in self._kept])
        rows, sounds = [], []
        for example in examples:
            cells = _cells(example)
            moments = [self._moment(cell.hit) for cell in cells]
            rows.append([self._drawn(cell, moment) for cell, moment in zip(cells, moments, strict=True)])
            sounds.append([moment.sound for moment in moments[1:]])
        for key in list(self._kept)[: -max(_MOST_KEPT, len(hits))]:
            del self._kept[key]
        return _sheet(rows), sounds

    def _drawn(self, cell: "_Cell", moment: Moment) -> Image.Image:
        if moment.sound is None:
            return _draw(cell, moment, None)
        sound, rate = moment.sound, self._log_mel.sample_rate_hz
        samples = read_waveform(sound.samples, sample_rate_hz=sound.sample_rate_hz, target_rate_hz=rate)
        log_mel = self._spectrogram(samples)[0].numpy()
        pixels = log_mel_pixels(log_mel, self._log_mel, width_px=_CELL_PX, height_px=_SPECTROGRAM_PX)
        return _draw(cell, moment, Image.fromarray(pixels))

    def _moment(self, hit: Hit) -> Moment:
        moment = self._kept.pop(_key(hit), Moment(problem="not read: a video took too long"))
        self._kept[_key(hit)] = moment  # as the one used last
        return moment

    def _read(self, hits: Sequence[Hit]) -> None:
        """Decode moments beside the training process's own thread, which goes on when that never ends."""
        if not hits or self._given_up:
            return
        found: list[Moment] = []
        thread = threading.Thread(target=lambda: found.extend(self._decoded(hits)), daemon=True)
        thread.start()
        thread.join(self._limit)
        if len(found) == len(hits):
            self._kept.update(zip(map(_key, hits), found, strict=True))
        else:
            self._given_up = True
            log.warning(
                "examples of retrieval are shown without more pictures and sounds: reading %d of them took longer "
                "than data.time_limit_seconds (%g)",
                len(hits),
                self._limit,
            )

    def _decoded(self, hits: Sequence[Hit]) -> list[Moment]:
        try:
            videos = find_videos(hits, self._manifest)
            return read_moments(
                hits,
                self._manifest,
                videos=videos,
                most_hz=self._log_mel.sample_rate_hz,
                short_side_px=_PICTURE_PX,
            )
        except Exception as error:  # whatever a damaged file makes a decoder raise: examples never stop a run
            return [Moment(problem=f"cannot be read: {error}")] * len(hits)


@dataclass(frozen=True)
class _Cell:
    """One field of the sheet: a moment, the colour around it and what stands below."""

    hit: Hit
    colour: str
    lines: tuple[str, ...]


def _cells(example: FoundClips) -> list[_Cell]:
    query, own = example.query, example.own
    name = drawable(query.label) or Path(query.video).stem
    first = _Cell(query, INK, (drawable(name), f"at {query.start_seconds:.1f} s", "finds:"))
    rank = f"rank {own.rank} of {example.gallery}"
    second = _Cell(own, INK, ("its own sound", rank, f"score {own.score:.3f}"))
    return [first, second, *(_hit_cell(hit, example) for hit in example.best)]


def _hit_cell(hit: Hit, example: FoundClips) -> _Cell:
    query = example.query
    if hit.clip_id == example.own.clip_id:
        colour, verdict = _RIGHT, "✓ its own sound"
    elif hit.video == query.video:
        colour, verdict = _RELATED, f"✗ same video, {hit.start_seconds:.1f} s"
    elif query.label and hit.label == query.label:
        colour, verdict = _RELATED, "✗ same label"
    else:
        colour, verdict = _WRONG, "✗ another label" if query.label else "✗ another video"
    title = f"{hit.rank} · {drawable(hit.label) or drawable(Path(hit.video).stem)}"
    return _Cell(hit, colour, (title, verdict, f"score {hit.score:.3f}"))


def _key(hit: Hit) -> tuple[str, float, float]:
    return hit.video, hit.start_seconds, hit.end_seconds


def _draw(cell: _Cell, moment: Moment, spectrogram: Image.Image | None) -> Image.Image:
    image = Image.new("RGB", (_CELL_PX, _CELL_HEIGHT_PX), PAPER)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, _CELL_PX - 1, _PICTURE_PX - 1), fill="#8a9199")
    if moment.picture is not None:
        picture = Image.fromarray(moment.picture)
        picture.thumbnail((_CELL_PX, _PICTURE_PX), Image.Resampling.LANCZOS)
        image.paste(picture, ((_CELL_PX - picture.width) // 2, (_PICTURE_PX - picture.height) // 2))
    elif moment.problem:
        for n in range(4):
            draw.text((8, 8 + n * _LINE_PX), moment.problem[24 * n : 24 * (n + 1)], fill=PAPER, font=_font())
    bottom = _PICTURE_PX
    if spectrogram is not None:
        image.paste(spectrogram, (0, bottom))
        bottom += spectrogram.height
    draw.rectangle((0, 0, _CELL_PX - 1, bottom - 1), outline=cell.colour, width=_BORDER_PX)
    for n, line in enumerate(cell.lines):
        draw.text((2, bottom + n * _LINE_PX), line, fill=INK if n == 0 else QUIET, font=_font())
    return image


def _sheet(rows: Sequence[Sequence[Image.Image]]) -> UInt8[np.ndarray, "height width 3"]:
    columns = max((len(row) for row in rows), default=1)
    width = columns * (_CELL_PX + _GAP_PX) + _GAP_PX
    height = max(1, len(rows)) * (_CELL_HEIGHT_PX + _GAP_PX) + _GAP_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    for top, row in enumerate(rows):
        for left, cell in enumerate(row):
            place = (_GAP_PX + left * (_CELL_PX + _GAP_PX), _GAP_PX + top * (_CELL_HEIGHT_PX + _GAP_PX))
            sheet.paste(cell, place)
    return np.asarray(sheet)


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Load the font that matplotlib brings, at a size that can be read at a sheet's own size."""
    import matplotlib

    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", 12)
