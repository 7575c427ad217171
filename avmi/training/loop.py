"""Encoders, objective and batches → trained encoders in a run folder: the loop of pretraining."""

from collections.abc import Mapping
from contextlib import nullcontext
from functools import partial

from tqdm import tqdm

from avmi.distributed import on_main
from avmi.training.clock import StepClock, WaitWatch
from avmi.training.optimizer import gather_state
from avmi.training.runs.progress import Progress
from avmi.training.runs.run_folder import best_metrics, save
from avmi.training.step import Pretraining, optimizer_step
from avmi.training.stopping import culprits
from avmi.training.stopping.finite import FiniteCheck
from avmi.training.watching.embedding_scalars import scalars_of_batch
from avmi.training.watching.evaluation import Embedded, HeldOut, embed_held_out, evaluate
from avmi.training.watching.log import RunLog
from avmi.training.watching.loss_scalars import scalars_of


def pretrain_steps(parts: Pretraining) -> Mapping[str, float]:
    """Run the optimizer steps from where the run stands; return the last evaluation's scalars.

    Raises `TrainingError` when the loss or the gradient is not finite, naming the step, the pairs and the clips, and
    `Preempted` when a signal has asked the run to end and a checkpoint is saved.
    """
    steps, every, begun = parts.config.optimizer.steps, parts.config.logging, parts.begun
    is_main, counts = parts.accelerator.is_main_process, parts.trained.counts
    clock, waits, finite = StepClock(), WaitWatch(parts.config.data), FiniteCheck(parts.trained)
    valid, step = begun.metrics, begun.step
    run_log = RunLog.begin(parts.accelerator, parts.config, first_step=step) if is_main else nullcontext()
    bar = tqdm(total=steps, initial=step, desc="pretrain", unit="step", disable=not is_main)
    with parts.stop.at_step_ends(), run_log as record, bar:
        while step < steps:
            # Every rank: ask all whether one was told to stop. The answer is there when the step is.
            stops = parts.stop.ask(parts.accelerator.device)

            # Every rank: wait for the data, then forward, backward and update; one optimizer step.
            taken = optimizer_step(parts, clock, counts.skipped, step=step)
            step = taken.step
            for batch in taken.batches:
                counts.rejected.add(batch)

            # Every rank: check the step before, whose numbers have come by now.
            finite.add(
                step,
                loss=taken.loss.total,
                gradient_norm=taken.gradient_norm,
                details=partial(culprits.told, parts, taken),
            )

            # Main rank, every few steps: scalars to TensorBoard and metrics.jsonl.
            if record and (step % every.log_every_steps == 0 or step == steps):
                scalars = (
                    scalars_of(taken.loss) | clock.scalars() | counts.scalars() | parts.batches.scalars()
                )
                scalars |= scalars_of_batch(taken.embeddings, taken.batches[-1], parts.graph)
                scalars["gradient_norm"] = float(taken.gradient_norm)
                scalars["learning_rate"] = float(parts.trained.schedule.get_last_lr()[0])
                record.write(step, scalars, kind="train")
                counts.saturated.check(step, scalars)
                counts.collapse.check(step, scalars, kind="train")
                waits.check(scalars)
                wait = f"{scalars['data_wait_share']:.0%}"
                bar.set_postfix(loss=f"{scalars['loss']:.3f}", wait=wait, refresh=False)

            # Every rank embeds its share of the held-out clips, seldom; the main rank records it: scalars,
            # histograms of scores, pictures, points, and sounds.
            if parts.held_out and (step % every.evaluate_every_steps == 0 or step == steps):
                finite.require()
                embedded, valid = _evaluate(parts, parts.held_out)
                if record:
                    valid |= parts.watch.write_scores(
                        record,
                        step,
                        objective=parts.plain_objective,
                        held_out=embedded,
                        batch=taken.batches[-1],
                        embeddings=taken.embeddings,
                    )
                    record.write(step, valid, kind="valid")
                    parts.watch.write_pictures(record, step, embedded, valid)
                    counts.collapse.check(step, valid, kind="valid")

            # Main rank, seldom, at the end and when the run is told to stop: a checkpoint of a step that was checked.
            # All wait for it.
            is_stopped, is_due = stops(), step % every.checkpoint_every_steps == 0 or step == steps
            if is_due or is_stopped:
                finite.require()
                progress = begun.after(step, visits_per_step=parts.visits_per_step, metrics=valid)
                gather_state(parts.trained.optimizer)
                on_main(partial(_save, parts, progress, may_be_best=is_due))
            bar.update()
            if is_stopped and step < steps:
                raise parts.stop.preempted(step)
    return valid


def _evaluate(parts: Pretraining, held_out: HeldOut) -> tuple[Embedded, dict[str, float]]:
    embedded = embed_held_out(
        parts.trained.encoders, held_out, graph=parts.graph, device=parts.accelerator.device
    )
    return embedded, evaluate(embedded, parts.plain_objective)


def _save(parts: Pretraining, progress: Progress, *, may_be_best: bool) -> None:
    """Save a checkpoint; it is the best one when its held-out bound is, or the last without one."""
    best, now = best_metrics(parts.config.run).get("bound_nats"), progress.metrics
    save(
        parts.config.run,
        parts.trained,
        config=parts.config,
        progress=progress,
        train_videos={video.content_id for video in parts.train},
        # What a signal has saved was not evaluated: without the signal there would be no such checkpoint.
        is_best=may_be_best and (best is None or now.get("bound_nats", best) >= best),
        keep=parts.config.logging.keep_checkpoints,
    )
