"""Files and probe functions → each file's outcome, computed on a Ray cluster as `ProbePool` does on one machine.

Every worker holds a pool of one child process: a file that hangs or crashes costs its child, is a reject after
its time, and is never given to Ray's own retries.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from avmi.corpus.pool import Outcome, Probe, ProbePool, probe_name
from avmi.engine.ray_stream import ray_session, stream, workers_of

# A quarter of a second of probing; packing is slower, and waits for the first of them in order.
FILES_PER_TASK = 4


class RayPool:
    """A `ProbePool` whose children are all over a cluster; use it as a context manager.

    `workers` is how many files are worked on at a time (default: one for each CPU of the cluster).
    """

    def __init__(self, *chains: Sequence[Probe], workers: int | None, time_limit_seconds: float) -> None:
        self._chains = [[probe_name(probe) for probe in chain] for chain in chains]
        self._count, self._limit = workers, time_limit_seconds
        self._session = ray_session(cpus=workers)

    def __enter__(self) -> "RayPool":
        self._workers = workers_of(self._session.__enter__(), count=self._count)
        return self

    def __exit__(self, *error: Any) -> None:
        self._session.__exit__(*error)

    def run(self, paths: Iterable[Path], *, chain: int = 0) -> Iterator[tuple[Path, Outcome]]:
        """Probe every file with a chain, yielding outcomes as they come, in no fixed order."""
        requests = ({"path": str(path)} for path in paths)
        found = stream(
            _Prober,
            (self._chains, chain, self._limit),
            requests,
            workers=self._workers,
            items_per_task=FILES_PER_TASK,
        )
        for row in found:
            yield Path(row["path"]), Outcome(**json.loads(row["outcome"]))


class _Prober:
    """One worker of the cluster."""

    def __init__(self, chains: list[list[str]], chain: int, time_limit_seconds: float) -> None:
        self._pool = ProbePool(*chains, workers=1, time_limit_seconds=time_limit_seconds)
        self._chain = chain

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        ((_, outcome),) = self._pool.run([Path(row["path"])], chain=self._chain)
        # As text: facts are nested, and of other kinds in every row.
        return {"path": row["path"], "outcome": json.dumps(asdict(outcome))}
