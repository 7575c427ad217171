"""Modules and settings → AdamW, whole or sharded, and its learning-rate schedule."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from accelerate.optimizer import AcceleratedOptimizer
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from avmi.config.parts import Optimizer


def build_optimizer(modules: Iterable[nn.Module], settings: Optimizer) -> AdamW:
    """Build AdamW; weight decay acts on matrices and kernels, not on biases, norms or temperatures."""
    # One kernel for all parameters: on CPUs, too, half the time of a loop over them or less (docs/training.md).
    optimizer = AdamW(_groups(modules, settings), lr=settings.learning_rate, fused=True)
    optimizer.register_load_state_dict_post_hook(_lay_out_moments)
    return optimizer


def _lay_out_moments(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded moments the layout of their parameters.

    The fused kernel goes through memory from one end to the other: moments saved with the channels outermost would
    silently belong to other weights of a network that has them innermost.
    """
    for parameter, state in optimizer.state.items():
        for name, value in state.items():
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                state[name] = torch.empty_like(parameter).copy_(value)


def build_sharded_optimizer(modules: Iterable[nn.Module], settings: Optimizer) -> ZeroRedundancyOptimizer:
    """Build the same AdamW with its two moments divided among the processes (Rajbhandari et al. 2020, ZeRO stage 1).

    Each process updates its share of the parameters and sends them to the others. Before its state is saved, every
    process calls `gather_state`.
    """
    return ZeroRedundancyOptimizer(
        _groups(modules, settings), optimizer_class=AdamW, lr=settings.learning_rate, fused=True
    )


def gather_state(optimizer: torch.optim.Optimizer) -> None:
    """Bring a sharded optimizer's state to the main process, whose `state_dict` is then that of the whole AdamW.

    All processes call it together; for other optimizers it does nothing.
    """
    plain = optimizer.optimizer if isinstance(optimizer, AcceleratedOptimizer) else optimizer
    if isinstance(plain, ZeroRedundancyOptimizer):
        plain.consolidate_state_dict(to=0)


def _groups(modules: Iterable[nn.Module], settings: Optimizer) -> list[dict[str, Any]]:
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in parameters if _is_matrix(p)], "weight_decay": settings.weight_decay},
        {"params": [p for p in parameters if not _is_matrix(p)], "weight_decay": 0.0},
    ]


def _is_matrix(parameter: nn.Parameter) -> bool:
    """Tell weights from scales: those of ConvNeXt's layers are vectors written as (channels, 1, 1)."""
    return sum(size > 1 for size in parameter.shape) >= 2


def learning_rate_factor(step: int, settings: Optimizer) -> float:
    """Share of the peak learning rate at a step: linear warm-up, then cosine to the final rate."""
    warmup = round(settings.warmup_fraction * settings.steps)
    if step < warmup:
        return (step + 1) / warmup
    last = settings.final_learning_rate / settings.learning_rate
    progress = (step - warmup) / max(1, settings.steps - 1 - warmup)
    return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def build_schedule(optimizer: torch.optim.Optimizer, settings: Optimizer) -> LambdaLR:
    """Build the schedule; its clock is the optimizer step."""
    return LambdaLR(optimizer, lambda step: learning_rate_factor(step, settings))
