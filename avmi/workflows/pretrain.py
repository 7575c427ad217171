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
from avmi.corpus.plan import ClipSpec, SignalView, evaluation_clips
from avmi.data import (
    Cutter,
    FixedClips,
    StreamBatches,
    TrainingStream,
    fixed_loader,
    share_cores,
    stable_seed,
    training_loader,
)
from avmi.decode.choose import choose_decoder
from avmi.distributed import gather_objects, rank, world_size
from avmi.errors import CorpusError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Objective
from avmi.training.evaluation import HeldOut
from avmi.training.loop import Pretraining, pretrain_steps
from avmi.training.optimizer import build_optimizer, build_schedule, mixed_precision
from avmi.training.run_folder import Trained, claim, restore
from avmi.training.statistics import measure_log_mel
from avmi.views.graph import ViewGraph, build_graph, check_reach, require_trainable
from avmi.views.make import ViewMaker

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
        _run(config, graph, train=train, valid=manifest.split("valid"), accelerator=accelerator)
    best = find_checkpoint(config.run)
    return PretrainResult(
        run=config.run,
        steps=config.optimizer.steps,
        seconds=time.perf_counter() - start,
        checkpoint=best,
        valid=read_meta(best)["metrics"],
    )


def _run(
    config: PretrainConfig,
    graph: ViewGraph,
    *,
    train: Manifest,
    valid: Manifest,
    accelerator: Accelerator,
) -> None:
    if accelerator.device.type == "cpu":
        share_cores(config.data.workers)
    stream = _stream(config, graph, train, seed=config.seed)
    statistics = _statistics(config, graph, train, accelerator)
    torch.manual_seed(config.seed)
    encoders = Encoders(config.views, config.encoders, log_mel=statistics)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        encoders = torch.nn.SyncBatchNorm.convert_sync_batchnorm(encoders)
    objective = Objective(graph, temperature=config.temperature)
    optimizer = accelerator.prepare(build_optimizer([encoders, objective], config.optimizer))
    trained = Trained(
        encoders.to(accelerator.device),
        objective.to(accelerator.device),
        optimizer,
        build_schedule(optimizer, config.optimizer),
    )
    first_step = restore(config.run, trained)
    held_out = HeldOut.decode(fixed_loader(_held_out(config, graph, valid), workers=0))
    counts = gather_objects(len(held_out))
    if sum(counts) < 2:
        log.warning("no evaluation in the loop: the valid split has fewer than two usable clips")
    loader = training_loader(
        stream,
        _batches(config, first_step=first_step),
        workers=config.data.workers,
        pin_memory=accelerator.device.type == "cuda",
    )
    parts = Pretraining(
        config=config,
        graph=graph,
        accelerator=accelerator,
        encoders=accelerator.prepare(encoders),
        objective=accelerator.prepare(objective) if config.temperature.learned else objective,
        trained=trained,
        batches=iter(loader),
        held_out=held_out if sum(counts) >= 2 else None,
        train=train,
    )
    pretrain_steps(parts, first_step=first_step)
    accelerator.wait_for_everyone()


def _accelerator(config: PretrainConfig, graph: ViewGraph) -> Accelerator:
    # Views beyond one picture and one sound may be missing from a whole batch: their encoder is
    # then without gradient on this rank, which DDP must be told to expect.
    names = {view.encoder for view in graph.signals.values()}
    return Accelerator(
        mixed_precision=mixed_precision(config.optimizer.precision),
        gradient_accumulation_steps=config.optimizer.accumulation_steps,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=len(names) > 2)],
    )


def _cutter(config: PretrainConfig, graph: ViewGraph, manifest: Manifest) -> Cutter:
    maker = ViewMaker(graph.signals, image=config.image, log_mel=config.log_mel)
    decoder = choose_decoder(config.data.decoder, fallback=config.data.decoder_fallback)
    return Cutter(manifest, maker, decoder)


def _stream(config: PretrainConfig, graph: ViewGraph, manifest: Manifest, *, seed: int) -> TrainingStream:
    return TrainingStream(
        _cutter(config, graph, manifest),
        pairs=[(pair.first, pair.second) for pair in graph.pairs],
        clips_per_video=config.data.clips_per_video,
        seed=seed,
    )


def _batches(config: PretrainConfig, *, first_step: int) -> StreamBatches:
    accumulation = config.optimizer.accumulation_steps
    return StreamBatches(
        first_step=first_step * accumulation,
        steps=config.optimizer.steps * accumulation,
        videos_per_batch=config.data.batch_clips // config.data.clips_per_video,
        rank=rank(),
        world_size=world_size(),
    )


def _statistics(
    config: PretrainConfig, graph: ViewGraph, train: Manifest, accelerator: Accelerator
) -> LogMelStatistics:
    """Measure the log-mel on the main process, for all."""
    measured = None
    if accelerator.is_main_process:
        measured = measure_log_mel(_stream(config, graph, train, seed=stable_seed(config.seed, "statistics")))
    statistics: LogMelStatistics = gather_objects(measured)[0]
    return statistics


def _held_out(config: PretrainConfig, graph: ViewGraph, valid: Manifest) -> FixedClips:
    """Choose this process's share of at most `evaluate_clips` clips, evenly over the valid split."""
    pair = graph.retrieval_views or (graph.pairs[0].first, graph.pairs[0].second)
    views: Mapping[str, SignalView] = graph.signals
    specs = evaluation_clips(
        valid,
        views,
        required=pair,
        hop_seconds=config.data.evaluation_hop_seconds,
        most_per_video=config.data.evaluation_clips_per_video,
    )
    chosen: Sequence[ClipSpec] = specs[:: -(-len(specs) // config.logging.evaluate_clips) or 1]
    return FixedClips(_cutter(config, graph, valid), chosen[rank() :: world_size()])
