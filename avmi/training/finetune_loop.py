"""A classifier and labelled batches → a fine-tuned classifier in a run folder."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn
from tqdm import tqdm

from avmi.config.schema import FinetuneConfig, PretrainConfig
from avmi.corpus.manifest import Manifest
from avmi.data import Batches
from avmi.errors import TrainingError
from avmi.training.classifier import Classifier, classes_of, score_clips
from avmi.training.clock import StepClock, WaitWatch
from avmi.training.evaluation import HeldOut
from avmi.training.log import RunLog
from avmi.training.rejects import RejectedVideos
from avmi.training.run_folder import Trained, best_metrics, save


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


def finetune_steps(parts: Finetuning, *, first_step: int) -> None:
    """Run the optimizer steps from `first_step` on; the best checkpoint is that of the valid top-1."""
    steps, every = parts.config.optimizer.steps, parts.config.logging
    is_main = parts.accelerator.is_main_process
    clock, waits, rejected = StepClock(), WaitWatch(parts.config.data), RejectedVideos()
    valid, step = dict[str, float](), first_step
    run_log = RunLog(parts.config.run, first_step=first_step) if is_main else nullcontext()
    bar = tqdm(total=steps, initial=first_step, desc="finetune", unit="step", disable=not is_main)
    with run_log as record, bar:
        while step < steps:
            # Every rank: one optimizer step.
            loss = _optimizer_step(parts, clock, rejected)
            step += 1

            # Main rank, every few steps: scalars.
            if step % every.log_every_steps == 0 or step == steps:
                _require_finite(step, loss)
                if record:
                    rate = float(parts.trained.schedule.get_last_lr()[0])
                    scalars = {"loss": float(loss), "learning_rate": rate, **clock.scalars()}
                    scalars |= rejected.scalars() | parts.batches.scalars()
                    record.write(step, scalars, kind="train")
                    waits.check(scalars)
                    wait = f"{scalars['data_wait_share']:.0%}"
                    bar.set_postfix(loss=f"{scalars['loss']:.3f}", wait=wait, refresh=False)

            # Every rank scores its share of the held-out clips, seldom.
            if step % every.evaluate_every_steps == 0 or step == steps:
                valid = _evaluate(parts)
                if record and valid:
                    record.write(step, valid, kind="valid")

            # Main rank, seldom and at the end: a checkpoint.
            if step % every.checkpoint_every_steps == 0 or step == steps:
                _require_finite(step, loss)
                if is_main:
                    _save(parts, step=step, valid=valid)
                parts.accelerator.wait_for_everyone()
            bar.update()


def _optimizer_step(parts: Finetuning, clock: StepClock, rejected: RejectedVideos) -> Tensor:
    """Take `accumulation_steps` batches through forward and backward, then update once."""
    accelerator, trained, settings = parts.accelerator, parts.trained, parts.config.optimizer
    for _ in range(settings.accumulation_steps):
        with clock.waiting():
            batch = next(parts.batches)
        rejected.add(batch)
        clock.clips += len(batch.specs) * accelerator.num_processes
        with accelerator.accumulate(parts.classifier):
            scores = parts.classifier(batch.to(accelerator.device).views)
            classes = classes_of(batch, parts.numbers).to(accelerator.device, non_blocking=True)
            loss = F.cross_entropy(scores.float(), classes)
            accelerator.backward(loss)
    accelerator.clip_grad_norm_(parts.classifier.parameters(), settings.max_gradient_norm)
    trained.optimizer.step()
    trained.optimizer.zero_grad(set_to_none=True)
    trained.schedule.step()
    return loss.detach()


def _evaluate(parts: Finetuning) -> dict[str, float]:
    scored = score_clips(parts.plain, parts.held_out.batches, parts.numbers, device=parts.accelerator.device)
    if scored is None:
        return {}
    right = scored.scores.argmax(dim=1) == scored.classes
    return {
        "top1": float(right.double().mean()),
        "loss": float(F.nll_loss(scored.scores, scored.classes)),
    }


def _save(parts: Finetuning, *, step: int, valid: dict[str, float]) -> None:
    best = best_metrics(parts.config.run).get("top1")
    save(
        parts.config.run,
        parts.trained,
        config=parts.pretrained,
        step=step,
        metrics=valid,
        train_videos={video.content_id for video in parts.train},
        is_best=best is None or valid.get("top1", best) >= best,
        keep=parts.config.logging.keep_checkpoints,
    )


def _require_finite(step: int, loss: Tensor) -> None:
    if not loss.isfinite():
        raise TrainingError(
            f"the loss of step {step} is not finite: lower optimizer.learning_rate, or resume from the "
            "last checkpoint with another seed"
        )
