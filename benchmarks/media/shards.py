"""Three pictures and three windows of sound out of packed shards, against torchcodec and webdataset.

    python -m benchmarks.media.shards [--folder DIR] [--only KIND,KIND] [--quality N] [--json]

One visit = three pictures with a short side of 224 px and three windows of 1.28 s at 16 kHz mono, at times drawn
by one seed for all ways. Ours reads shards through the decoder that training uses, videos in random order over many
shards; torchcodec (exact) opens the mp4 and decodes; webdataset reads the same shards from end to end, once with all
of a sample decoded, and once with only what a visit needs. Bytes are those of whole shards against the mp4 files.

The limit: what libjpeg-turbo takes for the same JPEGs with nothing around it, and copying the bytes.
"""

import dataclasses
import io
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import soundfile

from avmi.corpus.manifest import Manifest, read_manifest, write_manifest
from avmi.decode.choose import choose_decoder
from avmi.store.packing import Packing
from avmi.workflows.pack import PackRequest, pack
from avmi.workflows.prepare import prepare
from benchmarks.media.material import folder_of_arguments, material
from benchmarks.media.paired import Paired, paired, show

SIZE_PX, RATE_HZ, WINDOW_SECONDS = 224, 16000, 1.28
VIDEOS = 24  # rows of one file each: more than a shard of the size below holds
SHARD_MEGABYTES = 4.0
VISITS = 24


@dataclasses.dataclass(frozen=True)
class Visit:
    """What is asked of one video."""

    video: int
    pictures_seconds: tuple[float, ...]
    windows: tuple[tuple[float, float], ...]


def visits(count: int, *, videos: int, seed: int = 3) -> list[Visit]:
    """Draw visits to videos of ten seconds."""
    rng = random.Random(seed)
    made = []
    for place in range(count):
        pictures = tuple(sorted(rng.uniform(0, 9.9) for _ in range(3)))
        starts = sorted(rng.uniform(0, 9.9 - WINDOW_SECONDS) for _ in range(3))
        made.append(Visit(place % videos, pictures, tuple((s, s + WINDOW_SECONDS) for s in starts)))
    rng.shuffle(made)
    return made


def corpus_of(path: Path, folder: Path, *, videos: int = VIDEOS) -> Manifest:
    """Write a manifest with one file under many names, so that it fills several shards."""
    table = folder.with_suffix(".csv")
    table.write_text(f"path\n{path}\n")
    (row,) = prepare(table, out=folder, log=io.StringIO()).videos
    rows = [dataclasses.replace(row, video_id=f"copy{number:04d}", split="train") for number in range(videos)]
    write_manifest(folder, rows, root=path.parent)
    return read_manifest(folder)


def from_shards(shards: Path, drawn: list[Visit]) -> Callable[[], None]:
    """Read through the decoder that training uses."""
    manifest = read_manifest(shards)
    decoder = choose_decoder("pyav", corpus=shards)

    def run() -> None:
        for visit in drawn:
            video = manifest.videos[visit.video]
            with decoder.open(manifest.path_of(video), video=video) as reader:
                for window in visit.windows:
                    reader.audio(*window, sample_rate_hz=RATE_HZ)
                reader.frames(visit.pictures_seconds, short_side_px=SIZE_PX)

    return run


def from_torchcodec(path: Path, drawn: list[Visit]) -> Callable[[], None]:
    """Decode on the fly, and scale as torchvision does."""
    import torch
    from torchcodec.decoders import AudioDecoder, VideoDecoder
    from torchvision.transforms.v2 import functional

    torch.set_num_threads(1)

    def run() -> None:
        for visit in drawn:
            sound = AudioDecoder(str(path), sample_rate=RATE_HZ, num_channels=1)
            for window in visit.windows:
                sound.get_samples_played_in_range(*window)
            pictures = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=1)
            frames = pictures.get_frames_played_at(list(visit.pictures_seconds))
            functional.resize(frames.data, [SIZE_PX], antialias=True)

    return run


def _samples(shards: Path) -> Iterator[dict[str, Any]]:
    import webdataset

    urls = [str(path) for path in sorted(shards.glob("*.tar"))]
    yield from webdataset.WebDataset(urls, shardshuffle=False, empty_check=False)


