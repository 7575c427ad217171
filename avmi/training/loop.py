"""Encoders, objective and batches → trained encoders in a run folder: the loop of pretraining."""

import logging
from contextlib import nullcontext

from tqdm import tqdm

from avmi.data import Batch
from avmi.errors import TrainingError
from avmi.objective import Loss
from avmi.training.clock import StepClock, WaitWatch
from avmi.training.collapse import CollapseWatch
from avmi.training.embedding_scalars import scalars_of_batch
from avmi.training.evaluation import Embedded, HeldOut, embed_held_out, evaluate
from avmi.training.log import RunLog, scalars_of
from avmi.training.rejects import RejectedVideos
from avmi.training.run_folder import best_metrics, save
from avmi.training.saturated import SaturatedTerms
from avmi.training.skipped import SkippedTerms
from avmi.training.step import Pretraining, optimizer_step
from avmi.training.view_matrix import view_matrix

log = logging.getLogger(__name__)


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
            loss, batches, embeddings = optimizer_step(parts, clock, skipped, step=step)
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


def _evaluate(parts: Pretraining, held_out: HeldOut) -> tuple[Embedded, dict[str, float]]:
    embedded = embed_held_out(
        parts.trained.encoders, held_out, graph=parts.graph, device=parts.accelerator.device
    )
    return embedded, evaluate(embedded, parts.plain_objective)


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
