"""`avmi pretrain`: a configuration → a run folder with trained encoders."""

import contextlib
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from avmi.checkpoint import find_checkpoint, read_meta, step_folders
from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Manifest
from avmi.data import FixedClips, Limits, Quarantine, quarantined_in, share_cores, stable_seed, warm_up
from avmi.distributed import gather_objects, rank
from avmi.errors import CorpusError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.models.training_pass import TrainingPass
from avmi.objective import Objective
from avmi.objective.code_terms import CodeTerms
from avmi.report.mi_matrix import matrix_pixels
from avmi.training.evaluation import HeldOut
from avmi.training.feed import Feed, open_corpus
from avmi.training.log import read_metrics
from avmi.training.loop import pretrain_steps
from avmi.training.optimizer import build_optimizer, build_schedule, mixed_precision
from avmi.training.run_folder import Trained, claim, restore
from avmi.training.saturated import remedies, terms_as_text
from avmi.training.statistics import measure_log_mel
from avmi.training.step import Pretraining
from avmi.views.graph import ViewGraph, graph_of
from avmi.views.packed import check_packed
from avmi.views.reach import check_reach, cut_pairs, every_clip_has_every_view
from avmi.views.shapes import most_scores, view_shapes

log = logging.getLogger(__name__)

# Of an evaluation these are printed, and a line for each term; the rest is in metrics.jsonl.
RETRIEVED = ("image_to_audio/", "audio_to_image/", "same_label@1")
MOST_TERMS = 12  # lines of terms that a result prints; they fit a screen
# Scores of one pair beyond this are warned of: 1 GiB in float32, of which the gradient keeps several copies.
MANY_SCORES = 2**28


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
    reaches, `CorpusError` for an unusable corpus, `UsageError` for a run folder in use.
    """
    start = time.perf_counter()
    warm_up(config.data.workers)
    graph = graph_of(config)
    manifest = open_corpus(config.corpus, config.data)
    train = manifest.split("train")
    if not len(train):
        raise CorpusError(f"{config.corpus}: no video is in the train split")
    check_reach(graph, train)
    rate = config.log_mel.sample_rate_hz
    check_packed(graph.signals, image=config.image, sample_rate_hz=rate, corpus=manifest.corpus)
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
        saturated=_saturated(config.run),
        quarantined=quarantined_in(config.run),
    )


def _run(config: PretrainConfig, graph: ViewGraph, *, manifest: Manifest, accelerator: Accelerator) -> None:
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
    statistics = _statistics(feed, pairs, config.seed, accelerator)
    trained = _build(config, graph, statistics, accelerator)
    first_step = restore(config.run, trained)
    learned = any(parameter.requires_grad for parameter in trained.objective.parameters())
    loader = feed.batches(stream, config.optimizer, first_step=first_step, device=accelerator.device)
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
            draw_matrix=matrix_pixels,
        )
        pretrain_steps(parts, first_step=first_step)


def _saturated(run: Path) -> Mapping[str, str]:
    """Name the terms that were saturated when training ended."""
    path = run / "metrics.jsonl"
    records = read_metrics(path) if path.is_file() else []
    return remedies(next((r for r in reversed(records) if r["kind"] == "train"), {}))


def _accelerator(config: PretrainConfig, graph: ViewGraph) -> Accelerator:
    # A view may be missing from a whole batch: its encoder or head is then without gradient on this
    # process, which DDP must be told to expect.
    expected = not every_clip_has_every_view(graph)
    return Accelerator(
        mixed_precision=mixed_precision(config.optimizer.precision),
        gradient_accumulation_steps=config.optimizer.accumulation_steps,
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=expected)],
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
    grids = encoders.grids(view_shapes(graph.signals, image=config.image, log_mel=config.log_mel))
    head = config.encoders.head
    objective = Objective(
        graph,
        temperature=config.temperature,
        grids=grids,
        embedding_dim=head.embedding_dim,
        codes=_code_terms(config, graph),
    )
    _warn_of_many_scores(graph, grids, clips=config.data.batch_clips * accelerator.num_processes)
    # Processes exchange statistics in every pass: one whose batch lacks a view would make the others wait for ever.
    whole = every_clip_has_every_view(graph)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda" and whole:
        encoders = torch.nn.SyncBatchNorm.convert_sync_batchnorm(encoders)
    encoders, objective = encoders.to(accelerator.device), objective.to(accelerator.device)
    optimizer = accelerator.prepare(build_optimizer([encoders, objective], config.optimizer))
    private = objective.codes.private if objective.codes else None
    density_optimizer = private.optimizer() if private else None
    return Trained(
        encoders, objective, optimizer, build_schedule(optimizer, config.optimizer), density_optimizer
    )


def _code_terms(config: PretrainConfig, graph: ViewGraph) -> CodeTerms | None:
    """Build what the loss says of codes beside the pairs; None when the configuration asks for nothing."""
    head = config.encoders.head
    if config.bottleneck is None and not head.private_dim:
        return None
    return CodeTerms(
        head,
        bottleneck=config.bottleneck,
        private=config.private,
        views=graph.paired_views,
        pairs=tuple(dict.fromkeys((pair.first, pair.second) for pair in graph.pairs)),
    )


def _warn_of_many_scores(graph: ViewGraph, grids: Mapping[str, tuple[int, ...]], *, clips: int) -> None:
    name, count = most_scores(graph, grids, clips=clips)
    if count > MANY_SCORES:
        log.warning(
            "%s scores %.1f billion pairs of places in every batch, %.0f GB a copy: if memory runs out, give its "
            "feature views a smaller grid, or lower data.batch_clips",
            name,
            count / 1e9,
            4 * count / 1e9,
        )


def _statistics(
    feed: Feed, pairs: Sequence[tuple[str, str]], seed: int, accelerator: Accelerator
) -> LogMelStatistics:
    """Measure the log-mel on the main process, for all."""
    measured = None
    if accelerator.is_main_process:
        stream = feed.stream(pairs=pairs, seed=stable_seed(seed, "statistics"))
        data = feed.data
        measured = measure_log_mel(stream, workers=data.workers, limits=Limits.of(data))
    statistics: LogMelStatistics = gather_objects(measured)[0]
    return statistics


def _held_out(config: PretrainConfig, graph: ViewGraph, feed: Feed) -> FixedClips:
    required = graph.retrieval_views or cut_pairs(graph)[0]
    return feed.fixed("valid", required=required, most=config.logging.evaluate_clips)
