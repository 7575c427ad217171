"""Tensors of this process ↔ tensors of all processes; the only file that touches torch.distributed."""

from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Float, Int, Shaped
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
    joined = tensor.new_empty(world_size() * len(tensor), *tensor.shape[1:])
    dist.all_gather_into_tensor(joined, tensor.contiguous())
    return joined


def gather_with_gradient(
    vectors: Float[Tensor, "rows width"], facts: Int[Tensor, "rows columns"]
) -> tuple[Float[Tensor, "all_rows width"], Int[Tensor, "all_rows columns"]]:
    """Join the rows of all processes in rank order, in one exchange; every process holds as many.

    The gradient that comes back to this process's rows of `vectors`, of single precision, is the sum of what all
    processes say of them. Each of them may have the gradient of a part of the loss, or all may have that of the
    whole: see `share`.
    """
    if world_size() == 1:
        return vectors, facts
    joined: tuple[Tensor, Tensor] = _GatherWithGradient.apply(vectors, facts)
    return joined


def share(values: Float[Tensor, "number"]) -> Float[Tensor, "processes number"]:
    """Give every process the values of all, each of which has computed a part of the loss; in rank order.

    From here on every process computes the same loss, so that each has the whole gradient of its own values and
    nothing is exchanged on the way back. DistributedDataParallel averages the gradients of parameters over the
    processes, which would divide the sum over the parts by their number: the gradient is multiplied by it.
    """
    if world_size() == 1:
        return values[None]
    shared: Tensor = _Share.apply(values)
    return shared


def gather_objects(value: object) -> list[Any]:
    """Collect one picklable value from every process, in rank order."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


class _GatherWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, vectors: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        # The bits of the whole numbers travel as single-precision ones, two each, beside the vectors.
        joined = gather(torch.cat([vectors, facts.contiguous().view(torch.float32)], dim=1))
        all_vectors, bits = joined.split([vectors.shape[1], 2 * facts.shape[1]], dim=1)
        all_facts = bits.contiguous().view(torch.int64)
        ctx.mark_non_differentiable(all_facts)
        return all_vectors.contiguous(), all_facts

    @staticmethod
    def backward(ctx: Any, of_vectors: Tensor, _of_facts: Tensor) -> tuple[Tensor, None]:
        mine = of_vectors.new_empty(len(of_vectors) // world_size(), *of_vectors.shape[1:])
        dist.reduce_scatter_tensor(mine, of_vectors.contiguous())
        return mine, None


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return gather(values[None])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient[rank()] * world_size()
