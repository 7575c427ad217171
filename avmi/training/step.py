"""Batches → one update of the encoders: forward, backward and optimizer, and all that a run works with."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import UInt8
from torch import Tensor, nn

from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Manifest
from avmi.data import Batch, Batches, stable_seed
from avmi.mi.posterior import Posterior
from avmi.mi.view_matrix import ViewMatrix
from avmi.models.training_pass import Encoded
from avmi.objective import Loss, Objective
from avmi.training.clock import StepClock
from avmi.training.evaluation import HeldOut
from avmi.training.run_folder import Trained
from avmi.training.skipped import SkippedTerms
from avmi.views.graph import ViewGraph

DrawMatrix = Callable[[ViewMatrix], UInt8[np.ndarray, "height width 3"]]


@dataclass(frozen=True)
class Pretraining:
    """All that the loop works with."""

    config: PretrainConfig
    graph: ViewGraph
    accelerator: Accelerator
    encoders: nn.Module  # the pass of training over them, as accelerate wraps it
    objective: nn.Module
    trained: Trained  # the same parts, unwrapped, and the optimizer
    batches: Batches
    held_out: HeldOut | None  # None when no process has held-out clips
    train: Manifest
    draw_matrix: DrawMatrix  # shows the bounds between all views in TensorBoard

    @property
    def plain_objective(self) -> Objective:
        """The objective, unwrapped."""
        objective = self.trained.objective
        assert isinstance(objective, Objective)
        return objective


def optimizer_step(
    parts: Pretraining, clock: StepClock, skipped: SkippedTerms, *, step: int
) -> tuple[Loss, list[Batch], dict[str, Tensor]]:
    """Take `accumulation_steps` batches through forward and backward, then update once.

    Gives the last batch's loss and embeddings, these without gradient, and all batches.
    """
    accelerator, trained, settings = parts.accelerator, parts.trained, parts.config.optimizer
    batches: list[Batch] = []
    # Dropout and draws of codes are functions of seed, step and rank, so that a resumed run repeats them.
    torch.manual_seed(stable_seed(parts.config.seed, "step", step, accelerator.process_index))
    for _ in range(settings.accumulation_steps):
        with clock.waiting():
            batch = next(parts.batches)
        batches.append(batch)
        clock.clips += len(batch.specs) * accelerator.num_processes
        batch = batch.to(accelerator.device)
        with accelerator.accumulate(parts.encoders, parts.objective):
            encoded: Encoded = parts.encoders(batch.views)
            if trained.density_optimizer is not None:
                # Densities of private parts learn from this batch's codes first; they do not move the encoders.
                _fit_densities(parts, encoded, batch, trained.density_optimizer)
            loss: Loss = parts.objective(
                encoded.embeddings,
                rows=batch.rows,
                videos=batch.videos,
                seconds=batch.seconds,
                posteriors=encoded.posteriors,
                progress=(step + 1) / settings.steps,
            )
            accelerator.backward(loss.total)
        skipped.add(loss)
    parameters = [p for group in trained.optimizer.param_groups for p in group["params"]]
    accelerator.clip_grad_norm_(parameters, settings.max_gradient_norm)
    trained.optimizer.step()
    trained.optimizer.zero_grad(set_to_none=True)
    trained.schedule.step()
    parts.plain_objective.keep_temperature_in_range()
    return loss, batches, {name: embedding.detach() for name, embedding in encoded.embeddings.items()}


def _fit_densities(
    parts: Pretraining, encoded: Encoded, batch: Batch, optimizer: torch.optim.Optimizer
) -> None:
    objective = parts.plain_objective
    assert objective.codes is not None
    assert objective.codes.private is not None
    detached = {n: Posterior(*(part.detach() for part in p)) for n, p in encoded.posteriors.items()}
    codes = objective.join_codes(detached, rows=batch.rows, videos=batch.videos)
    objective.codes.private.fit(codes, optimizer)
