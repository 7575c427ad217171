"""How many files a second `prepare` probes on one core, and which part takes how long.

Run by hand: `python -m benchmarks.media.probing [FOLDER] [--json]`; FOLDER holds videos (default: the UCF101 clips
beside the project). CPU time, in this process, five rounds over the same files; the goal is 30 files a second.
"""

import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from avmi.corpus.scan import scan
from avmi.decode.packet_proof import proved
from avmi.decode.probe import _decord_reason, probe

REPEATS, FILES = 5, 60
UCF101 = Path(__file__).resolve().parents[3] / "shared" / "clips" / "ucf101"


def main() -> None:
    folders = [a for a in sys.argv[1:] if not a.startswith("--")]
    paths = sorted(p for p in Path(folders[0] if folders else UCF101).rglob("*.*") if p.is_file())
    paths = random.Random(0).sample(paths, min(FILES, len(paths)))
    found = [(path, scan(path)) for path in paths]
    parts: dict[str, Callable[[], Iterable[object]]] = {
        "the whole probe": lambda: (probe(path) for path in paths),
        "scan (packets, all sound, a few pictures)": lambda: (scan(path) for path in paths),
        "decord against the container": lambda: (_decord_reason(path, scanned) for path, scanned in found),
        "proof of the packet table": lambda: (
            proved(path, s.packets, kept=s.kept_sound, end_seconds=s.facts.video_end_seconds)
            for path, s in found
            if s.packets is not None
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(REPEATS):
        for name, part in parts.items():
            begun = time.process_time()
            for _ in part():
                pass
            seconds[name].append((time.process_time() - begun) / len(paths))
    if "--json" in sys.argv:
        print(json.dumps({"files": len(paths), "cpu_seconds_a_file": seconds}, indent=1))
        return
    print(f"{len(paths)} files; CPU time a file: median (smallest to largest) of {REPEATS} rounds")
    for name, each in seconds.items():
        middle = statistics.median(each)
        spread = f"({min(each) * 1e3:.1f} to {max(each) * 1e3:.1f})"
        print(f"{name:<44} {middle * 1e3:>6.1f} ms {spread:<16} {1 / middle:>5.1f} files/s")


if __name__ == "__main__":
    main()
