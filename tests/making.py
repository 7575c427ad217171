"""What a test needs to know of a video (its truth) → a small video file; and what was read → that truth.

Import it as `from making import make_clip`: pytest puts this folder on the path.

- `make_clip`: an ordinary clip, quickly: a coloured moving square and a tone; flash and beep on demand.
- `write_video`: any pictures at any times and any samples, with the codecs and the container asked for.
- `numbered_picture` / `frame_number`: a picture that carries its number, and the number read back from it.
- `noise` / `audio_offset_seconds`: seeded sound, and how late a waveform is against it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from scipy.signal import correlate, firwin, lfilter, resample_poly

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Encoding:
    """How a file is written; the container follows from the file's suffix unless named."""

    video_codec: str = "libx264"
    video_options: dict[str, str] = field(default_factory=dict)
    pix_fmt: str = "yuv420p"
    gop: int = 12
    b_frames: int = 0
    audio_codec: str = "aac"
    audio_options: dict[str, str] = field(default_factory=dict)
    container: str | None = None
    container_options: dict[str, str] = field(default_factory=dict)
    ticks_hz: int | None = 90000  # video clock; None: one tick a picture (AVI knows nothing else)


def make_clip(
    path: str | Path,
    *,
    seconds: float = 3.0,
    frame_rate: int = 12,
    size: tuple[int, int] = (96, 64),
    colour: Colour | None = (220, 60, 40),
    tone_hz: float | None = 440.0,
    loudness: float = 0.3,
    flash_at_seconds: float | None = None,
    moving: bool = True,
    sample_rate_hz: int = 16000,
    encoding: Encoding | None = None,
) -> Path:
    """Write an ordinary clip of a moving coloured square and a tone; return its path.

    `size` is (width, height) in pixels, even. `colour=None` leaves the pictures out, `tone_hz=None` the
    sound; `loudness=0.0` makes it silent, `moving=False` still. At `flash_at_seconds` the picture turns
    white for 0.1 s while a 2 kHz beep sounds over silence. The container follows the suffix.
    """
    path = Path(path)
    times = np.arange(round(seconds * frame_rate)) / frame_rate
    pictures = (
        _square_picture(
            t / seconds if moving else 0.0, size=size, colour=colour, flash=_in_flash(t, flash_at_seconds)
        )
        for t in times
    )
    samples = None
    if tone_hz is not None:
        clock = np.arange(round(seconds * sample_rate_hz)) / sample_rate_hz
        samples = loudness * np.sin(2 * np.pi * tone_hz * clock)
        if flash_at_seconds is not None:
            beep = _in_flash(clock, flash_at_seconds)
            samples = np.where(beep, 0.8 * np.sin(2 * np.pi * 2000 * clock), 0.0)
    write_video(
        path,
        pictures=pictures if colour is not None else None,
        times_seconds=times if colour is not None else (),
        samples=samples,
        sample_rate_hz=sample_rate_hz,
        frame_rate=frame_rate,
        encoding=encoding or _quick_encoding(path),
    )
    return path


def _quick_encoding(path: Path) -> Encoding:
    if path.suffix == ".avi":
        # PCM: AVI has no timestamps with which an encoder's delay could be taken back.
        return Encoding(video_codec="mpeg4", audio_codec="pcm_s16le", ticks_hz=None)
    if path.suffix == ".webm":
        fast = {"deadline": "realtime", "cpu-used": "8"}
        return Encoding(video_codec="libvpx-vp9", video_options=fast, audio_codec="libopus")
    return Encoding(video_options={"preset": "ultrafast"})


def _in_flash(seconds, flash_at_seconds: float | None):
    if flash_at_seconds is None:
        return False
    since = np.asarray(seconds) - flash_at_seconds
    return (since > -1e-9) & (since < 0.1 - 1e-9)


