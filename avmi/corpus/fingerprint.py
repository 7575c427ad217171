"""Sound and pictures of one video → small fingerprints that survive re-encoding, scaling and trimming.

Sound: pairs of spectral peaks, as (frequency, frequency, distance in time), with the time of the first (Wang, "An
industrial-strength audio search algorithm", ISMIR 2003). Pictures: signs of the low frequencies of the brightness
(the DCT form of a perceptual hash; Zauner, "Implementation and benchmarking of perceptual image hash functions",
2010). `near_duplicates.py` compares them.
"""

import base64
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import soxr
from jaxtyping import Float, Float32, Int, UInt32
from scipy.fft import dctn, rfft

RATE_HZ = 8000  # telephone band: codecs of every rate keep it
HOP_SECONDS = 256 / RATE_HZ
LONGEST_SECONDS = 600.0  # of the sound are fingerprinted; 20 MB at 8 kHz
_WINDOW = 1024
_HOP = 256
_BINS = 384  # below 3 kHz: what every codec keeps, at three quarters of the time
# A peak is the loudest of its neighbourhood: 190 Hz and 0.29 s to either side.
_NEAR_BINS, _NEAR_HOPS = 24, 9
_FLOOR_DB = 50.0  # below the loudest a peak is noise of the encoder
_QUIETEST_POWER = 1e-4  # of a windowed 16-bit signal whose peak is -60 dBFS or so
_PEAKS_A_SECOND = 8
_PARTNERS = 3  # later peaks that a peak is paired with
_MOST_HOPS = 63  # six bits of the mark
_SIDE = 16  # of the brightness grid
_LOW = 8  # lowest frequencies each way: 64 signs
_FLAT_LEVELS = 4.0  # a picture whose cells vary by less says nothing: black, white, fog


@dataclass(frozen=True)
class SoundMarks:
    """Pairs of spectral peaks: what they are, and when the first one is."""

    marks: UInt32[np.ndarray, "marks"]
    hops: Int[np.ndarray, "marks"]  # since the sound's start, HOP_SECONDS each

    def as_text(self) -> str:
        """Give a text that JSON carries; `from_text` reads it."""
        packed = self.marks.astype("<u4").tobytes() + self.hops.astype("<u2").tobytes()
        return base64.b64encode(packed).decode()


def from_text(text: str) -> SoundMarks:
    """Read what `SoundMarks.as_text` gave."""
    packed = base64.b64decode(text)
    count = len(packed) // 6
    marks = np.frombuffer(packed, "<u4", count)
    return SoundMarks(marks, np.frombuffer(packed, "<u2", count, offset=4 * count).astype(np.int32))


@dataclass
class SoundListener:
    """Takes in a sound piece by piece and keeps it at 8 kHz, for its marks."""

    _stream: Any = None
    _rate_hz: int = 0
    _pieces: list[Float32[np.ndarray, "_"]] = field(default_factory=list)
    _length: int = 0

    def add(self, mono: Float[np.ndarray, "samples"], *, sample_rate_hz: int) -> None:
        """Take in mono sound; what changes its rate on the way, or is very long, is not listened to further."""
        if self._stream is None:
            self._rate_hz = sample_rate_hz
            self._stream = soxr.ResampleStream(sample_rate_hz, RATE_HZ, 1, dtype="float32", quality="LQ")
        if sample_rate_hz != self._rate_hz or self._length > LONGEST_SECONDS * RATE_HZ:
            return
        piece = self._stream.resample_chunk(np.ascontiguousarray(mono, dtype=np.float32))
        self._pieces.append(piece)
        self._length += len(piece)

    def marks(self) -> SoundMarks:
        """Find the marks of all that was taken in."""
        if not self._length:
            return SoundMarks(np.zeros(0, np.uint32), np.zeros(0, np.int64))
        return sound_marks(np.concatenate(self._pieces))


def sound_marks(samples: Float32[np.ndarray, "samples"]) -> SoundMarks:
    """Find the marks of mono sound at `RATE_HZ`; silence and sounds shorter than a window have none."""
    return paired(*_peaks(samples))


