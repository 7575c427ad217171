"""A folder → four 10-second videos as hard to decode as real ones: 340 × 256 and 720p, keyframes near and far.

Textures with the spectrum of natural pictures move at different speeds behind and before each other, the light
changes, a cut comes in the middle, and film grain lies over everything. H.264 as x264 makes it by default (preset
medium, crf 23, three B-frames, three references), 30 pictures a second; stereo AAC at 44.1 kHz. The same bytes come out
every time with the same PyAV; files that are there already are kept.

Their 0.16 (340 × 256) and 0.09 (720p) bits a pixel at long keyframe distances are those of the harder half of real
files: 29 public videos measured 0.03 to 0.29, and 0.03 to 0.10 at 720p.

`python -m benchmarks.media.material --folder DIR` writes them and prints their sizes.
"""

import sys
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SECONDS = 10
FRAMES_PER_SECOND = 30
SOUND_HZ = 44100
# Name → (width, height, pictures from keyframe to keyframe). 340 × 256: the usual size of training copies.
KINDS = {
    "340x256_gop12": (340, 256, 12),
    "340x256_gop250": (340, 256, 250),
    "1280x720_gop12": (1280, 720, 12),
    "1280x720_gop250": (1280, 720, 250),
}
_GRAIN_LEVELS = 2.0  # standard deviation; a camera in daylight
_OBJECTS = 5


def folder_of_arguments() -> Path:
    """Give the folder after `--folder`, or one in the system's temporary folder that is kept."""
    arguments = sys.argv[1:]
    if "--folder" in arguments:
        return Path(arguments[arguments.index("--folder") + 1])
    return Path(tempfile.gettempdir()) / "avmi_benchmark_material"


def material(folder: Path) -> dict[str, Path]:
    """Write what is missing of the four files; their paths by name."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"{name}.mp4" for name in KINDS}
    for name, path in paths.items():
        if not path.exists():
            unfinished = path.with_name(f".{path.stem}.unfinished.mp4")
            _write(unfinished, *KINDS[name])
            unfinished.replace(path)
    return paths


def _write(path: Path, width: int, height: int, gop: int) -> None:
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=FRAMES_PER_SECOND, options={"preset": "medium", "crf": "23"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size = gop
        video.codec_context.thread_count = 1  # more threads would make other bytes
        audio = out.add_stream("aac", rate=SOUND_HZ)
        audio.layout, audio.bit_rate = "stereo", 128_000
        for number, picture in enumerate(pictures(width, height)):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FRAMES_PER_SECOND)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        sound = samples()
        for at in range(0, sound.shape[1], 1024):
            block = av.AudioFrame.from_ndarray(
                np.ascontiguousarray(sound[:, at : at + 1024]), format="fltp", layout="stereo"
            )
            block.sample_rate, block.pts, block.time_base = SOUND_HZ, at, Fraction(1, SOUND_HZ)
            out.mux(audio.encode(block))
        out.mux(audio.encode(None))


def pictures(width: int, height: int) -> Iterator[np.ndarray]:
    """Draw the pictures; two scenes."""
    random = np.random.default_rng(5)
    count = SECONDS * FRAMES_PER_SECOND
    grain = (_GRAIN_LEVELS * random.standard_normal((height + 64, width + 64, 1))).astype(np.float32)
    for scene in range(2):
        background = _texture(random, 2 * height, 2 * width)
        objects = [_Object(random, width, height) for _ in range(_OBJECTS)]
        pan = random.uniform(-1, 1, 2) * (height / 180, width / 180)
        for at in range(count // 2):
            picture = _window(background, height / 2 + pan[0] * at, width / 2 + pan[1] * at, height, width)
            for thing in objects:
                thing.draw(picture, at)
            picture *= 1 + 0.08 * np.sin(at / 17 + scene)
            down, right = random.integers(0, 64, 2)
            picture += grain[down : down + height, right : right + width]
            yield np.clip(picture, 0, 255).astype(np.uint8)


def _texture(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a colour texture whose amplitude falls as 1/f^1.3, as that of soft natural pictures does."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    common = random.standard_normal((height, width))
    planes = []
    for _ in range(3):
        white = np.fft.rfft2(0.85 * common + 0.5 * random.standard_normal((height, width)))
        plane = np.fft.irfft2(white / frequency**1.3, s=(height, width))
        planes.append(128 + 45 * plane / plane.std())
    return np.stack(planes, axis=2).astype(np.float32)


def _window(texture: np.ndarray, top: float, left: float, height: int, width: int) -> np.ndarray:
    """Cut a window at a place between pixels, bilinearly; the texture repeats."""
    rows = (int(np.floor(top)) + np.arange(height + 1)) % texture.shape[0]
    columns = (int(np.floor(left)) + np.arange(width + 1)) % texture.shape[1]
    piece = texture[rows][:, columns]
    down, right = np.float32(top % 1), np.float32(left % 1)
    piece = piece[:-1] * (1 - down) + piece[1:] * down
    return np.ascontiguousarray(piece[:, :-1] * (1 - right) + piece[:, 1:] * right)


class _Object:
    """A textured disc that moves and slides over its own texture, so that motion alone does not predict it."""

    def __init__(self, random: np.random.Generator, width: int, height: int) -> None:
        self.radius = int(random.uniform(0.1, 0.25) * height)
        self.texture = _texture(random, 4 * self.radius, 4 * self.radius) * random.uniform(
            0.6, 1.3, 3
        ).astype(np.float32)
        self.centre, self.reach = random.uniform(0.3, 0.7, 2), random.uniform(0.1, 0.3, 2)
        self.speed, self.slide = random.uniform(0.02, 0.12, 2), random.uniform(-1, 1, 2)
        side = np.arange(2 * self.radius) - self.radius + 0.5
        self.disc = np.hypot(side[:, None], side[None]) < self.radius
        self.frame = height, width

    def draw(self, picture: np.ndarray, at: int) -> None:
        side = 2 * self.radius
        middle = self.centre + self.reach * np.sin(self.speed * at)
        top, left = (middle * self.frame - self.radius).astype(int)
        piece = _window(self.texture, self.slide[0] * at, self.slide[1] * at, side, side)
        rows = slice(max(top, 0), min(top + side, self.frame[0]))
        columns = slice(max(left, 0), min(left + side, self.frame[1]))
        inner = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        shown = self.disc[inner]
        picture[rows, columns][shown] = piece[inner][shown]


def samples() -> np.ndarray:
    """Draw stereo sound: pink noise that swells, and a melody of decaying tones."""
    random = np.random.default_rng(6)
    count = SECONDS * SOUND_HZ
    clock = np.arange(count) / SOUND_HZ
    frequency = np.fft.rfftfreq(count)
    frequency[0] = np.inf
    channels = []
    melody = np.zeros(count)
    for begin in np.arange(0, SECONDS, 0.25):
        since = clock - begin
        tone = 2 ** random.uniform(0, 3) * 220
        melody += np.where(since >= 0, np.exp(-4 * since) * np.sin(2 * np.pi * tone * since), 0)
    for _ in range(2):
        pink = np.fft.irfft(np.fft.rfft(random.standard_normal(count)) / np.sqrt(frequency), n=count)
        channels.append(0.08 * pink / pink.std() * (1 + 0.5 * np.sin(3 * clock)) + 0.15 * melody)
    return np.stack(channels).astype(np.float32)


def main() -> None:
    for name, path in material(folder_of_arguments()).items():
        size = path.stat().st_size
        print(f"{name:<16} {size:>10,} bytes  {size * 8 / SECONDS / 1000:>7.0f} kbit/s  {path}")


if __name__ == "__main__":
    main()