def _square_picture(place: float, *, size: tuple[int, int], colour: Colour, flash: bool) -> np.ndarray:
    width, height = size
    if flash:
        return np.full((height, width, 3), 255, np.uint8)
    picture = np.full((height, width, 3), 24, np.uint8)
    side = height // 2
    left = round(place * (width - side))
    picture[height // 4 : height // 4 + side, left : left + side] = colour
    return picture


def write_video(
    path: str | Path,
    *,
    pictures: Iterable[np.ndarray] | None,
    times_seconds: Sequence[float] | np.ndarray = (),
    samples: np.ndarray | None = None,
    sample_rate_hz: int = 48000,
    audio_start_seconds: float = 0.0,
    frame_rate: Fraction | int = 25,
    encoding: Encoding = Encoding(),
) -> Path:
    """Write RGB pictures that come up at these times, and samples ((n,) or (channels, n)), into a file.

    The last picture stands for one period of `frame_rate`. None leaves a stream out.
    """
    path = Path(path)
    with av.open(
        str(path), "w", format=encoding.container, container_options=encoding.container_options
    ) as out:
        pictures = iter(pictures) if pictures is not None else iter(())
        first = next(pictures, None)
        video = _video_stream(out, first, frame_rate, encoding) if first is not None else None
        audio = _audio_stream(out, samples, sample_rate_hz, encoding) if samples is not None else None
        if video is not None:
            _write_pictures(out, video, _chain(first, pictures), times_seconds, frame_rate)
        if audio is not None:
            _write_samples(out, audio, samples, sample_rate_hz, audio_start_seconds)
    return path


def _chain(first: np.ndarray, rest: Iterable[np.ndarray]) -> Iterable[np.ndarray]:
    yield first
    yield from rest


def _video_stream(out, first: np.ndarray, frame_rate: Fraction | int, encoding: Encoding):
    options = dict(encoding.video_options)
    if encoding.video_codec == "libx264":
        options.setdefault("preset", "ultrafast" if encoding.b_frames == 0 else "veryfast")
        options.setdefault("sc_threshold", "0")
    stream = out.add_stream(encoding.video_codec, rate=Fraction(frame_rate), options=options)
    stream.height, stream.width = first.shape[:2]
    stream.pix_fmt = encoding.pix_fmt
    context = stream.codec_context
    context.gop_size, context.max_b_frames = encoding.gop, encoding.b_frames
    context.thread_count = 1
    if encoding.video_codec == "mpeg4":
        context.bit_rate = 2_000_000
    if encoding.ticks_hz is not None:
        context.time_base = stream.time_base = Fraction(1, encoding.ticks_hz)
    else:
        context.time_base = stream.time_base = 1 / Fraction(frame_rate)
    return stream


def _audio_stream(out, samples: np.ndarray, sample_rate_hz: int, encoding: Encoding):
    options = dict(encoding.audio_options)
    if encoding.audio_codec == "aac":
        # Noise substitution draws the noise anew: nothing could be aligned with what was written.
        options.setdefault("aac_pns", "0")
    stream = out.add_stream(encoding.audio_codec, rate=sample_rate_hz, options=options)
    stream.layout = "mono" if np.ndim(samples) == 1 else {1: "mono", 2: "stereo", 6: "5.1"}[len(samples)]
    if encoding.audio_codec in ("aac", "libmp3lame", "libopus", "mp2", "wmav2"):
        stream.bit_rate = 128_000
    return stream


def _write_pictures(out, stream, pictures, times_seconds, frame_rate) -> None:
    time_base = stream.codec_context.time_base
    ends = [*list(times_seconds)[1:], times_seconds[-1] + float(1 / Fraction(frame_rate))]
    for picture, begin, end in zip(pictures, times_seconds, ends, strict=True):
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame.time_base = time_base
        frame.pts = round(Fraction(begin) / time_base)
        frame.duration = round(Fraction(end) / time_base) - frame.pts
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _write_samples(out, stream, samples, sample_rate_hz: int, start_seconds: float) -> None:
    planes = np.atleast_2d(np.asarray(samples, dtype=np.float32))
    start = round(start_seconds * sample_rate_hz)
    for at in range(0, planes.shape[1], 4096):
        block = np.ascontiguousarray(planes[:, at : at + 4096])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.time_base = sample_rate_hz, Fraction(1, sample_rate_hz)
        frame.pts = start + at
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


# A number is written as 4 × 4 cells, black or white: four corners that tell which way is up,
# ten bits of the number and two parity bits, so that a mixed or turned picture cannot pass for another.
_CORNERS = {(0, 0): 1, (0, 3): 0, (3, 0): 0, (3, 3): 0}
_CELLS = [(row, column) for row in range(4) for column in range(4) if (row, column) not in _CORNERS]


def _bits_of(number: int) -> list[int]:
    bits = [number >> i & 1 for i in range(10)]
    return [*bits, sum(bits[0::2]) % 2, sum(bits[1::2]) % 2]


def numbered_picture(number: int, *, size: tuple[int, int] = (96, 64)) -> np.ndarray:
    """Draw a number below 1024 into a picture of this (width, height)."""
    width, height = size
    cells = np.zeros((4, 4), np.uint8)
    for (row, column), bit in [*_CORNERS.items(), *zip(_CELLS, _bits_of(number), strict=True)]:
        cells[row, column] = 235 if bit else 20
    rows = np.arange(height) * 4 // height
    columns = np.arange(width) * 4 // width
    return np.repeat(cells[rows][:, columns, None], 3, axis=2)


def frame_number(pixels: np.ndarray) -> int:
    """Read the number of a picture; raises ValueError when it is turned, mixed or no such picture."""
    height, width = pixels.shape[:2]
    bits = {}
    for row in range(4):
        for column in range(4):
            middle = pixels[
                round((row + 0.3) * height / 4) : round((row + 0.7) * height / 4),
                round((column + 0.3) * width / 4) : round((column + 0.7) * width / 4),
            ].mean()
            if 90 < middle < 165:
                raise ValueError(f"cell {row},{column} is grey ({middle:.0f}): a mixed picture")
            bits[row, column] = int(middle > 127)
    if any(bits[cell] != bit for cell, bit in _CORNERS.items()):
        raise ValueError("the corners are wrong: a turned picture, or none of ours")
    number = sum(bits[cell] << i for i, cell in enumerate(_CELLS[:10]))
    if [bits[cell] for cell in _CELLS] != _bits_of(number):
        raise ValueError("the parity is wrong: a mixed picture")
    return number


def noise(seconds: float, *, sample_rate_hz: int, seed: int = 0) -> np.ndarray:
    """Draw seeded noise below 5 kHz (a band that every codec keeps), of standard deviation 0.2."""
    white = np.random.default_rng(seed).standard_normal(round(seconds * sample_rate_hz))
    band = lfilter(firwin(129, 5000, fs=sample_rate_hz), 1.0, white)
    return (0.2 * band / band.std()).astype(np.float32)


def audio_offset_seconds(samples: np.ndarray, truth: np.ndarray, *, sample_rate_hz: int) -> float:
    """Measure how late `samples` are against `truth` (same rate, meant to be equal), by correlation.

    Positive: what was read comes too late. Good to some 10 µs. Raises ValueError when the two are not
    the same sound.
    """
    up = 8
    a = resample_poly(np.asarray(samples, float), up, 1)
    b = resample_poly(np.asarray(truth, float), up, 1)
    scores = correlate(a, b, mode="full", method="fft")
    best = int(np.argmax(scores))
    likeness = scores[best] / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-12)
    if likeness < 0.5:
        raise ValueError(f"not the sound that was written: correlation {likeness:.2f}")
    return (best - (len(b) - 1)) / (up * sample_rate_hz)
