"""Memory that stays after opening, cutting and closing a video, over 2,000 openings of each way.

Run by hand: `python -m benchmarks.media.open_growth [--folder DIR] [--json]`. Each way runs in a process of its own;
the first 200 openings are not counted, in which allocators and caches settle. The goal is 2 KB an opening. decord's
sound keeps 1.6 GB until its process ends.
"""

import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.media.material import folder_of_arguments, material

OPENINGS, SETTLING = 2000, 200
WAYS = ("packet table", "container", "decord pictures", "decord sound", "torchcodec")


def main() -> None:
    if "--way" in sys.argv:
        way, path = sys.argv[sys.argv.index("--way") + 1], Path(sys.argv[sys.argv.index("--file") + 1])
        print(json.dumps(growth(way, path)))
        return
    path = material(folder_of_arguments())["340x256_gop12"]
    found = {}
    for way in WAYS:
        command = [sys.executable, "-m", "benchmarks.media.open_growth", "--way", way, "--file", str(path)]
        done = subprocess.run(command, capture_output=True, text=True)
        found[way] = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None
        if "--json" not in sys.argv:
            said = found[way] or {"bytes_an_opening": float("nan"), "openings": 0}
            print(
                f"{way:<16} {said['bytes_an_opening'] / 1000:>9.2f} KB an opening over {said['openings']:,}",
                flush=True,
            )
    if "--json" in sys.argv:
        print(json.dumps(found, indent=1))


def growth(way: str, path: Path) -> dict[str, float]:
    """Measure one way in this process."""
    with tempfile.TemporaryDirectory() as corpus:
        visit = _visit(way, path, Path(corpus))
        for _ in range(SETTLING):
            visit()
        gc.collect()
        process = psutil.Process()
        before = process.memory_info().rss
        for _ in range(OPENINGS):
            visit()
        gc.collect()
        grown = process.memory_info().rss - before
    return {"openings": OPENINGS, "bytes_an_opening": grown / OPENINGS}


def _visit(way: str, path: Path, corpus: Path) -> Callable[[], object]:
    match way:
        case "packet table" | "container":
            from avmi.decode.pyav import PyAvDecoder
            from benchmarks.media.on_the_fly import _ours, _prepared

            video = _prepared(path, corpus)
            decoder = PyAvDecoder(corpus if way == "packet table" else None)
            return lambda: _ours(decoder, path, video, ([0.5], [0.1]))
        case "decord pictures":
            import decord

            return lambda: decord.VideoReader(str(path), num_threads=1).get_batch([15]).asnumpy()
        case "decord sound":
            import decord

            return lambda: decord.AudioReader(str(path), sample_rate=16000, mono=True)[1600:22080]
        case _:
            from torchcodec.decoders import VideoDecoder

            return lambda: VideoDecoder(str(path), num_ffmpeg_threads=1).get_frames_played_at([0.5])


if __name__ == "__main__":
    main()
