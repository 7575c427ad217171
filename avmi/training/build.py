"""A configuration and its graph → the processes' accelerator, and encoders, objective and optimizer to train."""

import logging
from collections.abc import Mapping, Sequence

import torch
from accelerate import Accelerator

from avmi.config.schema import PretrainConfig
from avmi.distributed import world_size
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.objective import Objective
from avmi.objective.code_terms import CodeTerms
from avmi.training.launch import join_processes
from avmi.training.optimizer import (
    build_optimizer,
    build_schedule,
    build_sharded_optimizer,
)
from avmi.training.runs.run_folder import Trained
from avmi.views.graph import Pair, ViewGraph
from avmi.views.reach import every_clip_has_every_view
from avmi.views.shapes import most_scores, view_shapes

log = logging.getLogger(__name__)

# Scores of one pair beyond this are warned of: 1 GiB in float32, of which the gradient keeps several copies.
MANY_SCORES = 2**28


def accelerator_for(config: PretrainConfig, graph: ViewGraph) -> Accelerator:
    """Join the processes of the launch; raises as `join_processes` does."""
    # A view may be missing from a whole batch: its encoder or head is then without gradient on this process.
    lacking = not every_clip_has_every_view(graph)
    return join_processes(config.optimizer, config.logging, run=config.run, some_without_gradient=lacking)


def build_trained(
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
    _warn_of_many_scores(
        objective.scored_pairs, grids, clips=config.data.batch_clips * accelerator.num_processes
    )
    # Processes exchange statistics in every pass: one whose batch lacks a view would make the others wait for ever.
    whole = every_clip_has_every_view(graph)
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda" and whole:
        encoders = torch.nn.SyncBatchNorm.convert_sync_batchnorm(encoders)
    encoders, objective = encoders.to(accelerator.device), objective.to(accelerator.device)
    build = build_sharded_optimizer if config.optimizer.sharded and world_size() > 1 else build_optimizer
    # Its state is still empty: nothing is to be placed on the device.
    optimizer = accelerator.prepare_optimizer(
        build([encoders, objective], config.optimizer), device_placement=False
    )
    private = objective.codes.private if objective.codes else None
    density_optimizer = private.optimizer() if private else None
    schedule = build_schedule(optimizer, config.optimizer)
    return Trained(encoders, objective, optimizer, schedule, density_optimizer, scaler=accelerator.scaler)


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


def _warn_of_many_scores(pairs: Sequence[Pair], grids: Mapping[str, tuple[int, ...]], *, clips: int) -> None:
    name, count = most_scores(pairs, grids, clips=clips)
    if count > MANY_SCORES:
        log.warning(
            "%s scores %.1f billion pairs of places in every batch, %.0f GB a copy: if memory runs out, give its "
            "feature views a smaller grid, or lower data.batch_clips",
            name,
            count / 1e9,
            4 * count / 1e9,
        )
