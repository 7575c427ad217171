"""A video file's bytes and a seed → damaged bytes; and a damaged file → whether every backend is right about it.

Run `python tests/mutating.py --seeds 2000:6000 [--keep FOLDER]` from the repository's root for more seeds than the
tests take; files that were judged wrongly are kept.
"""

import argparse
import dataclasses
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

_BOXES = re.compile(
    rb"moov|mdat|trak|mdia|minf|stbl|stts|ctts|stsc|stsz|stco|stss|elst|mvhd|tkhd|mdhd|moof|traf|trun|tfdt|tfhd|avcC|esds"
)


def _flipped(data: bytearray, draw: np.random.Generator) -> str:
    share = float(10 ** draw.uniform(-5.5, -2.5))
    count = max(1, int(draw.poisson(share * len(data))))
    for place in draw.integers(0, len(data), count):
        data[place] ^= 1 << int(draw.integers(0, 8))
    return f"{count} bits flipped"


def _range(data: bytearray, draw: np.random.Generator, most: float = 0.3) -> tuple[int, int]:
    begin = int(draw.integers(0, len(data)))
    length = int(len(data) * 10 ** draw.uniform(-4, np.log10(most))) + 1
    return begin, min(begin + length, len(data))


def _truncated(data: bytearray, draw: np.random.Generator) -> str:
    size = int(draw.integers(0, len(data)))
    del data[size:]
    return f"cut off at {size}"


def _zeroed(data: bytearray, draw: np.random.Generator) -> str:
    begin, end = _range(data, draw)
    data[begin:end] = bytes(end - begin)
    return f"zeros from {begin} to {end}"


def _doubled(data: bytearray, draw: np.random.Generator) -> str:
    begin, end = _range(data, draw)
    data[end:end] = data[begin:end]
    return f"{begin} to {end} twice"


def _left_out(data: bytearray, draw: np.random.Generator) -> str:
    begin, end = _range(data, draw)
    del data[begin:end]
    return f"without {begin} to {end}"


def _swapped(data: bytearray, draw: np.random.Generator) -> str:
    length = int(len(data) * 10 ** draw.uniform(-3, -0.8)) + 1
    a, b = sorted(int(place) for place in draw.integers(0, max(1, len(data) - length), 2))
    if b < a + length:
        return _flipped(data, draw)
    data[a : a + length], data[b : b + length] = data[b : b + length], data[a : a + length]
    return f"{length} bytes at {a} and {b} changed places"


def _box_edited(data: bytearray, draw: np.random.Generator) -> str:
    """Change the size, the kind or an early field of an MP4 box (elsewhere: of the header's bytes)."""
    places = [found.start() for found in _BOXES.finditer(bytes(data))]
    place = int(draw.choice(places)) if places else int(draw.integers(4, min(600, len(data) - 40)))
    target = place + int(draw.choice([-4, -4, -4, 0, 4, 8, 12, 16, 20]))
    old = int.from_bytes(data[target : target + 4], "big")
    new = draw.choice([0, 1, 8, old + 1, old - 1, old * 2, old + 256, 2**31, 2**32 - 1, draw.integers(2**32)])
    data[target : target + 4] = (int(new) % 2**32).to_bytes(4, "big")
    return f"{old} at {target} became {new}"


def mutated(data: bytes, other: bytes, *, seed: int) -> tuple[bytes, str]:
    """Damage a file in one to three ways that the seed decides; `other` gives a header to be spliced on."""
    draw, changed, said = np.random.default_rng(seed), bytearray(data), []
    ways = [_flipped, _flipped, _truncated, _zeroed, _doubled, _left_out, _swapped, _box_edited, _box_edited]
    for _ in range(int(draw.choice([1, 1, 1, 2, 3]))):
        if len(changed) < 1000:
            break
        choice = int(draw.integers(0, len(ways) + 1))
        if choice == len(ways):
            size = int(draw.integers(16, 4096))
            changed[:size] = other[:size]
            said.append(f"header of another file, {size} bytes")
        else:
            said.append(ways[choice](changed, draw))
    return bytes(changed), "; ".join(said)


@dataclass(frozen=True)
class Straight:
    """What a plain decode from the start to the end gives; times in seconds on the container's clock."""

    pictures: list[tuple[float, np.ndarray]]
    sound: list[tuple[float, np.ndarray]]  # mono blocks
    sound_hz: int
    is_by_order: bool  # AVI with B-frames: its times mean nothing


