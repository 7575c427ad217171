"""Tensors of this process ↔ tensors of all processes; the only file that touches torch.distributed."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor


def world_size() -> int:
    """Count the processes that train together; 1 when there is no process group."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Give the number of this process, from 0."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def gather(tensor: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, "all_rows ..."]:
    """Join the rows of all processes in rank order, without gradient; every process holds as many."""
    if world_size() == 1:
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(world_size())]
    dist.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def gather_with_gradient(tensor: Shaped[Tensor, "rows ..."]) -> Shaped[Tensor, "all_rows ..."]:
    """Join the rows of all processes in rank order; the gradient comes back to this process's rows.

    It is meant for a loss that every process computes alike on the joined rows. Each process then
    holds the whole gradient of its own rows already, so nothing is exchanged on the way back. As
    DistributedDataParallel averages parameter gradients over the processes, the gradient of the rows
    is multiplied by their number: the average of the products is the gradient of one process on the
    joined batch.
    """
    if world_size() == 1:
        return tensor
    joined: Tensor = _GatherWithGradient.apply(tensor)
    return joined


def gather_objects(value: object) -> list[Any]:
    """Collect one picklable value from every process, in rank order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tensor: Tensor) -> Tensor:
        ctx.rows = tensor.shape[0]
        return gather(tensor)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        first = rank() * ctx.rows
        return gradient[first : first + ctx.rows] * world_size()
