"""Optimizer steps ↔ visits of the stream of clips: how far a run has come, and where it goes on."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from avmi.config.data import Data
from avmi.config.parts import Optimizer


def visits_per_step(data: Data, optimizer: Optimizer, *, processes: int) -> int:
    """Count the visits of the stream, each to one video, that all processes together take for one optimizer step."""
    return optimizer.accumulation_steps * processes * (data.batch_clips // data.clips_per_video)


@dataclass(frozen=True)
class Progress:
    """How far a run has come; the beginning by default."""

    step: int = 0
    visits: int = 0  # of the stream, that all processes have taken: the next batch begins there
    processes: int = 1
    corpus: str = ""  # hash of the training videos in the order of their visits; none in old checkpoints
    metrics: Mapping[str, Any] = field(default_factory=dict)  # of the last evaluation

    def after(self, step: int, *, visits_per_step: int, metrics: Mapping[str, Any]) -> "Progress":
        """Go on to a later step."""
        visits = self.visits + (step - self.step) * visits_per_step
        return dataclasses.replace(self, step=step, visits=visits, metrics=metrics)
