"""Numbers on a device → the same numbers in Python, a little later, without waiting for what the device was told since."""

import torch
from jaxtyping import Shaped
from torch import Tensor


class Later:
    """Numbers on their way; on a GPU the copy runs beside the work that is given to it after this."""

    def __init__(self, numbers: Shaped[Tensor, "number"]) -> None:
        numbers = numbers.detach()
        self._arrived: torch.cuda.Event | None = None
        if numbers.device.type != "cuda":
            self._numbers = numbers.cpu()
            return
        self._numbers = torch.empty(numbers.shape, dtype=numbers.dtype, pin_memory=True)
        self._numbers.copy_(numbers, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record()

    def values(self) -> list[float]:
        """Give the numbers; waits for them, and for nothing that came after."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return [float(number) for number in self._numbers.tolist()]
