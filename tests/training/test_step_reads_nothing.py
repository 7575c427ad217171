"""A step of training on a device whose numbers nobody can read: where a GPU would have to be waited for, it fails."""

import contextlib
import dataclasses

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from avmi.training.clock import StepClock
from avmi.training.runs.run_folder import Trained
from avmi.training.step import Pretraining, StepTaken, optimizer_step
from avmi.training.watching.skipped import SkippedTerms
from benchmarks.training.setting import DRAWN_LOG_MEL, Repeated, drawn_batch, settings_of, training_parts

# Tensors of torch's device meta have shapes and no numbers: .item(), bool(), .tolist(), .cpu(), .numpy() and shapes that
# depend on numbers raise. What code does for every device but CPUs it does here.
UNREADABLE = torch.device("meta")


class OnUnreadable(Accelerator):
    @property
    def device(self) -> torch.device:
        return UNREADABLE


class Reads(nn.Module):
    """An objective that looks at its loss."""

    def __init__(self, objective: nn.Module) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, *given, **named):
        loss = self.objective(*given, **named)
        assert float(loss.total.detach()) >= 0
        return loss


def unreadable_parts(preset: str) -> Pretraining:
    overrides = ["data.batch_clips=8", "image.size_px=32", "optimizer.steps=9"]
    config = settings_of(preset, *overrides)
    parts = training_parts(config, Repeated(drawn_batch(config)), log_mel=DRAWN_LOG_MEL)
    encoders, objective = parts.trained.encoders.to(UNREADABLE), parts.trained.objective.to(UNREADABLE)
    parameters = [*encoders.parameters(), *objective.parameters()]
    # Torch has no fused kernel for this device, and gives the loop over parameters the same numbers to read: none.
    optimizer = AdamW(parameters, lr=1e-3, foreach=False)
    trained = Trained(encoders, objective, optimizer, LambdaLR(optimizer, lambda _: 1.0))
    return dataclasses.replace(
        parts, accelerator=OnUnreadable(cpu=True), objective=objective, trained=trained
    )


def steps(parts: Pretraining, number: int) -> StepTaken:
    clock, skipped = StepClock(), SkippedTerms()
    taken = [optimizer_step(parts, clock, skipped, step=step) for step in range(number)]
    return taken[-1]


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    # Torch knows no half precision of this device; what is switched off with it is off anyway.
    monkeypatch.setattr(torch, "autocast", lambda *_given, **_named: contextlib.nullcontext())


# Bottleneck and private parts do read: whether any two clips are of different videos.
@pytest.mark.parametrize(
    "preset", ["quickstart", "synchrony", "augmented_multiscale", "contrastive_multiview_coding"]
)
def test_no_step_reads_a_value_back(preset: str) -> None:
    taken = steps(unreadable_parts(preset), 2)
    assert taken.loss.total.device == taken.gradient_norm.device == UNREADABLE
    assert {embedding.device for embedding in taken.embeddings.values()} == {UNREADABLE}


def test_a_step_that_reads_its_loss_is_found() -> None:
    parts = unreadable_parts("quickstart")
    with pytest.raises(RuntimeError, match="meta"):
        steps(dataclasses.replace(parts, objective=Reads(parts.objective)), 1)
