"""A configuration and batches → the parts of a training run, without a run folder: for benchmarks of its steps."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from avmi.config.load import load_config
from avmi.config.schema import PretrainConfig
from avmi.config.views import FrameView
from avmi.corpus.manifest import Manifest
from avmi.data import Batch, Batches
from avmi.index import FoundClips
from avmi.models.encoders import LogMelStatistics
from avmi.models.training_pass import TrainingPass
from avmi.report.mi_matrix import matrix_pixels
from avmi.report.score_plots import scores_pixels
from avmi.training.build import accelerator_for, build_trained
from avmi.training.step import Pretraining
from avmi.training.watching.examples import ExampleSheet
from avmi.training.watching.watch import Watch
from avmi.views.graph import graph_of
from avmi.views.shapes import view_shapes

PRESETS = Path(__file__).resolve().parents[2] / "configs" / "pretrain"
MANY_STEPS = 10**6  # the benchmark ends a training, not a count
# Of the log-mel of recorded games; what is drawn has them, so that encoders see what they see in training.
DRAWN_LOG_MEL = LogMelStatistics(-7.0, 3.0)


def settings_of(preset: str, *overrides: str) -> PretrainConfig:
    """Load a configuration of `configs/pretrain`; a corpus is there only if it is among the overrides."""
    given = [f"optimizer.steps={MANY_STEPS}", "run=none", *overrides]
    return load_config(PRESETS / f"{preset}.yaml", given, schema=PretrainConfig)


def training_parts(config: PretrainConfig, batches: Batches, *, log_mel: LogMelStatistics) -> Pretraining:
    """Build what `avmi pretrain` builds, without evaluations and the folder of the run."""
    graph = graph_of(config)
    accelerator = accelerator_for(config, graph)
    trained = build_trained(config, graph, log_mel, accelerator)
    return Pretraining(
        config=config,
        graph=graph,
        accelerator=accelerator,
        encoders=accelerator.prepare(TrainingPass(trained.encoders)),
        objective=accelerator.prepare(trained.objective),
        trained=trained,
        batches=batches,
        held_out=None,
        train=Manifest(Path(), ()),
        watch=Watch(graph, config.logging, (), matrix_pixels, scores_pixels, _draw_nothing),
    )


def drawn_batch(config: PretrainConfig) -> Batch:
    """Draw the views of a batch: as large as real ones, and as many of each video."""
    generator, clips = torch.Generator().manual_seed(0), config.data.batch_clips
    signals = graph_of(config).signals
    shapes = view_shapes(signals, image=config.image, log_mel=config.log_mel)
    views = {
        name: torch.randint(256, (clips, *shape), dtype=torch.uint8, generator=generator)
        if isinstance(signals[name], FrameView)
        else DRAWN_LOG_MEL.mean + DRAWN_LOG_MEL.std * torch.randn(clips, *shape, generator=generator)
        for name, shape in shapes.items()
    }
    rows = {name: torch.arange(clips) for name in views}
    videos = torch.arange(clips) // config.data.clips_per_video
    return Batch(views, rows, videos, torch.arange(clips, dtype=torch.float32), specs=())


@dataclasses.dataclass(frozen=True)
class Repeated:
    """One batch without end: what a step costs when data is always there."""

    batch: Batch

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return self.batch

    def scalars(self) -> dict[str, float]:
        """Count nothing."""
        return {}

    def close(self) -> None:
        """Have nothing to end."""


def _draw_nothing(found: Sequence[FoundClips]) -> ExampleSheet:
    return np.zeros((1, 1, 3), dtype=np.uint8), [[] for _ in found]
