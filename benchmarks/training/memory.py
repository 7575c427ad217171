"""Memory and time of one optimizer step: whole batches, chunks, activations made again, and both.

Run by hand: `OMP_NUM_THREADS=1 python -m benchmarks.training.memory [--json]`. Peak memory is that of tensors beyond
weights, moments and the batch, as torch's profiler counts it; the gradients of the weights are in it.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch.profiler import ProfilerActivity, profile

from avmi.training.clock import StepClock
from avmi.training.step import optimizer_step
from avmi.training.watching.skipped import SkippedTerms
from benchmarks.media.paired import paired, show
from benchmarks.training.setting import DRAWN_LOG_MEL, Repeated, drawn_batch, settings_of, training_parts

# Backbone of both encoders, side of the picture in pixels, clips of the batch, and of a chunk.
SIZES = (("small_conv", 96, 256, 64), ("resnet18", 112, 64, 16))
AGAIN = ("encoders.image.checkpoint_activations=true", "encoders.audio.checkpoint_activations=true")
WHOLE = "whole batch"


def main() -> None:
    results = []
    for name, size_px, clips, chunk_clips in SIZES:
        sizes = [f"image.size_px={size_px}", f"data.batch_clips={clips}"]
        sizes += [f"encoders.{kind}.name={name}" for kind in ("image", "audio")]
        chunks = f"optimizer.chunk_clips={chunk_clips}"
        settings = {
            WHOLE: (),
            f"chunks of {chunk_clips}": (chunks,),
            "activations made again": AGAIN,
            f"made again, chunks of {chunk_clips}": (chunks, *AGAIN),
        }
        steps = {way: _step(*sizes, *more) for way, more in settings.items()}
        ways = {f"{way}, {_peak_bytes(step) / 1e6:.0f} MB": step for way, step in steps.items()}
        ours = next(way for way in ways if way.startswith(WHOLE))
        results.append(paired(f"{name}, {clips} clips of {size_px} px and 1.6 s", ways, ours=ours, repeats=3))
    show(results)


def _step(*overrides: str) -> Callable[[], object]:
    config = settings_of("image_sound", *overrides)
    batches = Repeated(drawn_batch(config))
    parts = training_parts(config, batches, log_mel=DRAWN_LOG_MEL)
    return partial(optimizer_step, parts, StepClock(), SkippedTerms(), step=0)


def _peak_bytes(step: Callable[[], object]) -> int:
    """Most memory of tensors at a time, beyond what there was before; the first step makes the optimizer's moments."""
    step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    held = peak = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
