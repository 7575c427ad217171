"""A step of training: the share of the encoders, the layout of their maps, and the optimizer, in turns in one run.

Run by hand: `OMP_NUM_THREADS=1 python -m benchmarks.training.step [--json]`. Views are drawn, as large as real ones; data is
always there. CPU time of one thread.

- `the step without encoders` is the same code with embeddings and gradients that are there already: the loss forward and
  backward, the gradient's norm, the optimizer, the bookkeeping. What is left of a step are the encoders.
- `channels outermost` are the same encoders with maps in torch's usual layout.
- The optimizers update the parameters of all encoders, from the same gradients.
"""

import copy
import dataclasses
import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from unittest import mock

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from avmi.config.schema import PretrainConfig
from avmi.models.encoders import Encoders
from avmi.models.training_pass import Encoded
from avmi.training.clock import StepClock
from avmi.training.optimizer import build_optimizer
from avmi.training.step import optimizer_step
from avmi.training.watching.skipped import SkippedTerms
from benchmarks.media.paired import Paired, paired, show
from benchmarks.training.setting import DRAWN_LOG_MEL, Repeated, drawn_batch, settings_of, training_parts

# The quickstart; and pictures of 112 px, for which published speeds of ResNet-18 on CPUs are.
SETTINGS: Mapping[str, tuple[str, ...]] = {
    "quickstart: small_conv of width 32, 96 px": (),
    "resnet18, 112 px": ("image.size_px=112", *(f"encoders.{e}.name=resnet18" for e in ("image", "audio"))),
}

Way = Callable[[], object]


def main() -> None:
    results = []
    for about, overrides in SETTINGS.items():
        config = settings_of("quickstart", *overrides)
        results += [_shares(about, config), _layouts(about, config), _optimizers(about, config)]
    show(results)


def _shares(about: str, config: PretrainConfig) -> Paired:
    batch = drawn_batch(config)
    parts = training_parts(config, Repeated(batch), log_mel=DRAWN_LOG_MEL)
    clock, skipped = StepClock(), SkippedTerms()
    without = dataclasses.replace(parts, encoders=_Ready(parts.trained.encoders, batch.views))
    ways: dict[str, Way] = {
        "the whole step": functools.partial(optimizer_step, parts, clock, skipped, step=0),
        "the step without encoders": functools.partial(optimizer_step, without, clock, skipped, step=0),
    }
    return paired(f"{about}, {config.data.batch_clips} clips: a step", ways, ours="the whole step")


class _Ready(nn.Module):
    """Encoders whose embeddings and gradients are there already."""

    def __init__(self, encoders: Encoders, views: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._encoders = encoders
        with torch.no_grad():
            self._embeddings = encoders(views)
        self._gradients = [torch.full_like(parameter, 1e-3) for parameter in encoders.parameters()]

    def forward(self, views: Mapping[str, Tensor]) -> Encoded:
        """Give the embeddings, and every parameter its gradient."""
        for parameter, gradient in zip(self._encoders.parameters(), self._gradients, strict=True):
            parameter.grad = gradient
        return Encoded({name: self._embeddings[name].clone().requires_grad_() for name in views}, {})


def _layouts(about: str, config: PretrainConfig) -> Paired:
    views = drawn_batch(config).views
    innermost = Encoders(config.views, config.encoders, log_mel=DRAWN_LOG_MEL)
    with _usual_layout():
        outermost = Encoders(config.views, config.encoders, log_mel=DRAWN_LOG_MEL)

    def in_usual_layout() -> None:
        with _usual_layout():
            _forward_backward(outermost, views)

    ways: dict[str, Way] = {
        "channels innermost": functools.partial(_forward_backward, innermost, views),
        "channels outermost": in_usual_layout,
    }
    return paired(f"{about}: encoders, forward and backward", ways, ours="channels innermost")


def _usual_layout() -> AbstractContextManager[object]:
    """Let the backbones, which ask torch for the layout with the channels innermost, have the usual one."""
    return mock.patch.object(torch, "channels_last", torch.contiguous_format)


def _optimizers(about: str, config: PretrainConfig) -> Paired:
    first = Encoders(config.views, config.encoders, log_mel=DRAWN_LOG_MEL)
    fused, foreach, loop = first, copy.deepcopy(first), copy.deepcopy(first)
    rate, decay = config.optimizer.learning_rate, config.optimizer.weight_decay
    optimizers: dict[str, torch.optim.Optimizer] = {
        "ours, fused": build_optimizer([fused], config.optimizer),
        "foreach": AdamW(foreach.parameters(), lr=rate, weight_decay=decay, foreach=True),
        "a loop": AdamW(loop.parameters(), lr=rate, weight_decay=decay, foreach=False, fused=False),
    }
    for encoders in (fused, foreach, loop):
        for parameter in encoders.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)
    ways: dict[str, Way] = {name: optimizer.step for name, optimizer in optimizers.items()}
    return paired(f"{about}: the optimizer", ways, ours="ours, fused")


def _forward_backward(encoders: nn.Module, views: Mapping[str, Tensor]) -> None:
    for parameter in encoders.parameters():
        parameter.grad = None
    embeddings = torch.cat(list(encoders(views).values()))
    embeddings.backward(_gradient(embeddings.shape))


@functools.cache
def _gradient(shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)) / shape[0]


if __name__ == "__main__":
    main()
