"""Planted copies among 1,000 to 300,000 fingerprints → how many are found, CPU time and memory, as the corpus grows.

Run by hand: `python -m benchmarks.media.near_duplicates [FOLDER] [--sizes 1000,100000] [--json]`; FOLDER holds clips with
sound (default: the UCF101 clips beside the project). The copies are real: the sound of a clip from 0.7 s on, encoded
anew as AAC at 32 kbit/s. What they hide among is drawn: the peaks of a clip, moved in frequency and time, so that
marks are as common as they are in real sound (printed: how probable it is that two marks of different videos are the
same). Ten seconds each. Every size runs in a process of its own, whose peak memory is what is reported.
"""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
import numpy as np

from avmi.corpus import fingerprint
from avmi.corpus.fingerprint import HOP_SECONDS, SoundListener, SoundMarks
from avmi.corpus.near_duplicates import Fingerprint, near_duplicates

SIZES = (1_000, 30_000, 100_000, 300_000)
SECONDS = 10.0  # of a drawn sound
COPIES = 300
CUT_SECONDS, COPY_BITS = 0.7, 32_000
UCF101 = Path(__file__).resolve().parents[3] / "shared" / "clips" / "ucf101"


def main() -> None:
    arguments = sys.argv[1:]
    folder = Path(next((a for a in arguments[:1] if not a.startswith("--")), UCF101))
    sizes = SIZES
    if "--sizes" in arguments:
        sizes = tuple(int(size) for size in arguments[arguments.index("--sizes") + 1].split(","))
    if "--one" in arguments:
        print(json.dumps(measured(folder, sizes[0])))
        return
    rows = []
    for size in sizes:
        command = [sys.executable, "-m", "benchmarks.media.near_duplicates", str(folder), "--one", "--sizes"]
        done = subprocess.run([*command, str(size)], stdout=subprocess.PIPE, text=True, check=True)
        rows.append(json.loads(done.stdout))
        if "--json" not in arguments:
            print(as_text(rows[-1]), flush=True)
    if "--json" in arguments:
        print(json.dumps(rows, indent=1))


def as_text(row: dict[str, float]) -> str:
    return (
        f"{row['fingerprints']:>9,} fingerprints, {row['marks']:>12,} marks (1 of {1 / row['same_mark']:,.0f} pairs "
        f"are the same): {row['found']:.3f} of {row['copies']} copies found, {row['false']} false pairs; "
        f"{row['cpu_seconds']:.1f} CPU-s, {row['peak_gigabytes']:.1f} GB, of them the fingerprints "
        f"{row['fingerprint_gigabytes']:.1f}"
    )


def measured(folder: Path, size: int) -> dict[str, float]:
    """Hide the copies among `size` drawn fingerprints and look for them."""
    originals, copies = [], []
    for path in sorted(folder.rglob("*.mp4"))[: 2 * COPIES]:
        sound, rate_hz = decoded(path)
        marks = heard(sound, rate_hz)
        if len(marks.marks) >= 40 and len(copies) < COPIES:
            originals.append(marks)
            copies.append(heard(*encoded_anew(sound[round(CUT_SECONDS * rate_hz) :], rate_hz)))
    rng = np.random.default_rng(0)
    prints = [seen(marks, rng) for marks in drawn(originals, size, rng)]
    first = len(prints)
    prints += [seen(marks, rng) for pair in zip(originals, copies, strict=True) for marks in pair]
    marks = sum(len(p.sound.marks) for p in prints)
    before = peak_gigabytes()
    begun = time.process_time()
    matches = near_duplicates(prints)
    cpu_seconds = time.process_time() - begun
    pairs = {(first + 2 * n, first + 2 * n + 1) for n in range(len(copies))}
    planted = [m for m in matches if (m.first, m.second) in pairs]
    offset_right = [abs(m.offset_seconds - CUT_SECONDS) < 2 * HOP_SECONDS for m in planted]
    return {
        "fingerprints": len(prints),
        "marks": marks,
        "same_mark": same_mark(prints[: min(size, 20_000)]),
        "copies": len(copies),
        "found": len(planted) / len(copies),
        "offset_right": sum(offset_right) / len(copies),
        "false": sum(m.first < first for m in matches),
        "cpu_seconds": cpu_seconds,
        "peak_gigabytes": peak_gigabytes(),
        "fingerprint_gigabytes": before,
    }


def decoded(path: Path | BytesIO) -> tuple[np.ndarray, int]:
    with av.open(path if isinstance(path, BytesIO) else str(path)) as container:
        stream = container.streams.audio[0]
        to_float = av.AudioResampler(format="fltp", layout="mono")
        pieces = [
            out.to_ndarray()[0] for frame in container.decode(stream) for out in to_float.resample(frame)
        ]
        return np.concatenate(pieces), stream.rate


def encoded_anew(sound: np.ndarray, rate_hz: int) -> tuple[np.ndarray, int]:
    file = BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("aac", rate=rate_hz)
        stream.layout, stream.bit_rate = "mono", COPY_BITS
        for at in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, at : at + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate_hz, at, Fraction(1, rate_hz)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    file.seek(0)
    return decoded(file)


def heard(sound: np.ndarray, rate_hz: int) -> SoundMarks:
    listener = SoundListener()
    listener.add(sound, sample_rate_hz=rate_hz)
    return listener.marks()


def seen(marks: SoundMarks, rng: np.random.Generator) -> Fingerprint:
    """Give a sound pictures of its own that stand still: pictures then neither find nor refuse a pair."""
    return Fingerprint(marks, (None,) * 5, SECONDS)


def drawn(originals: list[SoundMarks], count: int, rng: np.random.Generator) -> Iterator[SoundMarks]:
    """Draw sounds: the peaks of real ones strung together, each piece moved as a whole and every peak a little."""
    peaks = [np.unique(np.stack([m.hops, m.marks >> 16], axis=1), axis=0) for m in originals]
    length = round(SECONDS / HOP_SECONDS)
    for _ in range(count):
        hops, bins, end = [], [], 0
        while end < length:
            piece = peaks[rng.integers(len(peaks))]
            hops.append(end + piece[:, 0] - piece[0, 0] + rng.integers(-1, 2, len(piece)))
            bins.append(piece[:, 1] + rng.integers(-40, 41) + rng.integers(-3, 4, len(piece)))
            end = int(hops[-1].max()) + 5
        at, of = np.concatenate(hops), np.concatenate(bins)
        inside = (at >= 0) & (at < length) & (of >= 2) & (of < 382)
        at, of = at[inside], of[inside]
        order = np.lexsort((of, at))
        yield fingerprint.paired(of[order], at[order])


def same_mark(prints: list[Fingerprint]) -> float:
    """How probable it is that two marks of different videos are equal."""
    marks = np.concatenate([p.sound.marks for p in prints])
    counts = np.unique(marks, return_counts=True)[1].astype(float)
    own = sum(
        float((np.unique(p.sound.marks, return_counts=True)[1].astype(float) ** 2).sum()) for p in prints
    )
    lengths = sum(float(len(p.sound.marks)) ** 2 for p in prints)
    return float((counts**2).sum() - own) / (float(len(marks)) ** 2 - lengths)


def peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


if __name__ == "__main__":
    main()