def straight_decode(path: Path) -> Straight:
    """Decode every packet in the file's order, whatever fails; nothing of the package's seeking is used."""
    from avmi.decode.opened import OpenedFile
    from avmi.decode.rgb import upright_rgb

    file = OpenedFile(path)
    pictures: list[tuple[float, np.ndarray]] = []
    sound: list[tuple[float, np.ndarray]] = []
    rate = 0
    streams = [stream for stream in (file.video, file.audio) if stream is not None]
    for frame in _frames(file.container, streams):
        seconds = np.nan
        if frame.pts is not None:
            seconds = float(frame.pts * frame.time_base) - file.origin_seconds
        if isinstance(frame, av.VideoFrame):
            pictures.append((seconds, upright_rgb(frame, short_side_px=None)))
        else:
            planes = av.AudioResampler(format="fltp").resample(frame)
            sound.extend((seconds, part.to_ndarray().mean(axis=0)) for part in planes)
            rate = frame.sample_rate
    by_order = bool(file.format_name == "avi" and file.video and file.video.codec_context.has_b_frames)
    file.close()
    return Straight(pictures, sound, rate, by_order)


def _frames(container: Any, streams: Sequence[Any]) -> Iterator[Any]:
    packets = container.demux(streams)
    while True:
        try:
            packet = next(packets, None)
        except FFmpegError:
            return
        if packet is None:
            return
        try:
            yield from packet.decode()
        except FFmpegError:
            continue


def judged(path: Path) -> dict[str, Any]:
    """Probe a file; when it is usable, hold what each backend gives against a straight decode of it.

    Returns the mistakes ("wrong") and how often each backend gave something or refused. Raises `DecodeError`
    when the file is unusable. Runs in a child of the pool.
    """
    from avmi.decode.probe import probe

    return judged_by(path, probe(path))


def judged_by(path: Path, facts: dict[str, Any]) -> dict[str, Any]:
    """Hold every backend against a straight decode of a file with these facts."""
    from rows import video_row

    from avmi.corpus.manifest import Video
    from avmi.decode.choose import choose_decoder
    from avmi.errors import ConfigError, DecodeError

    known = {field.name for field in dataclasses.fields(Video)}  # a probe may tell more
    video = video_row(str(path), **{name: value for name, value in facts.items() if name in known})
    truth = straight_decode(path)
    wrong: list[str] = []
    counts: Counter[str] = Counter()
    for backend in ("pyav", "decord", "torchcodec"):
        try:
            with choose_decoder(backend).open(path, video=video) as reader:
                counts += _judge_pictures(reader, video, truth, backend, wrong)
                if backend == "pyav":
                    counts += _judge_sound(reader, video, truth, wrong)
        except DecodeError as error:
            counts[f"{backend} refuses: {error.reason}"] += 1
        except ConfigError:
            counts[f"{backend} is not installed"] += 1
    return {"wrong": wrong, "counts": counts}


def _judge_pictures(reader: Any, video: Any, truth: Straight, backend: str, wrong: list[str]) -> Counter[str]:
    from avmi.errors import DecodeError

    counts: Counter[str] = Counter()
    draw = np.random.default_rng(7)
    slack = 0.51e-3
    times = np.array([seconds for seconds, _ in truth.pictures])
    for wanted in draw.permutation(np.linspace(video.video_start_seconds, video.video_end_seconds - 1e-3, 9)):
        try:
            found = reader.frames([float(wanted)], short_side_px=None)
        except DecodeError as error:
            counts[f"{backend} picture: {error.reason}"] += 1
            continue
        counts[f"{backend} picture"] += 1
        if truth.is_by_order:
            continue
        pixels, seconds = found.pixels[0], float(found.times_seconds[0])
        if (np.diff(times) < -slack).any():
            counts["the clock of the file goes back: no picture is the one"] += 1
            continue
        ahead = times[(times <= wanted - 1e-6) & (times > seconds + slack)]
        if seconds > wanted + slack or len(ahead):
            wrong.append(f"{backend}: picture of {seconds:.4f} s at {wanted:.4f} s, {ahead[:3]} came since")
        same = [shown for at, shown in truth.pictures if abs(at - seconds) <= slack]
        far = min((_distance(pixels, shown) for shown in same), default=np.inf)
        if backend != "pyav" and far > 3.0:
            counts[f"{backend} mends damage in its own way"] += 1  # it does not say so: docs/media.md
        elif backend == "pyav" and far > 0.0:
            wrong.append(
                f"{backend}: picture at {wanted:.4f} s is {far:.1f} levels from the straight decode's"
            )
    return counts


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.abs(a.astype(np.int16) - b).mean()) if a.shape == b.shape else np.inf


