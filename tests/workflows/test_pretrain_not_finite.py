"""Numbers that are not finite in the middle of a training run → an error that says where they come from."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from avmi.data import Batch
from avmi.errors import TrainingError
from avmi.objective import Objective
from avmi.training import loop
from avmi.training.step import Pretraining
from avmi.workflows.pretrain import pretrain

AT = 3  # the step that goes wrong; step 2 is saved, and what is wrong is found at step 4
SETTINGS = {"optimizer": {"steps": 8}, "logging": {"evaluate_every_steps": 100, "checkpoint_every_steps": 2}}
VIEWS = {
    "image": {"kind": "frame"},
    "later": {"kind": "frame", "at_seconds": 0.4},
    "sound": {"kind": "audio", "window_seconds": 1.0},
}


class Spoiled(torch.autograd.Function):
    """Hand values on and spoil their gradient."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient * float("inf")


@pytest.fixture
def from_step(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Pretraining]]:
    """Have something happen before a step, counted from 1; gives the parts of the run, once it has begun."""

    def arrange(step: int, what: Callable[[], None]) -> list[Pretraining]:
        take_step, seen = loop.optimizer_step, []

        def watched(parts, *arguments, **settings):
            seen.append(parts)
            if len(seen) == step:
                what()
            return take_step(parts, *arguments, **settings)

        monkeypatch.setattr(loop, "optimizer_step", watched)
        return seen

    return arrange


def refusal(config) -> str:
    with pytest.raises(TrainingError) as caught:
        pretrain(config)
    assert sorted(path.name for path in (config.run / "checkpoints").iterdir()) == ["step_00000002"]
    return str(caught.value)


def saved_weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "checkpoints" / "step_00000002" / "weights.safetensors")


def test_one_broken_clip_is_named_with_its_view_and_pairs(
    tiny_corpus, tiny_config, tmp_path, monkeypatch
) -> None:
    move, batches = Batch.to, dict[tuple, int]()

    def moved(self: Batch, device: torch.device) -> Batch:
        there = move(self, device)
        if batches.setdefault(self.specs, len(batches) + 1) != AT:
            return there
        sound = there.views["sound"].clone()
        sound[4] = float("nan")
        return dataclasses.replace(there, views={**there.views, "sound": sound})

    monkeypatch.setattr(Batch, "to", moved)
    said = refusal(tiny_config(tiny_corpus, tmp_path / "run", views=VIEWS, **SETTINGS))
    clip = next(specs for specs, number in batches.items() if number == AT)[4].clip_id
    assert said.startswith(
        f"the loss of step {AT} is not finite (pairs image~sound, later~sound; views sound; clips {clip}): "
    )


def test_a_gradient_that_one_pair_spoils_names_the_pair(
    tiny_corpus, tiny_config, tmp_path, monkeypatch, from_step
) -> None:
    bound_all = Objective.terms

    def spoiled(self: Objective, joined):
        terms = bound_all(self, joined)
        broken = terms["later~sound"]
        return {**terms, "later~sound": dataclasses.replace(broken, loss=Spoiled.apply(broken.loss))}

    seen = from_step(AT, lambda: monkeypatch.setattr(Objective, "terms", spoiled))
    config = tiny_config(tiny_corpus, tmp_path / "run", views=VIEWS, **SETTINGS)
    said = refusal(config)
    assert said.startswith(f"the gradient of step {AT} is not finite (pairs later~sound; clips ")
    # The update of that step and that of the one after were left out.
    now = seen[-1].trained.encoders.state_dict()
    assert len(seen) == AT + 1
    assert all(torch.equal(now[name], tensor) for name, tensor in saved_weights(config.run).items())


def test_a_gradient_that_an_encoder_spoils_names_its_weights(
    tiny_corpus, tiny_config, tmp_path, from_step
) -> None:
    def spoil() -> None:
        weight = seen[0].trained.encoders.get_parameter(name)
        weight.register_hook(lambda gradient: gradient * float("nan"))

    seen = from_step(AT, spoil)
    config = tiny_config(
        tiny_corpus, tmp_path / "run", **{**SETTINGS, "optimizer": {"steps": 8, "accumulation_steps": 2}}
    )
    name = "by_name.audio.backbone.stage1.0.weight"
    said = refusal(config)
    assert said.startswith(f"the gradient of step {AT} is not finite (clips ")
    assert f"gradients of {name}): " in said
