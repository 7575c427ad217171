"""Two or more ways to do one thing → the CPU seconds of each, measured in turns in one process, and their ratios.

Machines are noisy: what is compared runs in turns (a b c, b c a, …), each turn's ratio is taken on its own, and
what is reported is the median of the ratios with the smallest and the largest. CPU time counts every thread of
the process, so a peer that decodes in threads is not favoured.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

REPEATS = 5


@dataclass(frozen=True)
class Paired:
    """CPU seconds of every way in every turn; `ours` is the way that the ratios are taken against."""

    what: str
    ours: str
    seconds: Mapping[str, tuple[float, ...]]

    def ratios(self, peer: str) -> tuple[float, ...]:
        """How many times longer the peer took, turn by turn."""
        return tuple(p / o for p, o in zip(self.seconds[peer], self.seconds[self.ours], strict=True))

    def lines(self) -> list[str]:
        """Give a heading and a line for each way: milliseconds, and the ratio with its spread."""
        lines = [self.what]
        for way, seconds in self.seconds.items():
            middle = f"  {way:<34} {statistics.median(seconds) * 1e3:>9.2f} ms"
            if way != self.ours:
                found = self.ratios(way)
                middle += f"   {statistics.median(found):>6.2f}×  ({min(found):.2f} to {max(found):.2f})"
            lines.append(middle)
        return lines

    def as_json(self) -> dict[str, object]:
        """Give plain values."""
        peers = [way for way in self.seconds if way != self.ours]
        return {
            "what": self.what,
            "ours": self.ours,
            "median_cpu_seconds": {way: statistics.median(s) for way, s in self.seconds.items()},
            "ratio": {
                peer: {
                    "median": statistics.median(self.ratios(peer)),
                    "min": min(self.ratios(peer)),
                    "max": max(self.ratios(peer)),
                }
                for peer in peers
            },
        }


def paired(
    what: str, ways: Mapping[str, Callable[[], object]], *, ours: str, repeats: int = REPEATS
) -> Paired:
    """Run every way once to warm up, then `repeats` turns of all of them, each beginning with another one."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    names = list(ways)
    for turn in range(repeats):
        shift = turn % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            begun = time.process_time()
            ways[name]()
            seconds[name].append(time.process_time() - begun)
    return Paired(what, ours, {name: tuple(found) for name, found in seconds.items()})


def show(results: list[Paired]) -> None:
    """Print results as text, or as one JSON object when `--json` is among the arguments."""
    if "--json" in sys.argv[1:]:
        print(json.dumps([result.as_json() for result in results], indent=1))
        return
    for result in results:
        print("\n".join(result.lines()), end="\n\n")
