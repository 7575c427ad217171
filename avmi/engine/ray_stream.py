"""Items and a class of workers → what the workers make of each item, on a Ray cluster, as it comes.

Items are numbers and short texts; files are read and written by the workers, so every machine must see the same
folders. Results come in no fixed order. What a worker process was doing when it, or its machine, died is done again.
"""

import contextlib
import importlib
import logging
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from avmi.errors import AvmiError, UsageError

log = logging.getLogger(__name__)

# Items handed over at a time: memory of the driver stays bounded, starting the workers anew costs nothing beside.
_ITEMS_AT_A_TIME = 20_000
_ANSWER_SECONDS = 10.0  # a connection within a cluster takes milliseconds


@dataclass(frozen=True)
class Workers:
    """How many workers there are, and what each of them takes."""

    count: int
    cpus: int = 1
    gpus: int = 0


def ray_module() -> Any:
    """Import Ray; raises `UsageError` where it is not installed."""
    # Before the import, which reads them: nothing is reported to anybody, and no warning about what is meant so.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray = importlib.import_module("ray")
        importlib.import_module("ray.data")
    except ImportError as error:
        raise UsageError(f'--engine ray needs Ray ({error}): pip install "avmi[ray]"') from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # our own bar says how far it is
    return ray


@contextlib.contextmanager
def ray_session(*, cpus: int | None = None) -> Iterator[Any]:
    """Be connected to a cluster: the one of RAY_ADDRESS or of this machine, or else one that is started for now.

    `cpus` is how many the one that is started may use (default: all). Raises `UsageError` when the cluster of
    RAY_ADDRESS cannot be reached.
    """
    ray = ray_module()
    if ray.is_initialized():  # the caller's own connection stays his
        yield ray
        return
    _connect(ray, cpus)
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, cpus: int | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    address = os.environ.get("RAY_ADDRESS") or "auto"
    _knock(address)
    try:
        if address != "local":
            ray.init(address=address, **quiet)
            log.info("working on the Ray cluster at %s: %s CPUs", address, _cpus(ray))
            return
    except (ConnectionError, RuntimeError, ValueError) as error:
        if address != "auto":
            told = " ".join(str(error).split())
            raise UsageError(f"the Ray cluster of RAY_ADDRESS={address} cannot be reached: {told}") from error
    ray.init(address="local", num_cpus=cpus, include_dashboard=False, **quiet)
    log.info(
        "no Ray cluster is there (RAY_ADDRESS names one): started one on this machine, %s CPUs", _cpus(ray)
    )


def _knock(address: str) -> None:
    """Find out whether anybody answers at `host:port`: Ray itself tries for minutes without a word."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise UsageError(f"the Ray cluster of RAY_ADDRESS={address} cannot be reached: {error}") from error


def _cpus(ray: Any) -> int:
    return int(ray.cluster_resources().get("CPU", 1))


def workers_of(ray: Any, *, count: int | None, cpus: int = 1) -> Workers:
    """Divide the cluster's CPUs among workers of so many each; fewer when `count` says so."""
    fitting = max(1, _cpus(ray) // cpus)
    return Workers(fitting if count is None else min(count, fitting), min(cpus, _cpus(ray)))


def models_of(ray: Any, *, cpus: int) -> Workers:
    """Divide the cluster among workers that hold a model: one for each of its GPUs, where there are any."""
    workers = workers_of(ray, count=int(ray.cluster_resources().get("GPU", 0)) or None, cpus=cpus)
    return replace(workers, gpus=int("GPU" in ray.cluster_resources()))


def stream(
    worker: type,
    arguments: Sequence[Any],
    items: Iterator[dict[str, Any]] | Sequence[dict[str, Any]],
    *,
    workers: Workers,
    items_per_task: int,
) -> Iterator[dict[str, Any]]:
    """Give what `worker(*arguments)(item)` makes of every item, an object per worker process.

    Raises `AvmiError` when the cluster itself fails.
    """
    waiting = iter(items)
    while some := [item for _, item in zip(range(_ITEMS_AT_A_TIME), waiting, strict=False)]:
        try:
            yield from _streamed(worker, arguments, some, workers, items_per_task)
        except (GeneratorExit, KeyboardInterrupt, AvmiError):
            raise
        except Exception as error:
            if not type(error).__module__.startswith("ray"):
                raise
            told = " ".join(str(error).split())[-500:]
            raise AvmiError(f"the Ray cluster failed: {told}; the same command goes on from here") from error


def _streamed(
    worker: type,
    arguments: Sequence[Any],
    items: list[dict[str, Any]],
    workers: Workers,
    items_per_task: int,
) -> Iterator[dict[str, Any]]:
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    count = min(workers.count, len(items))
    # Results come out task by task: small tasks, or a driver that is killed has lost much.
    tasks = -(-len(items) // items_per_task)
    data = ray.data.from_items(items, override_num_blocks=tasks).map(
        worker,
        fn_constructor_args=tuple(arguments),
        compute=ray.data.ActorPoolStrategy(size=count),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus or None,
    )
    yield from data.iter_rows()
