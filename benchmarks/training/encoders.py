"""A corpus and encoders by name → how well each of them represents held-out clips after equal CPU time of training.

    OMP_NUM_THREADS=1 python -m benchmarks.training.encoders --corpus CORPUS --out FOLDER [--minutes 5 10] [--names NAME …]

Trains `configs/pretrain/image_sound.yaml` with the same backbone for pictures and sounds, on one thread. The clock is
the CPU time of the process that trains; one worker decodes beside it, and does not count. The learning rate
follows that clock, so that every backbone's training is finished at each reading: it rises over the first 15 seconds,
is constant, and falls linearly to zero over the last fifth of the time (Hägele et al. 2024, arXiv 2405.18392). For a
later reading training goes on from where the rate began to fall.

Readings are of the valid split; linear probes are fitted on the train split with the penalty 1, so that nothing is
chosen on what is read. FOLDER/readings.jsonl has a line of JSON for each; what stands there is not done again.
`--test` reads the finished weights of the named ones on the test split instead, into FOLDER/test.jsonl.
"""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from avmi.config.schema import PretrainConfig
from avmi.data import Batch
from avmi.errors import AvmiError
from avmi.metrics import label_codes
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Objective
from avmi.training.clock import StepClock
from avmi.training.feed import Feed, open_corpus
from avmi.training.linear_probe import LabelledFeatures, fit_linear_probe
from avmi.training.runs.progress import Progress, visits_per_step
from avmi.training.statistics import measure_log_mel
from avmi.training.step import Pretraining, optimizer_step
from avmi.training.watching.evaluation import HeldOut, embed_batches, evaluate
from avmi.training.watching.skipped import SkippedTerms
from avmi.types import Split
from avmi.views.graph import graph_of
from avmi.views.reach import cut_pairs
from benchmarks.training.setting import Repeated, drawn_batch, settings_of, training_parts

READ_AT_MINUTES = (5, 10)
WARMUP_SECONDS = 15.0
FALLING_SHARE = 0.2

# What differs from the configuration, which is small_conv_32.
CANDIDATES: Mapping[str, Sequence[str]] = {
    "small_conv_32": (),
    "small_conv_16": ("encoders.image.width=16", "encoders.audio.width=16"),
    "small_conv_64": ("encoders.image.width=64", "encoders.audio.width=64"),
    "small_conv_48": ("encoders.image.width=48", "encoders.audio.width=48"),
    "small_conv_32_batch": ("encoders.image.normalization=batch", "encoders.audio.normalization=batch"),
    "small_conv_32_64px": ("image.size_px=64",),
    "small_conv_32_128px": ("image.size_px=128",),
    "shufflenet_v2_x0_5": (
        "encoders.image.name=shufflenet_v2_x0_5",
        "encoders.audio.name=shufflenet_v2_x0_5",
    ),
    "mobilenet_v3_small": (
        "encoders.image.name=mobilenet_v3_small",
        "encoders.audio.name=mobilenet_v3_small",
    ),
    "resnet18": ("encoders.image.name=resnet18", "encoders.audio.name=resnet18"),
    "efficientnet_b0": ("encoders.image.name=efficientnet_b0", "encoders.audio.name=efficientnet_b0"),
}


