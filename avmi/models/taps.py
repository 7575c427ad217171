"""A network as steps → its last map and the maps of named layers, from one pass."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from avmi.config.layers import OUTPUT
from avmi.models.running_statistics import running_statistics_kept

Steps = Iterable[tuple[str, nn.Module]]  # modules in the order that they run, with their names


@dataclass(frozen=True)
class Tapped:
    """What one pass of a backbone gives: its pooled feature, and maps by the names of their layers."""

    feature: Float[Tensor, "batch feature"]
    maps: Mapping[str, Tensor]  # batch channels *grid, each with channels and a grid of its own

    def at(self, layer: str) -> Tensor:
        """Give what a view taps at a layer: a map, or at `output` the pooled feature."""
        return self.feature if layer == OUTPUT else self.maps[layer]


def run_steps(
    steps: Steps, x: Tensor, layers: Collection[str], *, checkpoints: bool = False
) -> tuple[Tensor, dict[str, Tensor]]:
    """Run modules one after another and keep what comes out of the named ones.

    Plain code in place of forward hooks: two threads may share a network, and torch.compile sees it all. With
    `checkpoints` (Chen et al. 2016, arXiv 1604.06174) only what goes from stage to stage stays in memory while there
    are gradients, and the backward pass runs each stage again.
    """
    again = checkpoints and torch.is_grad_enabled()
    maps = {}
    for name, module in _stages(steps, layers) if again else steps:
        x = _run_again(module, x) if again else module(x)
        if name in layers:
            maps[name] = x
    return x, maps


def _stages(steps: Steps, layers: Collection[str]) -> Steps:
    """Join single operations, such as a first convolution and its normalization, to stages; a layer ends one."""
    joined: list[nn.Module] = []
    for name, module in steps:
        is_stage = next(module.children(), None) is not None
        if is_stage and joined:
            yield "", nn.Sequential(*joined)
            joined = []
        joined.append(module)
        if is_stage or name in layers:
            yield name, nn.Sequential(*joined)
            joined = []
    if joined:
        yield "", nn.Sequential(*joined)


def _run_again(stage: nn.Module, x: Tensor) -> Tensor:
    """Run a stage whose activations the backward pass makes again: from the same random state, to the same gradients."""

    # Of the second pass; without it, batch normalization would learn its running statistics from every batch twice.
    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), running_statistics_kept(stage)

    out: Tensor = checkpoint(stage, x, use_reentrant=False, context_fn=contexts)
    return out


def places_of(
    tapped: Float[Tensor, "batch channels *grid"], *, most: int | None
) -> Float[Tensor, "batch *places channels"]:
    """Put the channels of a map last and average it down to `most` places along each side.

    A pooled feature, which has no sides, stays as it is.
    """
    sides = tapped.shape[2:]
    kept = [side if most is None else min(side, most) for side in sides]
    if kept != list(sides):
        match kept:
            case [rows, columns]:
                tapped = F.adaptive_avg_pool2d(tapped, (rows, columns))
            case [times, rows, columns]:
                tapped = F.adaptive_avg_pool3d(tapped, (times, rows, columns))
    return tapped.movedim(1, -1)


@contextmanager
def undisturbed(network: nn.Module) -> Iterator[None]:
    """Evaluate a network without gradients and leave its modes and the random state as they were."""
    training = [module for module in network.modules() if module.training]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):  # nothing draws on a GPU in evaluation mode
        network.eval()
        try:
            yield
        finally:
            for module in training:
                module.training = True
