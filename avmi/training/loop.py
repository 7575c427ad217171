"""Encoders, objective and batches → trained encoders in a run folder: the loop of pretraining."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import UInt8
from torch import Tensor, nn
from tqdm import tqdm

from avmi.config.schema import PretrainConfig
from avmi.corpus.manifest import Manifest
from avmi.data import Batch, Batches, stable_seed
from avmi.errors import TrainingError
from avmi.mi.posterior import Posterior
from avmi.mi.view_matrix import ViewMatrix
from avmi.models.training_pass import Encoded
from avmi.objective import Loss, Objective
from avmi.training.clock import StepClock, WaitWatch
from avmi.training.collapse import CollapseWatch
from avmi.training.embedding_scalars import scalars_of_batch
from avmi.training.evaluation import Embedded, HeldOut, embed_held_out, evaluate
from avmi.training.log import RunLog, scalars_of
from avmi.training.rejects import RejectedVideos
from avmi.training.run_folder import Trained, best_metrics, save
from avmi.training.saturated import SaturatedTerms
from avmi.training.skipped import SkippedTerms
from avmi.training.view_matrix import view_matrix
from avmi.views.graph import ViewGraph

log = logging.getLogger(__name__)

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


def pretrain_steps(parts: Pretraining, *, first_step: int) -> dict[str, float]:
    """Run the optimizer steps from `first_step` on; return the last evaluation's scalars.

    Raises `TrainingError` when the loss is not finite, naming the step and its clips.
    """
    steps, every = parts.config.optimizer.steps, parts.config.logging
    is_main = parts.accelerator.is_main_process
    clock, waits, rejected = StepClock(), WaitWatch(parts.config.data), RejectedVideos()
    skipped = SkippedTerms()
    saturated, collapse = SaturatedTerms(), CollapseWatch()
    valid, step = dict[str, float](), first_step
    before: tuple[int, Loss, list[Batch]] | None = None
    run_log = RunLog(parts.config.run, first_step=first_step) if is_main else nullcontext()
    bar = tqdm(total=steps, initial=first_step, desc="pretrain", unit="step", disable=not is_main)
    with run_log as record, bar:
        while step < steps:
            # Every rank: wait for the data, then forward, backward and update; one optimizer step.
            loss, batches, embeddings = _optimizer_step(parts, clock, skipped, step=step)
            step += 1
            for batch in batches:
                rejected.add(batch)

            # Every rank: check the loss of the step before, which has been computed by now, so that
            # a GPU never waits. It is the same number on all ranks: all of them stop, or none.
            if before is not None:
                _require_finite(*before)
            before = (step, loss, batches)

            # Main rank, every few steps: scalars to TensorBoard and metrics.jsonl.
            if record and (step % every.log_every_steps == 0 or step == steps):
                scalars = scalars_of(loss) | clock.scalars() | skipped.scalars()
                scalars |= rejected.scalars() | parts.batches.scalars()
                scalars |= scalars_of_batch(embeddings, batches[-1], parts.graph)
                scalars["learning_rate"] = float(parts.trained.schedule.get_last_lr()[0])
                record.write(step, scalars, kind="train")
                saturated.check(step, scalars)
                collapse.check(step, scalars, kind="train")
                waits.check(scalars)
                wait = f"{scalars['data_wait_share']:.0%}"
                bar.set_postfix(loss=f"{scalars['loss']:.3f}", wait=wait, refresh=False)

            # Every rank embeds its share of the held-out clips, seldom; the main rank records it.
            if parts.held_out and (step % every.evaluate_every_steps == 0 or step == steps):
                _require_finite(*before)
                embedded, valid = _evaluate(parts, parts.held_out)
                if record:
                    record.write(step, valid, kind="valid")
                    matrix = view_matrix(embedded, valid, parts.graph)
                    record.write_picture(step, "valid/bound_nats_between_views", parts.draw_matrix(matrix))
                    collapse.check(step, valid, kind="valid")

            # Main rank, seldom and at the end: a checkpoint, of a step whose loss was checked.
            if step % every.checkpoint_every_steps == 0 or step == steps:
                _require_finite(*before)
                if is_main:
                    _save(parts, step=step, valid=valid)
                parts.accelerator.wait_for_everyone()
            bar.update()
    return valid


def _optimizer_step(
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
    _objective(parts).keep_temperature_in_range()
    return loss, batches, {name: embedding.detach() for name, embedding in encoded.embeddings.items()}


def _fit_densities(
    parts: Pretraining, encoded: Encoded, batch: Batch, optimizer: torch.optim.Optimizer
) -> None:
    objective = _objective(parts)
    assert objective.codes is not None
    assert objective.codes.private is not None
    detached = {n: Posterior(*(part.detach() for part in p)) for n, p in encoded.posteriors.items()}
    codes = objective.join_codes(detached, rows=batch.rows, videos=batch.videos)
    objective.codes.private.fit(codes, optimizer)


def _evaluate(parts: Pretraining, held_out: HeldOut) -> tuple[Embedded, dict[str, float]]:
    embedded = embed_held_out(
        parts.trained.encoders, held_out, graph=parts.graph, device=parts.accelerator.device
    )
    return embedded, evaluate(embedded, _objective(parts))


def _objective(parts: Pretraining) -> Objective:
    objective = parts.trained.objective
    assert isinstance(objective, Objective)
    return objective


def _save(parts: Pretraining, *, step: int, valid: dict[str, float]) -> None:
    """Save a checkpoint; it is the best one when its held-out bound is, or the last without one."""
    best = best_metrics(parts.config.run).get("bound_nats")
    save(
        parts.config.run,
        parts.trained,
        config=parts.config,
        step=step,
        metrics=valid,
        train_videos={video.content_id for video in parts.train},
        is_best=best is None or valid.get("bound_nats", best) >= best,
        keep=parts.config.logging.keep_checkpoints,
    )


def _require_finite(step: int, loss: Loss, batches: list[Batch]) -> None:
    if loss.total.isfinite():
        return
    broken = [name for name, term in loss.terms.items() if not term.loss.isfinite()]
    clips = [spec.clip_id for batch in batches for spec in batch.specs]
    raise TrainingError(
        f"the loss of step {step} is not finite (pairs {', '.join(broken)}; clips {', '.join(clips[:8])}, …): "
        "lower optimizer.learning_rate, or resume from the last checkpoint with another seed"
    )
