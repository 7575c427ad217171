"""Steps of training in one process and in two → how well two use two cores, by the clock.

Run by hand on two idle cores: `python -m benchmarks.training.processes [--json]`. Each way runs in processes of its own, in
turns; each turn's ratio is taken on its own. Every process has its own batch of the quickstart's size, drawn, and two
processes exchange embeddings and gradients over gloo. Efficiency is the clips a second of two processes of one
thread, over twice those of one process of one thread; beside it is what one process does with two threads.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping

from avmi.training.clock import StepClock
from avmi.training.step import optimizer_step
from avmi.training.watching.skipped import SkippedTerms
from benchmarks.training.setting import DRAWN_LOG_MEL, Repeated, drawn_batch, settings_of, training_parts

TURNS = 3
WARM_UP_STEPS, STEPS = 5, 25
MEASURE = "--measure"

# Processes and threads of each.
WAYS: Mapping[str, tuple[int, int]] = {
    "one process, one thread": (1, 1),
    "two processes, one thread each": (2, 1),
    "one process, two threads": (1, 2),
}


def main() -> None:
    if MEASURE in sys.argv:
        _measure()
        return
    seconds: dict[str, list[float]] = {name: [] for name in WAYS}
    for turn in range(TURNS):
        for name in list(WAYS)[turn:] + list(WAYS)[:turn]:
            seconds[name].append(_step_seconds(*WAYS[name]))
    efficiencies = [
        one / two
        for one, two in zip(
            seconds["one process, one thread"], seconds["two processes, one thread each"], strict=True
        )
    ]
    if "--json" in sys.argv:
        print(json.dumps({"step_seconds": seconds, "efficiency": efficiencies}))
        return
    for name, found in seconds.items():
        processes = WAYS[name][0]
        rate = processes * settings_of("quickstart").data.batch_clips / statistics.median(found)
        print(f"{name:<34} {1e3 * statistics.median(found):>7.1f} ms a step {rate:>7.1f} clips/s")
    low, middle, high = min(efficiencies), statistics.median(efficiencies), max(efficiencies)
    print(f"efficiency of two processes: {middle:.2f} ({low:.2f} to {high:.2f})")


def _step_seconds(processes: int, threads: int) -> float:
    command = [sys.executable, "-m"]
    if processes > 1:
        command += ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*command, "benchmarks.training.processes", MEASURE],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout.strip().splitlines()[-1])


def _measure() -> None:
    """Print the seconds of a step; all processes take the same steps and wait for each other in every one."""
    config = settings_of("quickstart")
    parts = training_parts(config, Repeated(drawn_batch(config)), log_mel=DRAWN_LOG_MEL)
    clock, skipped = StepClock(), SkippedTerms()
    begun = 0.0
    for step in range(WARM_UP_STEPS + STEPS):
        if step == WARM_UP_STEPS:
            begun = time.perf_counter()
        optimizer_step(parts, clock, skipped, step=step)
    if parts.accelerator.is_main_process:
        print((time.perf_counter() - begun) / STEPS)
    parts.accelerator.end_training()


if __name__ == "__main__":
    main()
