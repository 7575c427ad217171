"""`avmi pretrain`: a configuration → a run folder with trained encoders."""

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from avmi.checkpoint import find_checkpoint, read_meta, step_folders
from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Manifest
from avmi.data import FixedClips, Limits, Quarantine, quarantined_in, share_cores, stable_seed, warm_up
from avmi.distributed import gather_objects, on_main, other_processes, rank
from avmi.errors import CorpusError
from avmi.models.encoders import LogMelStatistics
from avmi.models.training_pass import TrainingPass
from avmi.report.examples import ExampleSheet
from avmi.report.mi_matrix import matrix_pixels
from avmi.report.score_plots import scores_pixels
from avmi.training.build import accelerator_for, build_trained
from avmi.training.feed import Feed, open_corpus
from avmi.training.loop import pretrain_steps
from avmi.training.runs.claim import claimed
from avmi.training.runs.resume import resumed
from avmi.training.runs.run_folder import is_finished
from avmi.training.statistics import measure_log_mel
from avmi.training.step import Pretraining
from avmi.training.stopping.lifeline import Lifeline
from avmi.training.stopping.preemption import StopSignals
from avmi.training.watching.evaluation import HeldOut
from avmi.training.watching.held_out_clips import gather_clips
from avmi.training.watching.log import read_metrics
from avmi.training.watching.saturated import remedies, terms_as_text
from avmi.training.watching.trackers import check_trackers
from avmi.training.watching.watch import Watch
from avmi.views.graph import ViewGraph, graph_of
from avmi.views.packed import check_packed
from avmi.views.reach import check_reach, cut_pairs

log = logging.getLogger(__name__)

# Of an evaluation these are printed, and a line for each term; the rest is in metrics.jsonl.
RETRIEVED = ("image_to_audio/", "audio_to_image/", "same_label@1")
MOST_TERMS = 12  # lines of terms that a result prints; they fit a screen


@dataclass(frozen=True)
class PretrainResult:
    """Where the run is and how well its best checkpoint does on held-out clips."""

    run: Path
    steps: int
    seconds: float
    checkpoint: Path
    valid: Mapping[str, Any]
    # Terms that their ceilings held down when training ended, and what would raise them.
    saturated: Mapping[str, str] = field(default_factory=dict)
    # Videos that hung or killed their worker twice, and how.
    quarantined: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "run": str(self.run),
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "checkpoint": str(self.checkpoint),
            "valid": dict(self.valid),
            "saturated": dict(self.saturated),
            "quarantined": dict(self.quarantined),
        }

    def as_text(self) -> str:
        """Say it in a few lines."""
        lines = [f"{self.steps} steps in {self.seconds:.0f} s; best checkpoint: {self.checkpoint}"]
        lines += [
            f"  valid {name}: {value:.3f}"
            for name, value in self.valid.items()
            if name.startswith(RETRIEVED) or name == "bound_nats"
        ]
        terms = terms_as_text(self.valid)
        lines += [f"  valid {line}" for line in terms[:MOST_TERMS]]
        if len(terms) > MOST_TERMS:
            lines.append(f"  and {len(terms) - MOST_TERMS} more in {self.run / 'metrics.jsonl'}")
        lines += [f"  in training {name} is saturated: {remedy}" for name, remedy in self.saturated.items()]
        lines += [f"  quarantined {path}: {reason}" for path, reason in self.quarantined.items()]
        return "\n".join(lines)


def pretrain(config: PretrainConfig, *, resume: bool = False) -> PretrainResult:
    """Pretrain encoders; with `resume`, go on with the run if it has begun.

    Every process of a distributed launch calls this. Raises `ConfigError` for views that no video
    reaches, `CorpusError` for an unusable corpus, `UsageError` for a run folder in use or settings that it was not
    begun with, `TrainingError` for a loss or gradient that is not finite, `Preempted` when a signal (SIGTERM, SIGINT,
    SIGUSR1) has ended it at a step that is saved, and `ProcessLost` when another process has ended.
    """
    start = time.perf_counter()
    with StopSignals() as stop, other_processes():
        _pretrain(config, resume=resume, stop=stop)
    best = find_checkpoint(config.run)
    return PretrainResult(
        run=config.run,
        steps=config.optimizer.steps,
        seconds=time.perf_counter() - start,
        checkpoint=best,
        valid=read_meta(best)["metrics"],
        saturated=_saturated(config.run),
        quarantined=quarantined_in(config.run),
    )


