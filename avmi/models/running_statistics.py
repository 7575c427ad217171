"""A network that computes the same batch twice → running statistics of batch normalization that change once."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


@contextmanager
def running_statistics_kept(network: nn.Module) -> Iterator[None]:
    """Let batch normalization write its running statistics into copies, which are thrown away.

    Copies and not no statistics at all: a pass that is repeated must save as many tensors for its gradient as the first.
    """
    kept = [
        (layer, dict(layer._buffers))
        for layer in network.modules()
        if isinstance(layer, _BatchNorm) and layer.training and layer.track_running_stats
    ]
    for layer, buffers in kept:
        layer._buffers.update({name: b if b is None else b.clone() for name, b in buffers.items()})
    try:
        yield
    finally:
        for layer, buffers in kept:
            layer._buffers.update(buffers)