def paired(bins: Int[np.ndarray, "peaks"], hops: Int[np.ndarray, "peaks"]) -> SoundMarks:
    """Pair every peak with the next ones in time; the peaks come in that order."""
    marks, starts = [], []
    for ahead in range(1, _PARTNERS + 1):
        first, second = slice(None, -ahead), slice(ahead, None)
        distance = hops[second] - hops[first]
        near = distance <= _MOST_HOPS
        mark = bins[first].astype(np.uint32) << 16 | bins[second].astype(np.uint32) << 6
        marks.append((mark | distance.astype(np.uint32))[near])
        starts.append(hops[first][near])
    return SoundMarks(np.concatenate(marks).astype(np.uint32), np.concatenate(starts).astype(np.int64))


def _peaks(samples: Float32[np.ndarray, "samples"]) -> tuple[np.ndarray, np.ndarray]:
    """Frequency bins and hops of the loudest peaks, in the order of time."""
    none = np.zeros(0, np.int64), np.zeros(0, np.int64)
    if len(samples) < _WINDOW:
        return none
    frames = np.lib.stride_tricks.sliding_window_view(samples, _WINDOW)[::_HOP]
    spectrum = rfft(frames * np.hanning(_WINDOW).astype(np.float32), axis=1)
    spectrum = spectrum[:, :_BINS]
    power = spectrum.real**2 + spectrum.imag**2
    loudest = float(power.max())
    if not np.isfinite(loudest) or loudest < _QUIETEST_POWER:
        return none
    around = _largest_near(_largest_near(power, _NEAR_HOPS, axis=0), _NEAR_BINS, axis=1)
    is_peak = (power == around) & (power > loudest * 10 ** (-_FLOOR_DB / 10))
    is_peak[:, :2] = is_peak[:, -2:] = False  # the direct component, and the filter's edge
    hops, bins = np.nonzero(is_peak)
    most = max(_PEAKS_A_SECOND, round(_PEAKS_A_SECOND * len(samples) / RATE_HZ))
    kept = np.argsort(power[hops, bins], kind="stable")[-most:]
    order = kept[np.lexsort((bins[kept], hops[kept]))]
    return bins[order], hops[order]


def _largest_near(
    values: Float[np.ndarray, "rows columns"], reach: int, *, axis: int
) -> Float[np.ndarray, "rows columns"]:
    """Give the largest value within `reach` to either side along an axis.

    Windows are doubled until they are wide enough: a quarter of the time of a general filter.
    """
    margin = [(reach, reach) if each == axis else (0, 0) for each in range(values.ndim)]
    largest = np.moveaxis(np.pad(values, margin, constant_values=-np.inf), axis, 0)
    width, wanted = 1, 2 * reach + 1
    while width < wanted:
        step = min(width, wanted - width)
        largest = np.maximum(largest[:-step], largest[step:])
        width += step
    return np.moveaxis(largest, 0, axis)


def picture_hash(cells: Float[np.ndarray, "rows columns"]) -> int | None:
    """Hash a picture's brightness grid to 64 bits; None of a flat picture, or one too small for the grid."""
    if min(cells.shape) < _SIDE // 2 or cells.std() < _FLAT_LEVELS:
        return None
    grid = _resized(cells)
    low = dctn(grid, norm="ortho")[:_LOW, :_LOW].ravel()
    signs = low[1:]  # without the mean, which only says how bright it is
    bits = signs > np.sort(signs)[len(signs) // 2]  # the median of an odd number
    return int(np.packbits(np.append(bits, False)).view(">u8")[0])


def _resized(cells: Float[np.ndarray, "rows columns"]) -> Float[np.ndarray, "16 16"]:
    """Bring a grid that came out a little smaller to the full one, by linear interpolation."""
    for axis in (0, 1):
        size = cells.shape[axis]
        if size != _SIDE:
            at = (np.arange(_SIDE) + 0.5) * size / _SIDE - 0.5
            low = np.clip(np.floor(at).astype(int), 0, size - 1)
            high = np.clip(low + 1, 0, size - 1)
            share = np.clip(at - low, 0, 1)
            share = share[:, None] if axis == 0 else share[None, :]
            cells = np.take(cells, low, axis) * (1 - share) + np.take(cells, high, axis) * share
    return cells