def _pretrain(config: PretrainConfig, *, resume: bool, stop: StopSignals) -> None:
    check_trackers(config.logging.trackers)
    warm_up(config.data.workers)
    graph = graph_of(config)
    manifest = open_corpus(config.corpus, config.data)
    train = manifest.split("train")
    if not len(train):
        raise CorpusError(f"{config.corpus}: no video is in the train split")
    check_reach(graph, train)
    rate = config.log_mel.sample_rate_hz
    check_packed(graph.signals, image=config.image, sample_rate_hz=rate, corpus=manifest.corpus)
    accelerator = accelerator_for(config, graph)
    with Lifeline(), contextlib.ExitStack() as held:
        on_main(lambda: held.enter_context(claimed(config.run, config, resume=resume)))
        if not on_main(lambda: is_finished(config.run, steps=config.optimizer.steps)):
            _run(config, graph, manifest=manifest, accelerator=accelerator, stop=stop)


def _run(
    config: PretrainConfig,
    graph: ViewGraph,
    *,
    manifest: Manifest,
    accelerator: Accelerator,
    stop: StopSignals,
) -> None:
    if accelerator.device.type == "cpu":
        share_cores(config.data.workers)
    feed = Feed(manifest, graph.signals, config.image, config.log_mel, config.data)
    pairs = cut_pairs(graph)
    quarantine = Quarantine.of_run(config.run, rank=rank())
    stream = feed.stream(pairs=pairs, seed=config.seed, quarantine=quarantine)
    held_out = HeldOut.decode(feed.fixed_batches(_held_out(config, graph, feed)))
    has_held_out = sum(gather_objects(len(held_out))) >= 2
    if not has_held_out:
        log.warning("no evaluation in the loop: the valid split has fewer than two usable clips")
    watch = _watch(config, graph, held_out, manifest)
    statistics = on_main(lambda: _statistics(config, feed, pairs))
    trained = build_trained(config, graph, statistics, accelerator)
    begun = resumed(config, trained, stream, processes=accelerator.num_processes)
    learned = any(parameter.requires_grad for parameter in trained.objective.parameters())
    loader = feed.batches(stream, config.optimizer, begun=begun, device=accelerator.device)
    with contextlib.closing(iter(loader)) as batches:
        parts = Pretraining(
            config=config,
            graph=graph,
            accelerator=accelerator,
            encoders=accelerator.prepare(TrainingPass(trained.encoders)),
            objective=accelerator.prepare(trained.objective) if learned else trained.objective,
            trained=trained,
            batches=batches,
            held_out=held_out if has_held_out else None,
            train=manifest.split("train"),
            watch=watch,
            begun=begun,
            stop=stop,
        )
        pretrain_steps(parts)


def _watch(config: PretrainConfig, graph: ViewGraph, held_out: HeldOut, manifest: Manifest) -> Watch:
    """Say what is shown of evaluations; every process takes part in it, as it knows its own clips only."""
    return Watch(
        graph=graph,
        settings=config.logging,
        clips=gather_clips(held_out, graph, thumbnails=config.logging.projector_clips),
        draw_matrix=matrix_pixels,
        draw_scores=scores_pixels,
        draw_examples=ExampleSheet(
            manifest.split("valid"),
            log_mel=config.log_mel,
            time_limit_seconds=config.data.time_limit_seconds,
        ),
    )


def _saturated(run: Path) -> Mapping[str, str]:
    """Name the terms that were saturated when training ended."""
    path = run / "metrics.jsonl"
    records = read_metrics(path) if path.is_file() else []
    return remedies(next((r for r in reversed(records) if r["kind"] == "train"), {}))


def _statistics(config: PretrainConfig, feed: Feed, pairs: Sequence[tuple[str, str]]) -> LogMelStatistics:
    """Measure the log-mel, unless there is a checkpoint that brings it."""
    if step_folders(config.run):
        return LogMelStatistics(0.0, 1.0)
    stream = feed.stream(pairs=pairs, seed=stable_seed(config.seed, "statistics"))
    return measure_log_mel(stream, workers=feed.data.workers, limits=Limits.of(feed.data))


def _held_out(config: PretrainConfig, graph: ViewGraph, feed: Feed) -> FixedClips:
    required = graph.retrieval_views or cut_pairs(graph)[0]
    return feed.fixed("valid", required=required, most=config.logging.evaluate_clips)