def main() -> None:
    """Train and read what is missing, or read finished weights on the test split."""
    parser = argparse.ArgumentParser(description="What encoders learn in equal CPU time.")
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder of readings and weights")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=int, nargs="+", default=READ_AT_MINUTES, help="CPU time, ascending")
    parser.add_argument("--test", action="store_true", help="read finished weights on the test split")
    parser.add_argument(
        "--names",
        nargs="+",
        default=list(CANDIDATES),
        choices=CANDIDATES,
        metavar="NAME",
        help="all by default",
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.names:
        config = settings_of("image_sound", f"corpus={given.corpus}", f"seed={given.seed}", *CANDIDATES[name])
        for minutes in given.minutes:
            run = Run(name, config, given.out, minutes)
            if given.test:
                run.note("test.jsonl", _read(run, *run.finished(), split="test"))
            elif not run.weights_file.is_file():
                run.train()


@dataclasses.dataclass(frozen=True)
class Run:
    """One candidate's training up to one reading."""

    name: str
    config: PretrainConfig
    out: Path
    minutes: int

    @property
    def weights_file(self) -> Path:
        """Finished weights."""
        return self.out / f"{self.name}-{self.config.seed}-{self.minutes}.pt"

    @property
    def constant_file(self) -> Path:
        """State before the rate fell for the last reading, from which the next one goes on."""
        return self.out / f"{self.name}-{self.config.seed}-constant.pt"

    def train(self) -> None:
        """Go on from the reading before, if there is one, and note this one."""
        config, clock = self.config, TrainingClock(60.0 * self.minutes)
        feed, pairs = _feed(config), cut_pairs(graph_of(config))
        begun = torch.load(self.constant_file, weights_only=True) if self.constant_file.is_file() else None
        if begun is not None:
            clock.seconds, clock.steps = begun["seconds"], begun["steps"]
            log_mel = LogMelStatistics(*begun["log_mel"])
        else:
            log_mel = measure_log_mel(feed.stream(pairs=pairs, seed=config.seed), workers=config.data.workers)
        stream = feed.stream(pairs=pairs, seed=config.seed)
        visits = clock.steps * visits_per_step(config.data, config.optimizer, processes=1)
        loader = feed.batches(
            stream, config.optimizer, begun=Progress(clock.steps, visits), device=torch.device("cpu")
        )
        with contextlib.closing(iter(loader)) as batches:
            parts = _by_the_clock(training_parts(config, batches, log_mel=log_mel), clock)
            if begun is not None:
                _bring_back(parts, begun)
                parts.trained.optimizer.load_state_dict(begun["optimizer"])
            _train(parts, clock, seconds=clock.falls_at_seconds)
            constant = {"seconds": clock.seconds, "steps": clock.steps, **_state(parts, log_mel)}
            torch.save({**constant, "optimizer": parts.trained.optimizer.state_dict()}, self.constant_file)
            _train(parts, clock, seconds=clock.until_seconds)
        found = _read(self, parts.trained.encoders, parts.plain_objective, split="valid")
        self.note("readings.jsonl", {"steps": clock.steps, **found})
        torch.save(_state(parts, log_mel), self.weights_file)

    def finished(self) -> tuple[Encoders, Objective]:
        """Bring finished encoders back, and the objective, which names what is retrieved."""
        state = torch.load(self.weights_file, weights_only=True)
        batches = Repeated(drawn_batch(self.config))
        log_mel = LogMelStatistics(*state["log_mel"])
        parts = training_parts(self.config, batches, log_mel=log_mel)
        _bring_back(parts, state)
        return parts.trained.encoders, parts.plain_objective

    def note(self, file: str, reading: Mapping[str, float]) -> None:
        """Append a line to a file of the folder, and print it."""
        about = {"name": self.name, "seed": self.config.seed, "cpu_minutes": self.minutes}
        line = json.dumps({**about, **reading})
        with (self.out / file).open("a", encoding="utf-8") as lines:
            lines.write(line + "\n")
        print(line, flush=True)


class TrainingClock:
    """CPU seconds of training and steps so far, and the share of the learning rate that follows from them."""

    def __init__(self, until_seconds: float) -> None:
        self.seconds, self.steps, self.until_seconds = 0.0, 0, until_seconds

    @property
    def falls_at_seconds(self) -> float:
        """When the rate begins to fall."""
        return (1 - FALLING_SHARE) * self.until_seconds

    def factor(self) -> float:
        """Give the share of the peak learning rate; the first step has a little of it."""
        rising = (self.seconds + 0.1) / WARMUP_SECONDS
        falling = (self.until_seconds - self.seconds) / (FALLING_SHARE * self.until_seconds)
        return max(0.0, min(1.0, rising, falling))


def _by_the_clock(parts: Pretraining, clock: TrainingClock) -> Pretraining:
    """Let the learning rate follow the clock instead of the steps."""
    schedule = LambdaLR(parts.trained.optimizer, lambda _: clock.factor())
    return dataclasses.replace(parts, trained=dataclasses.replace(parts.trained, schedule=schedule))


def _state(parts: Pretraining, log_mel: LogMelStatistics) -> dict[str, Any]:
    modules = {"encoders": parts.trained.encoders, "objective": parts.plain_objective}
    return {**{n: m.state_dict() for n, m in modules.items()}, "log_mel": (log_mel.mean, log_mel.std)}


def _bring_back(parts: Pretraining, state: Mapping[str, Any]) -> None:
    parts.trained.encoders.load_state_dict(state["encoders"])
    parts.plain_objective.load_state_dict(state["objective"])


def _train(parts: Pretraining, clock: TrainingClock, *, seconds: float) -> None:
    """Take steps until the clock says so; waiting for the worker costs no CPU time."""
    step_clock, skipped = StepClock(), SkippedTerms()
    before = time.process_time()
    while clock.seconds < seconds:
        loss = optimizer_step(parts, step_clock, skipped, step=clock.steps).loss
        now = time.process_time()
        clock.seconds, before = clock.seconds + now - before, now
        clock.steps += 1
        if not math.isfinite(float(loss.total.detach())):
            raise AvmiError(f"the loss of step {clock.steps} is not finite")


def _feed(config: PretrainConfig) -> Feed:
    manifest = open_corpus(config.corpus, config.data)
    return Feed(manifest, graph_of(config).signals, config.image, config.log_mel, config.data)


def _read(run: Run, encoders: Encoders, objective: Objective, *, split: Split) -> dict[str, float]:
    """Retrieve across picture and sound, and fit linear probes of both on the train split."""
    train, read = _fixed(run, "train"), _fixed(run, split)
    encoders.eval()
    embedded = embed_batches(encoders, read.batches, graph=objective.graph, device=torch.device("cpu"))
    retrieved = evaluate(embedded, objective)
    found = {name: retrieved[name] for name in ("same_label@1", "bound_nats")}
    found["recall@1"] = retrieved["image_to_audio/recall@1"]
    labels = _feed(run.config).manifest.labels
    for view in ("image", "sound"):
        fitted = fit_linear_probe(_features(encoders, train, view, labels), None, class_names=labels)
        of_read = _features(encoders, read, view, labels)
        right = fitted.scores(of_read.features).argmax(dim=1) == of_read.classes
        found[f"{view}_probe"] = float(right.double().mean())
    return {name: round(value, 4) for name, value in found.items()}


def _fixed(run: Run, split: Split) -> HeldOut:
    """Decode the fixed clips of a split once for all candidates that see pictures of one size.

    They are kept as objects of this version; delete them to go on with another one.
    """
    kept = run.out / f"clips-{split}-{run.config.image.size_px}px.pt"
    if not kept.is_file():
        feed = _feed(run.config)
        clips = feed.fixed(split, required=("image", "sound"))
        begun = kept.with_name(f".{os.getpid()}-{kept.name}")  # two candidates may begin at the same time
        torch.save(HeldOut.decode(feed.fixed_batches(clips)), begun)
        begun.replace(kept)
    found: HeldOut = torch.load(kept, weights_only=False)
    return found


@torch.inference_mode()
def _features(encoders: Encoders, clips: HeldOut, view: str, labels: Sequence[str]) -> LabelledFeatures:
    batches: Sequence[Batch] = clips.batches
    numbers = {name: number for number, name in enumerate(labels)}
    specs = [spec for batch in batches for spec in batch.specs]
    return LabelledFeatures(
        torch.cat([encoders.encoder(view).features(batch.views[view]) for batch in batches]),
        torch.tensor([numbers[spec.video.label] for spec in specs]),
        label_codes([spec.video.row_id for spec in specs]),
    )


if __name__ == "__main__":
    main()
