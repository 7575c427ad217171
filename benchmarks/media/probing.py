"""How many files a second `prepare` probes on one core, against its parts, the codecs alone, and peers.

Run by hand: `python -m benchmarks.media.probing [FOLDER] [--json]`; FOLDER holds videos (default: the UCF101 clips
beside the project). CPU time of the whole process in five turns over the same files; the goal is 30 files a second.

"the least" is what FFmpeg's libraries take for what a probe has to look at, all called as probing calls them: the
container opened, all packets read, all sound decoded, the pictures that are looked at decoded from their keyframes,
and once more for the proof of the packet table; and decord opened and asked for three pictures. The peers do less:
decord, opened, and its table of timestamps; torchcodec, opened in the exact mode (it reads all packets); every
picture and all sound decoded with PyAV.
"""

import contextlib
import json
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np

from avmi.corpus.container import best_streams, open_container
from avmi.corpus.look import targets
from avmi.corpus.picture_runs import run_from
from avmi.corpus.proof_places import jump_places
from avmi.corpus.scan import Scan, scan
from avmi.decode.decord import open_decord, picture_intervals
from avmi.decode.packet_proof import proved
from avmi.decode.probe import decord_reason, probe
from avmi.errors import DecodeError
from benchmarks.media.paired import Paired, paired

FILES = 50
UCF101 = Path(__file__).resolve().parents[3] / "shared" / "clips" / "ucf101"
OURS = "the whole probe"


def main() -> None:
    folders = [a for a in sys.argv[1:] if not a.startswith("--")]
    found = _usable(Path(folders[0]) if folders else UCF101)
    result = paired(f"{len(found)} files", _ways(found), ours=OURS)
    if "--json" in sys.argv:
        print(json.dumps(result.as_json() | {"files": len(found)}, indent=1))
        return
    print("\n".join(_lines(result, len(found))))


def _usable(folder: Path) -> dict[Path, Scan]:
    """Draw files and scan them; what cannot be used is left out."""
    paths = sorted(path for path in folder.rglob("*.*") if path.is_file())
    found = {}
    for path in random.Random(0).sample(paths, min(FILES, len(paths))):
        with contextlib.suppress(DecodeError):
            found[path] = scan(path)
    return found


def _lines(result: Paired, files: int) -> list[str]:
    lines = [
        f"{result.what}, CPU time a file: median (smallest to largest) of {len(result.seconds[OURS])} turns"
    ]
    for name, seconds in result.seconds.items():
        each = [1e3 * s / files for s in seconds]
        ratios = result.ratios(name)
        lines.append(
            f"{name:<46} {statistics.median(each):>6.1f} ms ({min(each):.1f} to {max(each):.1f})"
            f" {1e3 / statistics.median(each):>6.1f} files/s"
            f" {statistics.median(ratios):>6.2f}× ({min(ratios):.2f} to {max(ratios):.2f}) of the probe"
        )
    return lines


def _ways(found: dict[Path, Scan]) -> dict[str, Callable[[], object]]:
    ways: dict[str, Callable[[Path, Scan], object]] = {
        OURS: lambda path, _: probe(path),
        "scan (packets, all sound, a few pictures)": lambda path, _: scan(path),
        "decord's proof": decord_reason,
        "proof of the packet table": _proved,
        "the least": _least,
        "the least, without decord": _least_without_decord,
        "every picture and all sound decoded": lambda path, _: _decoded(path),
        "decord: opened, timestamps": lambda path, _: picture_intervals(open_decord(path)),
    }
    with contextlib.suppress(ImportError, RuntimeError, OSError):  # an extra, and it needs FFmpeg's libraries
        from torchcodec.decoders import VideoDecoder

        ways["torchcodec: opened, exact"] = lambda path, _: VideoDecoder(str(path), num_ffmpeg_threads=1)
        VideoDecoder(str(next(iter(found))))

    def all_files(way: Callable[[Path, Scan], object]) -> Callable[[], object]:
        return lambda: [way(path, scanned) for path, scanned in found.items()] and None

    return {name: all_files(way) for name, way in ways.items()}


def _proved(path: Path, found: Scan) -> object:
    if found.packets is None:
        return None
    return proved(
        path,
        found.packets,
        kept_sound=found.kept_sound,
        kept_pictures=found.kept_pictures,
        end_seconds=found.facts.video_end_seconds,
    )


def _least(path: Path, found: Scan) -> None:
    _least_without_decord(path, found)
    times = np.array(found.times_seconds)
    reader = open_decord(path)
    jumps = jump_places(len(times), np.searchsorted(times, found.key_seconds))
    reader.get_batch(list(jumps[:1]))
    reader.get_batch(list(jumps[1:]))


def _least_without_decord(path: Path, found: Scan) -> None:
    with open_container(path) as container:
        video, audio = best_streams(container, needs="picture")
        assert video is not None
        for packet in container.demux():
            if audio is not None and packet.stream_index == audio.index:
                packet.decode()
        tick = float(video.time_base)
        stamps, keys = (
            np.round(np.array(s) / tick).astype(int) for s in (found.times_seconds, found.key_seconds)
        )
        looked_at, kept = targets(stamps, keys.tolist())
        for wanted in ({*looked_at, *kept.values()}, {*kept.values()}):
            for key in sorted({target.key for target in wanted}):
                run_from(container, video, key=key, wanted=sorted(t.stamp for t in wanted if t.key == key))


def _decoded(path: Path) -> None:
    with av.open(str(path)) as container:
        for stream in container.streams:
            stream.codec_context.thread_count = 1
        for packet in container.demux():
            packet.decode()


if __name__ == "__main__":
    main()
