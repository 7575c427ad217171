"""The ramp: a stream of correlated Gaussians whose mutual information rises by levels → what estimators read of it.

Poole et al. 2019 (arXiv 1905.06922, section 3) and their cubic variant, y → y³, which changes no mutual information.
One stream runs through all levels, and no estimator is told where a level ends.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avmi.mi.bound import Bound, BoundKind
from avmi.mi.bounds import info_nce
from avmi.mi.critics import SeparableCritic, mlp
from avmi.mi.estimation.protocol import RAMP, RampProtocol
from avmi.mi.estimation.stream import StreamEstimator
from avmi.mi.variational import donsker_varadhan, interpolated, jensen_shannon, nwj, smile

Shape = Literal["gaussian", "cubic"]
Batch = tuple[Float[Tensor, "rows dims"], Float[Tensor, "rows dims"]]
CRITIC_ESTIMATORS = ("info_nce", "nwj", "jensen_shannon", "donsker_varadhan", "interpolated", "smile")


@dataclass(frozen=True)
class RampReading:
    """One estimator on one shape of the ramp."""

    estimator: str
    kind: BoundKind
    shape: Shape
    step_values_nats: tuple[float, ...]
    level_means_nats: tuple[float, ...]  # over each level's window
    chosen: str  # by the estimator, in the windows; empty where it has nothing to choose
    cpu_seconds: float


def ramp_batches(
    shape: Shape, *, generator: torch.Generator, protocol: RampProtocol = RAMP
) -> Iterator[Batch]:
    """Draw the stream: correlation ρ in each dimension, I = −dim/2 · log(1 − ρ²)."""
    for level in protocol.levels_nats:
        correlation = math.sqrt(1 - math.exp(-2 * level / protocol.dim))
        for _ in range(protocol.steps_per_level):
            x, noise = torch.randn(2, protocol.batch_rows, protocol.dim, generator=generator).unbind()
            y = correlation * x + math.sqrt(1 - correlation**2) * noise
            yield x, y if shape == "gaussian" else y**3


def read_by_stream_estimator(shape: Shape, *, seed: int, protocol: RampProtocol = RAMP) -> RampReading:
    """Read the ramp by `StreamEstimator`."""
    begun = time.process_time()
    estimator = StreamEstimator(generator=torch.Generator().manual_seed(seed + 1))
    stream = ramp_batches(shape, generator=torch.Generator().manual_seed(seed), protocol=protocol)
    readings = [estimator.read(x, y) for x, y in stream]
    names = [readings[step].chosen for window in windows(protocol) for step in window]
    return _summed_up(
        "stream", "neither", shape, [reading.value_nats for reading in readings], begun, protocol,
        chosen=max(sorted(set(names)), key=names.count),
    )  # fmt: skip


def read_by_critic(name: str, shape: Shape, *, seed: int, protocol: RampProtocol = RAMP) -> RampReading:
    """Read the ramp by a separable critic that is trained on the bound that it is read with."""
    begun = time.process_time()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        critic = SeparableCritic(
            protocol.dim,
            protocol.dim,
            hidden_dims=protocol.critic_hidden_dims,
            embedding_dim=protocol.critic_embedding_dim,
        )
        baseline = mlp([protocol.dim, *protocol.critic_hidden_dims, 1])
    bound_of = _bound_of(name, baseline, protocol)
    optimizer = torch.optim.Adam(
        [*critic.parameters(), *baseline.parameters()], lr=protocol.critic_learning_rate
    )
    values: list[float] = []
    kind: BoundKind = "neither"
    for x, y in ramp_batches(shape, generator=torch.Generator().manual_seed(seed), protocol=protocol):
        bound = bound_of(critic(x, y), y)
        optimizer.zero_grad()
        (-bound.value_nats).backward()
        optimizer.step()
        values.append(bound.value_nats.item())
        kind = bound.kind
    return _summed_up(name, kind, shape, values, begun, protocol, chosen="")


def windows(protocol: RampProtocol = RAMP) -> list[range]:
    """Give the steps of each level's window."""
    length = round(protocol.steps_per_level * protocol.window_share)
    ends = [protocol.steps_per_level * (level + 1) for level in range(len(protocol.levels_nats))]
    return [range(end - length, end) for end in ends]


def _bound_of(name: str, baseline: nn.Module, protocol: RampProtocol) -> Callable[[Tensor, Tensor], Bound]:
    match name:
        case "info_nce":
            return lambda scores, y: info_nce(scores)
        case "nwj":
            return lambda scores, y: nwj(scores)
        case "jensen_shannon":
            return lambda scores, y: jensen_shannon(scores)
        case "donsker_varadhan":
            return lambda scores, y: donsker_varadhan(scores)
        case "interpolated":
            alpha = protocol.interpolated_alpha
            return lambda scores, y: interpolated(scores, alpha=alpha, log_baseline=baseline(y).squeeze(1))
        case "smile":
            return lambda scores, y: smile(scores, clip=protocol.smile_clip)
        case _:
            raise ValueError(f"{name} is none of {', '.join(CRITIC_ESTIMATORS)}")


def _summed_up(
    estimator: str,
    kind: BoundKind,
    shape: Shape,
    values: list[float],
    begun: float,
    protocol: RampProtocol,
    *,
    chosen: str,
) -> RampReading:
    means = tuple(sum(values[step] for step in window) / len(window) for window in windows(protocol))
    return RampReading(estimator, kind, shape, tuple(values), means, chosen, time.process_time() - begun)
