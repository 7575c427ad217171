"""Tensors of this process ↔ tensors of all processes; the only file that touches torch.distributed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from avmi.errors import AvmiError, ProcessLost
from avmi.later import Later

Result = TypeVar("Result")

# Torch 2.14 gave these two new names, and warns of the old ones.
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor

LOST = "another process of this run has ended: its own error, or the launcher, says why"


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
    _all_gather(joined, tensor.contiguous())
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


def on_main(task: Callable[[], Result]) -> Result:
    """Do something in the first process alone, and give all processes its result, or raise its error in all."""
    if world_size() == 1:
        return task()
    outcome: Result | Exception | None = None
    if rank() == 0:
        try:
            outcome = task()
        except Exception as error:
            outcome = error
    first = gather_objects(outcome)[0]
    if isinstance(first, AvmiError):
        first.is_told = rank() != 0
        raise first
    if isinstance(first, Exception):
        raise (first if rank() == 0 else ProcessLost(LOST)) from None
    result: Result = first
    return result


@contextmanager
def other_processes() -> Iterator[None]:
    """Say in one sentence that another process has ended, where torch raises a long error of its sockets.

    Raises `ProcessLost`.
    """
    try:
        yield
    except RuntimeError as error:
        if world_size() > 1 and (isinstance(error, dist.DistError) or _is_of_gloo(error)):
            raise ProcessLost(LOST) from error
        raise


def _is_of_gloo(error: RuntimeError) -> bool:
    """Tell errors of connections: gloo has no class for them, and names its source file or itself."""
    return any(
        word in str(error) for word in ("gloo", "Connection closed by peer", "Connection reset by peer")
    )


class Largest:
    """The largest of one number of each process; it is asked for at once and given later, and nothing waits meanwhile."""

    def __init__(self, number: float, *, device: torch.device) -> None:
        # Filled on the device: a copy from here would make a GPU wait.
        self._number = torch.full((1,), number, device=device)
        self._asked = dist.all_reduce(self._number, op=dist.ReduceOp.MAX, async_op=True)
        self._later: Later | None = None
        if device.type != "cpu":  # what waits here is the device's queue of work, not this process
            self._asked.wait()
            self._later = Later(self._number)

    def answer(self) -> float:
        """Give the number, the same to all."""
        if self._later is not None:
            return self._later.values()[0]
        self._asked.wait()
        return float(self._number)


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
        _reduce_scatter(mine, of_vectors.contiguous())
        return mine, None


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        return gather(values[None])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient[rank()] * world_size()
