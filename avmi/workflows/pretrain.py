"""`avmi pretrain`: a configuration → a run folder with trained encoders."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from avmi.checkpoint import find_checkpoint, read_meta, step_folders
from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Manifest, read_manifest
from avmi.data import FixedClips, fixed_loader, share_cores, stable_seed
from avmi.distributed import gather_objects
from avmi.errors import CorpusError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Objective
from avmi.training.evaluation import HeldOut
from avmi.training.feed import Feed
from avmi.training.loop import Pretraining, pretrain_steps
from avmi.training.optimizer import build_optimizer, build_schedule, mixed_precision
from avmi.training.run_folder import Trained, claim, restore
from avmi.training.statistics import measure_log_mel
from avmi.views.graph import ViewGraph, build_graph, check_reach, require_trainable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainResult:
    """Where the run is and how well its best checkpoint does on held-out clips."""

    run: Path
    steps: int
    seconds: float
    checkpoint: Path
    valid: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "run": str(self.run),
            "steps": self.steps,
            "seconds": round(self.seconds, 1),
            "checkpoint": str(self.checkpoint),
            "valid": dict(self.valid),
        }

    def as_text(self) -> str:
        """Say it in a few lines."""
        lines = [f"{self.steps} steps in {self.seconds:.0f} s; best checkpoint: {self.checkpoint}"]
        lines += [f"  valid {name}: {value:.3f}" for name, value in self.valid.items()]
        return "\n".join(lines)


def pretrain(config: PretrainConfig, *, resume: bool = False) -> PretrainResult:
    """Pretrain encoders; with `resume`, go on with the run if it has begun.

    Every process of a distributed launch calls this. Raises `ConfigError` for views that no video
    reaches, `CorpusError` for an unusable corpus, `UsageError` for a run folder in use.
    """
    start = time.perf_counter()
    graph = build_graph(config.views, config.pairs, bound=config.bound, negatives=config.negatives)
    require_trainable(graph)
    manifest = read_manifest(config.corpus)
    train = manifest.split("train")
    if not len(train):
        raise CorpusError(f"{config.corpus}: no video is in the train split")
    check_reach(graph, train)
    accelerator = _accelerator(config, graph)
    if accelerator.is_main_process:
        claim(config.run, config, resume=resume)
    accelerator.wait_for_everyone()
    begun = step_folders(config.run)
    if not begun or read_meta(begun[-1])["step"] < config.optimizer.steps:
        _run(config, graph, manifest=manifest, accelerator=accelerator)
    accelerator.wait_for_everyone()
    best = find_checkpoint(config.run)
    return PretrainResult(
        run=config.run,
        steps=config.optimizer.steps,
        seconds=time.perf_counter() - start,
        checkpoint=best,
        valid=read_meta(best)["metrics"],
    )


def _run(config: PretrainConfig, graph: ViewGraph, *, manifest: Manifest, accelerator: Accelerator) -> None:
    if accelerator.device.type == "cpu":
        share_cores(config.data.workers)
    feed = Feed(manifest, graph.signals, config.image, config.log_mel, config.data)
    pairs = [(pair.first, pair.second) for pair in graph.pairs]
    stream = feed.stream(pairs=pairs, seed=config.seed)
    held_out = HeldOut.decode(fixed_loader(_held_out(config, graph, feed), workers=0))
    has_held_out = sum(gather_objects(len(held_out))) >= 2
    if not has_held_out:
        log.warning("no evaluation in the loop: the valid split has fewer than two usable clips")
    statistics = _statistics(feed, pairs, config.seed, accelerator)
    trained = _build(config, graph, statistics, accelerator)
    first_step = restore(config.run, trained)
    learned = config.temperature.learned
    pretrain_steps(
        Pretraining(
            config=config,
            graph=graph,
            accelerator=accelerator,
            encoders=accelerator.prepare(trained.encoders),
            objective=accelerator.prepare(trained.objective) if learned else trained.objective,
            trained=trained,
            batches=iter(
                feed.batches(stream, config.optimizer, first_step=first_step, device=accelerator.device)
            ),
            held_out=held_out if has_held_out else None,
            train=manifest.split("train"),
        ),
        first_step=first_step,
    )


def _accelerator(config: PretrainConfig, graph: ViewGraph) -> Accelerator:
    # Views beyond one picture and one sound may be missing from a whole batch: their encoder is
    # then without gradient on this rank, which DDP must be told to expect.
    unused = len(graph.encoder_names) > 2
    return Accelerator(
        mixed_precision=mixed_precision(config.optimizer.precision),
        gradient_accumulation_steps=config.optimizer.accumulation_steps,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=unused)],
    )


def _build(
    config: PretrainConfig,
    graph: ViewGraph,
    statistics: LogMelStatistics,
    accelerator: Accelerator,
) -> Trained:
    """Build the modules, alike in every process, and their optimizer."""
    torch.manual_seed(config.seed)
    encoders = Encoders(config.views, config.encoders, log_mel=statistics)
    objective = Objective(graph, temperature=config.temperature)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        encoders = torch.nn.SyncBatchNorm.convert_sync_batchnorm(encoders)
    encoders, objective = encoders.to(accelerator.device), objective.to(accelerator.device)
    optimizer = accelerator.prepare(build_optimizer([encoders, objective], config.optimizer))
    return Trained(encoders, objective, optimizer, build_schedule(optimizer, config.optimizer))


def _statistics(
    feed: Feed, pairs: Sequence[tuple[str, str]], seed: int, accelerator: Accelerator
) -> LogMelStatistics:
    """Measure the log-mel on the main process, for all."""
    measured = None
    if accelerator.is_main_process:
        stream = feed.stream(pairs=pairs, seed=stable_seed(seed, "statistics"))
        measured = measure_log_mel(stream)
    statistics: LogMelStatistics = gather_objects(measured)[0]
    return statistics


def _held_out(config: PretrainConfig, graph: ViewGraph, feed: Feed) -> FixedClips:
    first = graph.pairs[0]
    required = graph.retrieval_views or (first.first, first.second)
    return feed.fixed("valid", required=required, most=config.logging.evaluate_clips)