def webdataset_whole(shards: Path, drawn: list[Visit]) -> Callable[[], None]:
    """Decode whole samples with webdataset's own decoders, one sample a visit."""
    import webdataset

    urls = [str(path) for path in sorted(shards.glob("*.tar"))]

    def run() -> None:
        seen = 0
        while seen < len(drawn):
            for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False).decode("rgb8"):
                name = "flac" if "flac" in sample else "wav"
                soundfile.read(io.BytesIO(sample[name]), dtype="float32")
                seen += 1
                if seen == len(drawn):
                    return

    return run


def webdataset_lazy(shards: Path, drawn: list[Visit]) -> Callable[[], None]:
    """Read whole samples with webdataset, and decode three pictures of each with simplejpeg."""

    def run() -> None:
        seen = 0
        while seen < len(drawn):
            for sample in _samples(shards):
                for second in drawn[seen].pictures_seconds:
                    simplejpeg.decode_jpeg(sample[f"{int(second * 4):05d}.jpg"])
                soundfile.read(io.BytesIO(sample["flac" if "flac" in sample else "wav"]), dtype="float32")
                seen += 1
                if seen == len(drawn):
                    return

    return run


def jpegs_alone(shards: Path, drawn: list[Visit]) -> Callable[[], None]:
    """Decode the same JPEGs with nothing around it: the limit."""
    manifest = read_manifest(shards)
    decoder = choose_decoder("pyav", corpus=shards)
    found = []
    for visit in drawn:
        video = manifest.videos[visit.video]
        sample = decoder.open(manifest.path_of(video), video=video)._sample
        found += [bytes(sample.jpeg(int(second * 4))) for second in visit.pictures_seconds]

    def run() -> None:
        for content in found:
            simplejpeg.decode_jpeg(content, fastdct=True, fastupsample=True)

    return run


def copying_alone(drawn: list[Visit]) -> Callable[[], None]:
    """Copy as many bytes as a visit gives: three pictures and the sound as float32."""
    give = np.zeros(3 * SIZE_PX * 298 * 3 + round(3 * WINDOW_SECONDS * RATE_HZ) * 4, np.uint8)
    take = np.empty_like(give)

    def run() -> None:
        for _ in drawn:
            np.copyto(take, give)

    return run


def main() -> None:
    arguments = sys.argv[1:]
    quality = (
        int(arguments[arguments.index("--quality") + 1]) if "--quality" in arguments else Packing.quality
    )
    only = arguments[arguments.index("--only") + 1].split(",") if "--only" in arguments else []
    work = Path(tempfile.mkdtemp(prefix="avmi_shards_"))
    results: list[Paired] = []
    bytes_lines: list[str] = []
    try:
        for kind, path in material(folder_of_arguments()).items():
            if only and kind not in only:
                continue
            corpus_of(path, work / kind)
            drawn = visits(VISITS, videos=VIDEOS)
            for audio in ("pcm", "flac") if kind == "340x256_gop12" else ("pcm",):
                packing = Packing(quality=quality, audio=audio, shard_megabytes=SHARD_MEGABYTES)
                shards = work / f"{kind}_{audio}"
                made = pack(PackRequest(work / kind, out=shards, packing=packing), log=io.StringIO())
                share = made.size_bytes / made.source_bytes
                bytes_lines.append(
                    f"{kind:<16} {audio:<5} {made.size_bytes / VIDEOS / 1e3:>7.0f} kB a video, "
                    f"{share:.2f} of the mp4's bytes, {made.shards} shards"
                )
                ways = {"avmi, from shards": from_shards(shards, drawn)}
                ways |= {"torchcodec, from the mp4": from_torchcodec(path, drawn)}
                if kind == "340x256_gop12":
                    ways["webdataset, whole samples"] = webdataset_whole(shards, drawn)
                    ways["webdataset, three pictures"] = webdataset_lazy(shards, drawn)
                    ways["limit: JPEG decoding alone"] = jpegs_alone(shards, drawn)
                    ways["limit: copying alone"] = copying_alone(drawn)
                results.append(paired(f"{kind}, {audio}: {VISITS} visits", ways, ours="avmi, from shards"))
                print(*results[-1].lines(), bytes_lines[-1], sep="\n", file=sys.stderr, flush=True)
        show(results)
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
