"""The name of an engine → the pool that runs probes on it."""

import os
from collections.abc import Sequence

from avmi.corpus.pool import Engine, Probe, ProbePool
from avmi.types import EngineName


def engine_of(
    name: EngineName, *chains: Sequence[Probe], workers: int | None, time_limit_seconds: float
) -> Engine:
    """Make the pool; `workers` is how many files are worked on at a time (default: one per core)."""
    match name:
        case "local":
            count = workers or os.cpu_count() or 1
            return ProbePool(*chains, workers=count, time_limit_seconds=time_limit_seconds)
        case "ray":
            from avmi.engine.ray_pool import RayPool

            return RayPool(*chains, workers=workers, time_limit_seconds=time_limit_seconds)
