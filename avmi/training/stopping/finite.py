"""The loss and the gradient of every step, one step late → nothing, or an error that says where they were not finite.

From the first number that is not finite on, the optimizer changes nothing: that is decided on the device, where nobody waits
for it. When the numbers have come, a step later, the weights are still those with which the step was computed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from accelerate.optimizer import AcceleratedOptimizer
from jaxtyping import Float
from torch import Tensor
from torch.distributed.optim import ZeroRedundancyOptimizer

from avmi.errors import TrainingError
from avmi.later import Later
from avmi.training.runs.run_folder import Trained

# In half precision a scaler halves its scale after each gradient that overflows and leaves out the update. It begins
# at 2^16: after 20 in a row losses are scaled down instead of up, and the gradient itself overflows.
MOST_OVERFLOWS = 20


def hold_updates(trained: Trained, *, loss: Float[Tensor, ""], gradient_norm: Float[Tensor, ""]) -> None:
    """Let the optimizer change nothing from now on if one of them is not finite; call it before the optimizer's step.

    A scaler of half precision does so itself, for one step at a time. Optimizers that are not fused cannot.
    """
    optimizer = _innermost(trained.optimizer)
    if trained.scaler is not None or not optimizer.defaults.get("fused"):
        return
    numbers = torch.stack([loss.detach().float(), gradient_norm.detach().float()])
    not_finite = (~numbers.isfinite().all()).float()
    before = getattr(optimizer, "found_inf", None)
    # Fused optimizers of torch read this attribute, which is meant for scalers.
    held = not_finite if before is None else torch.maximum(before, not_finite)
    optimizer.found_inf = held  # type: ignore[attr-defined]


def _innermost(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Look into what accelerate and sharding wrap around the optimizer that changes weights."""
    if isinstance(optimizer, AcceleratedOptimizer):
        optimizer = optimizer.optimizer
    if isinstance(optimizer, ZeroRedundancyOptimizer):
        optimizer = optimizer.optim
    return optimizer


@dataclass(frozen=True)
class _Waiting:
    step: int
    numbers: Later
    details: Callable[[], str]


class FiniteCheck:
    """Looks at the loss and the gradient of every step one step late, and when what follows depends on them.

    They are the same numbers in all processes: all of them stop, or none.
    """

    def __init__(self, trained: Trained) -> None:
        self._trained = trained
        self._waiting: _Waiting | None = None
        self._overflows = 0  # in a row

    def add(
        self,
        step: int,
        *,
        loss: Float[Tensor, ""],
        gradient_norm: Float[Tensor, ""],
        details: Callable[[], str],
    ) -> None:
        """Look at the step before, whose numbers have come by now, so that a GPU never waits, and remember this one.

        `details` say which pairs, views and clips it was; they are asked for when the numbers are not finite.
        """
        self.require()
        numbers = torch.stack([loss.detach().float(), gradient_norm.detach().float()])
        self._waiting = _Waiting(step, Later(numbers), details)

    def require(self) -> None:
        """Look at the last step now; raises `TrainingError`."""
        if self._waiting is None:
            return
        waiting, self._waiting = self._waiting, None
        loss, norm = torch.tensor(waiting.numbers.values()).isfinite().tolist()
        if loss and norm:
            self._overflows = 0
            return
        if loss and self._trained.scaler is not None:
            self._overflows += 1
            self._trained.counts.overflows += 1
            if self._overflows < MOST_OVERFLOWS:
                return
        what = "gradient" if loss else "loss"
        raise TrainingError(
            f"the {what} of step {waiting.step} is not finite ({waiting.details()}): look at these clips with `avmi "
            "views`, or begin again with a lower optimizer.learning_rate; the checkpoints of the steps before are whole"
        )
