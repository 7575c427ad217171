"""Bytes, error and time of packed shards against the quality of their JPEGs.

    python -m benchmarks.media.shard_quality [--folder DIR]

For both files of 340 × 256: bytes of the shards against the mp4's, with PCM and with FLAC; PSNR of the pictures that a
reader gives against those of the mp4 at the same size, once as avmi reads them (fast transform and upsampling) and
once as libjpeg-turbo's exact way gives them; CPU time of a picture. The default quality is the largest whose shards,
with PCM, take at most 1.15 times the mp4 of the longer GOP.
"""

import io
import tempfile
import time
from pathlib import Path

import numpy as np
import simplejpeg

from avmi.corpus.manifest import read_manifest
from avmi.decode.choose import choose_decoder
from avmi.decode.pyav import PyAvDecoder
from avmi.store.packing import Packing
from avmi.workflows.pack import PackRequest, pack
from benchmarks.media.material import folder_of_arguments, material
from benchmarks.media.shards import SIZE_PX, corpus_of

QUALITIES = (50, 60, 64, 66, 67, 68, 69, 70, 72, 75, 80, 85)
VIDEOS = 4  # rows of one file: the manifest and the table of a shard are shared, as they are in practice
REPEATS = 5


def main() -> None:
    for kind, path in material(folder_of_arguments()).items():
        if not kind.startswith("340x256"):
            continue
        print(f"{kind}\n{'quality':>8}{'PCM':>8}{'FLAC':>8}{'PSNR dB':>10}{'exact':>8}{'ms':>8}", flush=True)
        with tempfile.TemporaryDirectory(prefix="avmi_quality_") as folder:
            corpus = Path(folder) / "corpus"
            corpus_of(path, corpus, videos=VIDEOS)
            for quality in QUALITIES:
                print(_line(path, corpus, Path(folder) / str(quality), quality), flush=True)


def _line(path: Path, corpus: Path, out: Path, quality: int) -> str:
    shares = []
    for audio in ("pcm", "flac"):
        packing = Packing(quality=quality, audio=audio)
        made = pack(PackRequest(corpus, out=out / audio, packing=packing), log=io.StringIO())
        shares.append(made.size_bytes / made.source_bytes)
    jpegs, given, seconds = _stored(out / "pcm")
    with PyAvDecoder().open(path, video=None) as reader:
        truth = reader.frames(seconds, short_side_px=SIZE_PX).pixels
    exact = np.stack([simplejpeg.decode_jpeg(jpeg) for jpeg in jpegs])
    return (
        f"{quality:>8}{shares[0]:>8.3f}{shares[1]:>8.3f}{psnr_db(given, truth):>10.2f}"
        f"{psnr_db(exact, truth):>8.2f}{_milliseconds(jpegs):>8.3f}"
    )


def _stored(shards: Path) -> tuple[list[bytes], np.ndarray, list[float]]:
    """Give a video's JPEGs, the pictures that our reader makes of them, and their times."""
    manifest = read_manifest(shards)
    video = manifest.videos[0]
    reader = choose_decoder("pyav", corpus=shards).open(manifest.path_of(video), video=video)
    frames = reader.every_frame(short_side_px=SIZE_PX)
    jpegs = [bytes(reader._sample.jpeg(place)) for place in range(len(frames.pixels))]
    return jpegs, frames.pixels, frames.times_seconds.tolist()


def psnr_db(given: np.ndarray, truth: np.ndarray) -> float:
    error = float(np.mean((given.astype(np.float64) - truth) ** 2))
    return 10 * float(np.log10(255**2 / error))


def _milliseconds(jpegs: list[bytes]) -> float:
    out = np.empty_like(simplejpeg.decode_jpeg(jpegs[0]))
    found = []
    for _ in range(REPEATS):
        begun = time.process_time()
        for jpeg in jpegs:
            simplejpeg.decode_jpeg(jpeg, fastdct=True, fastupsample=True, buffer=out)
        found.append((time.process_time() - begun) / len(jpegs) * 1e3)
    return sorted(found)[REPEATS // 2]


if __name__ == "__main__":
    main()
