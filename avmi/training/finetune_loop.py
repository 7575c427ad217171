"""A classifier and labelled batches → a fine-tuned classifier in a run folder."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.corpus.manifest import Manifest
from avmi.data import Batch, Batches, stable_seed
from avmi.distributed import gather_objects, on_main
from avmi.training.classifier import Classifier, classes_of, score_clips
from avmi.training.clock import StepClock, WaitWatch
from avmi.training.optimizer import gather_state
from avmi.training.runs.progress import Progress, visits_per_step
from avmi.training.runs.run_folder import Trained, best_metrics, save
from avmi.training.stopping.finite import FiniteCheck, hold_updates
from avmi.training.stopping.preemption import StopSignals
from avmi.training.watching.evaluation import HeldOut
from avmi.training.watching.log import RunLog
from avmi.training.watching.rejects import RejectedVideos

_MOST_NAMED = 8  # clips in an error


@dataclass(frozen=True)
class Finetuning:
    """All that the loop works with."""

    config: FinetuneConfig
    pretrained: PretrainConfig  # configuration of the encoders, which travels on in the checkpoints
    accelerator: Accelerator
    classifier: nn.Module  # as accelerate wraps it
    plain: Classifier
    trained: Trained  # its encoders, its head, the optimizer
    numbers: Mapping[str, int]  # class name → number
    batches: Batches
    held_out: HeldOut
    train: Manifest
    begun: Progress  # where the run goes on
    stop: StopSignals

    @property
    def visits_per_step(self) -> int:
        """Visits of the stream that all processes take for one step."""
        config = self.config
        return visits_per_step(config.data, config.optimizer, processes=self.accelerator.num_processes)


def finetune_steps(parts: Finetuning) -> None:
    """Run the optimizer steps from where the run stands; the best checkpoint is that of the valid top-1.

    Raises `TrainingError` and `Preempted` as pretraining does.
    """
    steps, every, begun = parts.config.optimizer.steps, parts.config.logging, parts.begun
    is_main, counts = parts.accelerator.is_main_process, parts.trained.counts
    clock, waits, finite = StepClock(), WaitWatch(parts.config.data), FiniteCheck(parts.trained)
    valid, step = begun.metrics, begun.step
    run_log = RunLog.begin(parts.accelerator, parts.config, first_step=step) if is_main else nullcontext()
    bar = tqdm(total=steps, initial=step, desc="finetune", unit="step", disable=not is_main)
    with parts.stop.at_step_ends(), run_log as record, bar:
        while step < steps:
            # Every rank: ask all whether one was told to stop. The answer is there when the step is.
            stops = parts.stop.ask(parts.accelerator.device)

            # Every rank: one optimizer step.
            taken = _optimizer_step(parts, clock, counts.rejected, step=step)
            step += 1

            # Every rank: check the gradient of the step before, whose norm has come by now. The loss is that of this
            # rank's clips alone; one that is not finite leaves no finite gradient to any of them.
            norm = taken.gradient_norm
            finite.add(step, loss=torch.zeros_like(norm), gradient_norm=norm, details=partial(_clips, taken))

            # Main rank, every few steps: scalars.
            if record and (step % every.log_every_steps == 0 or step == steps):
                scalars = {"loss": float(taken.loss), "gradient_norm": float(taken.gradient_norm)}
                scalars |= {"learning_rate": float(parts.trained.schedule.get_last_lr()[0])}
                scalars |= clock.scalars() | counts.scalars() | parts.batches.scalars()
                record.write(step, scalars, kind="train")
                waits.check(scalars)
                wait = f"{scalars['data_wait_share']:.0%}"
                bar.set_postfix(loss=f"{scalars['loss']:.3f}", wait=wait, refresh=False)

            # Every rank scores its share of the held-out clips, seldom.
            if step % every.evaluate_every_steps == 0 or step == steps:
                finite.require()
                valid = _evaluate(parts)
                if record and valid:
                    record.write(step, valid, kind="valid")

            # Main rank, seldom, at the end and when the run is told to stop: a checkpoint. All wait for it.
            is_stopped, is_due = stops(), step % every.checkpoint_every_steps == 0 or step == steps
            if is_due or is_stopped:
                finite.require()
                progress = begun.after(step, visits_per_step=parts.visits_per_step, metrics=valid)
                gather_state(parts.trained.optimizer)
                on_main(partial(_save, parts, progress, may_be_best=is_due))
            bar.update()
            if is_stopped and step < steps:
                raise parts.stop.preempted(step)


@dataclass(frozen=True)
class _StepTaken:
    loss: Tensor  # of the last batch
    batches: list[Batch]
    scores: list[Tensor]  # of each batch
    gradient_norm: Tensor  # of all processes' gradients together


def _optimizer_step(
    parts: Finetuning, clock: StepClock, rejected: RejectedVideos, *, step: int
) -> _StepTaken:
    """Take `accumulation_steps` batches through forward and backward, then update once."""
    accelerator, trained, settings = parts.accelerator, parts.trained, parts.config.optimizer
    batches: list[Batch] = []
    all_scores: list[Tensor] = []
    # Dropout is a function of seed, step and rank, so that a resumed run repeats it.
    torch.manual_seed(stable_seed(parts.config.seed, "step", step, accelerator.process_index))
    for _ in range(settings.accumulation_steps):
        with clock.waiting():
            batch = next(parts.batches)
        batches.append(batch)
        rejected.add(batch)
        clock.clips += len(batch.specs) * accelerator.num_processes
        with accelerator.accumulate(parts.classifier):
            scores = parts.classifier(batch.to(accelerator.device).views)
            classes = classes_of(batch, parts.numbers).to(accelerator.device, non_blocking=True)
            loss = F.cross_entropy(scores.float(), classes)
            accelerator.backward(loss)
        all_scores.append(scores.detach())
    norm: Tensor = accelerator.clip_grad_norm_(parts.classifier.parameters(), settings.max_gradient_norm)
    hold_updates(trained, loss=norm, gradient_norm=norm)
    trained.optimizer.step()
    trained.optimizer.zero_grad(set_to_none=True)
    trained.schedule.step()
    return _StepTaken(loss.detach(), batches, all_scores, norm.detach())


def _clips(taken: _StepTaken) -> str:
    """Name the clips of all processes whose scores are not finite, or else all, for an error."""
    specs = [spec for batch in taken.batches for spec in batch.specs]
    whole = torch.cat(taken.scores).isfinite().all(dim=1).tolist()
    broken = [spec.clip_id for spec, is_whole in zip(specs, whole, strict=True) if not is_whole]
    mine = (broken, [spec.clip_id for spec in specs])
    found = gather_objects(mine)
    clips = [clip for some, _ in found for clip in some] or [clip for _, every in found for clip in every]
    return f"clips {', '.join(clips[:_MOST_NAMED])}" + (", …" if len(clips) > _MOST_NAMED else "")


def _evaluate(parts: Finetuning) -> dict[str, float]:
    scored = score_clips(parts.plain, parts.held_out.batches, parts.numbers, device=parts.accelerator.device)
    if scored is None:
        return {}
    right = scored.scores.argmax(dim=1) == scored.classes
    return {
        "top1": float(right.double().mean()),
        "loss": float(F.nll_loss(scored.scores, scored.classes)),
    }


def _save(parts: Finetuning, progress: Progress, *, may_be_best: bool) -> None:
    best, now = best_metrics(parts.config.run).get("top1"), progress.metrics
    save(
        parts.config.run,
        parts.trained,
        config=parts.pretrained,
        progress=progress,
        train_videos={video.content_id for video in parts.train},
        # What a signal has saved was not evaluated: without the signal there would be no such checkpoint.
        is_best=may_be_best and (best is None or now.get("top1", best) >= best),
        keep=parts.config.logging.keep_checkpoints,
    )
