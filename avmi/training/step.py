"""Batches → one update of the encoders: forward, backward and optimizer, and all that a run works with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Manifest
from avmi.data import Batch, Batches, stable_seed
from avmi.mi.posterior import Posterior
from avmi.models.training_pass import Encoded
from avmi.objective import Loss, Objective
from avmi.training.clock import StepClock
from avmi.training.gradient_cache import chunks_of, encode_in_chunks
from avmi.training.mean_loss import mean_of
from avmi.training.runs.progress import Progress, visits_per_step
from avmi.training.runs.run_folder import Trained
from avmi.training.stopping.finite import hold_updates
from avmi.training.stopping.preemption import StopSignals
from avmi.training.watching.evaluation import HeldOut
from avmi.training.watching.skipped import SkippedTerms
from avmi.training.watching.watch import Watch
from avmi.views.graph import ViewGraph


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
    watch: Watch  # what TensorBoard shows of evaluations
    begun: Progress = field(default_factory=Progress)  # where the run goes on
    stop: StopSignals = field(default_factory=StopSignals)  # hears nothing by default

    @property
    def visits_per_step(self) -> int:
        """Visits of the stream that all processes take for one step."""
        config = self.config
        return visits_per_step(config.data, config.optimizer, processes=self.accelerator.num_processes)

    @property
    def plain_objective(self) -> Objective:
        """The objective, unwrapped."""
        objective = self.trained.objective
        assert isinstance(objective, Objective)
        return objective


@dataclass(frozen=True)
class StepTaken:
    """What an optimizer step leaves."""

    step: int  # how many steps the run has taken, with this one
    loss: Loss  # mean of the batches' losses
    batches: list[Batch]
    embeddings: Mapping[str, Tensor]  # of the last batch, without gradient
    gradient_norm: Tensor  # of all processes' gradients together, before it was scaled down


def optimizer_step(parts: Pretraining, clock: StepClock, skipped: SkippedTerms, *, step: int) -> StepTaken:
    """Take `accumulation_steps` batches through forward and backward, then update once."""
    accelerator, trained, settings = parts.accelerator, parts.trained, parts.config.optimizer
    batches: list[Batch] = []
    losses: list[Loss] = []
    # Dropout and draws of codes are functions of seed, step and rank, so that a resumed run repeats them.
    seeds = (parts.config.seed, "step", step, accelerator.process_index)
    torch.manual_seed(stable_seed(*seeds))
    for number in range(settings.accumulation_steps):
        with clock.waiting():
            batch = next(parts.batches)
        batches.append(batch)
        clock.clips += len(batch.specs) * accelerator.num_processes
        # Processes exchange gradients with the last batch only.
        with accelerator.accumulate(parts.encoders, parts.objective):
            loss, encoded = _forward_backward(
                parts, batch, progress=(step + 1) / settings.steps, seed=stable_seed(*seeds, number)
            )
        skipped.add(loss)
        losses.append(loss)
    parameters = [p for group in trained.optimizer.param_groups for p in group["params"]]
    norm: Tensor = accelerator.clip_grad_norm_(parameters, settings.max_gradient_norm)
    loss = mean_of(losses)
    hold_updates(trained, loss=loss.total, gradient_norm=norm)
    trained.optimizer.step()
    trained.optimizer.zero_grad(set_to_none=True)
    trained.schedule.step()
    parts.plain_objective.keep_temperature_in_range()
    embeddings = {name: embedding.detach() for name, embedding in encoded.embeddings.items()}
    return StepTaken(step + 1, loss, batches, embeddings, norm.detach())


def _forward_backward(
    parts: Pretraining, batch: Batch, *, progress: float, seed: int
) -> tuple[Loss, Encoded]:
    """Add a batch's gradients to the parameters', through the encoders at once or a chunk at a time.

    `seed` is that of the chunks' draws, `progress` the share of the training that is done.
    """
    accelerator, chunk_clips = parts.accelerator, parts.config.optimizer.chunk_clips
    there, clips = batch.to(accelerator.device), len(batch.videos)
    if chunk_clips is None or clips <= chunk_clips:
        encoded: Encoded = parts.encoders(there.views)
        loss = _loss_of(parts, encoded, there, progress=progress)
        accelerator.backward(loss.total)
        return loss, encoded
    chunks = chunks_of(batch.rows, clips=clips, chunk_clips=chunk_clips)
    cached = encode_in_chunks(parts.encoders, there.views, chunks=chunks, seed=seed)
    loss = _loss_of(parts, cached.encoded, there, progress=progress)
    accelerator.backward(loss.total)
    cached.backward(no_sync=partial(accelerator.no_sync, parts.encoders))
    return loss, cached.encoded


def _loss_of(parts: Pretraining, encoded: Encoded, batch: Batch, *, progress: float) -> Loss:
    density_optimizer = parts.trained.density_optimizer
    if density_optimizer is not None:
        # Densities of private parts learn from this batch's codes first; they do not move the encoders.
        _fit_densities(parts, encoded, batch, density_optimizer)
    loss: Loss = parts.objective(
        encoded.embeddings,
        rows=batch.rows,
        videos=batch.videos,
        seconds=batch.seconds,
        posteriors=encoded.posteriors,
        progress=progress,
    )
    return loss


def _fit_densities(
    parts: Pretraining, encoded: Encoded, batch: Batch, optimizer: torch.optim.Optimizer
) -> None:
    objective = parts.plain_objective
    assert objective.codes is not None
    assert objective.codes.private is not None
    detached = {n: Posterior(*(part.detach() for part in p)) for n, p in encoded.posteriors.items()}
    codes = objective.join_codes(detached, rows=batch.rows, videos=batch.videos)
    objective.codes.private.fit(codes, optimizer)
