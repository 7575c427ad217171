"""A video file's bytes and a seed → damaged bytes; as a script, damaged files → what `judging` finds wrong about them.

Run `python tests/mutating.py --seeds 2000:6000 [--keep FOLDER]` from the repository's root for more seeds than the
tests take; files that were judged wrongly are kept.
"""

import argparse
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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
    from judging import judged

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
