"""A corpus and a few ways to share two cores between decoding workers and the model → clips a second, by the clock.

Run by hand on two idle cores: `python -m benchmarks.training.cores CORPUS [--json]`. The quickstart's training, real clips: with
the memory of `data.memory_gigabytes`, out of which everything comes after the first pass, and without it, so that every
clip is decoded. Every way trains in turns, and each turn's ratio is taken on its own; the first pass is not timed.
"""

import contextlib
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping

import torch

from avmi.config.schema import PretrainConfig
from avmi.data import share_cores
from avmi.training.clock import StepClock
from avmi.training.feed import Feed, open_corpus
from avmi.training.runs.progress import Progress
from avmi.training.step import optimizer_step
from avmi.training.watching.skipped import SkippedTerms
from avmi.views.graph import graph_of
from avmi.views.reach import cut_pairs
from benchmarks.training.setting import DRAWN_LOG_MEL, settings_of, training_parts

TURNS, STEPS = 2, 20
# Decoding workers and threads of the model: what `share_cores` gives on two cores, and one beside it.
WAYS: Mapping[str, tuple[int, int]] = {
    "no worker, two threads": (0, 2),
    "one worker, one thread": (1, 1),
    "two workers, one thread": (2, 1),
    "one worker, two threads": (1, 2),
}
OURS = "one worker, one thread"


def main() -> None:
    os.environ.pop("OMP_NUM_THREADS", None)  # `share_cores` leaves alone what the user has set
    share_cores(1)
    corpus = sys.argv[1]
    results = {
        about: _clips_per_second(
            settings_of("quickstart", f"corpus={corpus}", f"data.memory_gigabytes={memory}")
        )
        for about, memory in {"out of memory": 4.0, "every clip is decoded": 0.0}.items()
    }
    if "--json" in sys.argv:
        print(json.dumps(results))
        return
    for about, rates in results.items():
        print(about)
        for way, found in rates.items():
            ratios = [f / o for f, o in zip(found, rates[OURS], strict=True)]
            spread = f"{statistics.median(ratios):.2f}× ({min(ratios):.2f} to {max(ratios):.2f})"
            print(f"  {way:<26} {statistics.median(found):>7.1f} clips/s   {spread}")


def _clips_per_second(config: PretrainConfig) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(TURNS):
        for name in list(WAYS)[turn:] + list(WAYS)[:turn]:
            rates[name].append(_rate(config, *WAYS[name]))
    return rates


def _rate(config: PretrainConfig, workers: int, threads: int) -> float:
    """Train through the corpus once, or fill what workers prepare ahead, and time the steps after it."""
    data = config.data.model_copy(update={"workers": workers})
    manifest, graph = open_corpus(config.corpus, data), graph_of(config)
    feed = Feed(manifest, graph.signals, config.image, config.log_mel, data)
    videos_per_step = data.batch_clips // data.clips_per_video
    first_pass = len(manifest.split("train")) // videos_per_step + 1
    untimed = first_pass * max(1, workers) if data.memory_gigabytes else data.prefetch_batches
    torch.set_num_threads(threads)
    stream = feed.stream(pairs=cut_pairs(graph), seed=config.seed)
    loader = feed.batches(stream, config.optimizer, begun=Progress(), device=torch.device("cpu"))
    clock, skipped, begun = StepClock(), SkippedTerms(), 0.0
    with contextlib.closing(iter(loader)) as batches:
        parts = training_parts(config, batches, log_mel=DRAWN_LOG_MEL)
        for step in range(untimed + STEPS):
            if step == untimed:
                begun = time.perf_counter()
            optimizer_step(parts, clock, skipped, step=step)
        return STEPS * data.batch_clips / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