def _judge_sound(reader: Any, video: Any, truth: Straight, wrong: list[str]) -> Counter[str]:
    from avmi.errors import DecodeError

    counts: Counter[str] = Counter()
    start, end = video.audio_start_seconds, video.audio_end_seconds
    edges = np.linspace(start, end, 5)
    for first, last in [*pairwise(edges), (start, end)]:
        try:
            heard = reader.audio(float(first), float(last), sample_rate_hz=truth.sound_hz).samples
        except DecodeError as error:
            counts[f"sound: {error.reason}"] += 1
            continue
        counts["sound"] += 1
        if len(heard) != round((last - first) * truth.sound_hz):
            wrong.append(f"sound: {len(heard)} samples from {first:.3f} to {last:.3f} s")
            continue
        wrong.extend(_misplaced(heard, float(first), truth))
    return counts


def _misplaced(heard: np.ndarray, start_seconds: float, truth: Straight) -> Iterator[str]:
    """Find blocks of the straight decode that were not heard within 1 ms of their timestamp."""
    if any(later < earlier for (earlier, _), (later, _) in pairwise(truth.sound)):
        return  # a clock that goes back gives two places to one sample
    reach = round(1e-3 * truth.sound_hz) + 1
    for seconds, block in truth.sound:
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


def small_files(folder: Path) -> list[Path]:
    """Write small files of several containers and codecs."""
    from truth import TRUTH_FILES

    names = (
        "B-frames",
        "fragmented",
        "mkv AAC",
        "webm",
        "HEVC",
        "MPEG-TS",
        "avi",
        "flv",
        "edit list",
        "mkv Opus",
    )
    return [TRUTH_FILES[name](folder).path for name in names]


def write_mutants(sources: Sequence[Path], seeds: range, folder: Path) -> dict[Path, str]:
    """Write a damaged file for every seed; return what was done to each."""
    said = {}
    for seed in seeds:
        source, other = sources[seed % len(sources)], sources[(seed // 7) % len(sources)]
        data, what = mutated(source.read_bytes(), other.read_bytes(), seed=seed)
        path = folder / f"{seed}{source.suffix}"
        path.write_bytes(data)
        said[path] = f"{source.name}: {what}"
    return said


def judged_files(paths: Sequence[Path], *, workers: int) -> Iterator[tuple[Path, Any]]:
    """Judge files in child processes with a time limit, yielding each with its outcome."""
    from avmi.corpus.pool import ProbePool

    # One child imports torch on its first file (torchcodec does), and the machine may be busy.
    with ProbePool([judged], workers=workers, time_limit_seconds=60.0) as pool:
        yield from pool.run(paths)


def mistakes(outcome: Any) -> list[str]:
    """What is wrong about an outcome: wrong pictures or sound, a hang, a crash, an error nobody meant."""
    if outcome.facts is not None:
        return list(outcome.facts["wrong"])
    unmeant = re.match(r"\w*(Error|Exception|Interrupt|Exit)\b.*: ", outcome.detail)
    if outcome.reason in ("time_limit", "decoder_crash") or unmeant:
        return [f"{outcome.reason}: {outcome.detail}"]
    return []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:2000")
    parser.add_argument(
        "--sources", type=Path, nargs="*", help="files to damage instead of small ones made here"
    )
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "mutants")
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    first, last = map(int, arguments.seeds.split(":"))
    arguments.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        sources = arguments.sources or small_files(folder)
        said = write_mutants(sources, range(first, last), folder)
        reasons: Counter[str] = Counter()
        for path, outcome in judged_files(list(said), workers=arguments.workers):
            reasons[outcome.reason or "usable"] += 1
            if outcome.facts:
                reasons.update(outcome.facts["counts"])
            bad = mistakes(outcome)
            if bad:
                (arguments.keep / path.name).write_bytes(path.read_bytes())
                print(path.name, "|", said[path], "|", *bad[:3], sep="  ", flush=True)
    for reason, count in sorted(reasons.items()):
        print(f"{count:6d}  {reason}")


if __name__ == "__main__":
    sys.path[:0] = ["tests", "."]
    # The children import the probe by its module's name.
    import mutating

    mutating.main()
