"""Visits and the order of their batches → batches, loaded ahead by workers or at once without."""

import queue
import threading
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import Pipe
from typing import Protocol, runtime_checkable

from avmi.data.batch import Batch, Visit, collate
from avmi.data.cutter import Draw
from avmi.data.fixed import FixedClips
from avmi.data.pool import DEFAULT_LIMITS, Event, Limits, Loss, Refusal, Views, WorkerPool
from avmi.data.stream import StreamBatches, TrainingStream
from avmi.data.turn import Source, Turn, finish, refusal


def training_loader(
    stream: TrainingStream,
    batches: StreamBatches,
    *,
    workers: int,
    limits: Limits = DEFAULT_LIMITS,
    pin_memory: bool = False,
) -> "Loader":
    """Load the stream's batches, step after step."""
    return Loader(stream, batches, workers=workers, limits=limits, pin_memory=pin_memory)


def fixed_loader(
    clips: FixedClips,
    *,
    workers: int,
    videos_per_batch: int = 8,
    limits: Limits = DEFAULT_LIMITS,
    pin_memory: bool = False,
) -> "Loader":
    """Load fixed clips once, in order; batches hold whole videos."""
    order = range(len(clips))
    batches = [list(order[i : i + videos_per_batch]) for i in order[::videos_per_batch]]
    return Loader(clips, batches, workers=workers, limits=limits, pin_memory=pin_memory)


@runtime_checkable
class Batches(Protocol):
    """Batches, one after the other; closing it ends the workers."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def scalars(self) -> dict[str, float]:
        """Count, since the start, quarantined videos, and workers that hung, died or grew too large."""
        ...

    def close(self) -> None:
        """End the workers."""
        ...


@runtime_checkable
class _Order(Protocol):
    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[list[int]]: ...


@dataclass(frozen=True)
class Loader:
    """Batches of visits in a given order; what comes out does not depend on the number of workers.

    Without workers this process decodes, and nothing protects it: a video that hangs, hangs it.
    """

    source: Source
    order: _Order  # which items each batch holds
    workers: int
    limits: Limits = field(default=DEFAULT_LIMITS, kw_only=True)
    pin_memory: bool = field(default=False, kw_only=True)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Batches:
        """Start loading."""
        if self.workers:
            return _Ahead(self)
        return _AtOnce(self)

    def joined(self, visits: Sequence[Visit]) -> Batch:
        """Make a batch of visits."""
        batch = collate(visits)
        return batch.pin_memory() if self.pin_memory else batch


class _AtOnce:
    """Batches that are made when they are asked for, in this process."""

    def __init__(self, loader: Loader) -> None:
        self._loader, self._order = loader, iter(loader.order)

    def __iter__(self) -> "_AtOnce":
        return self

    def __next__(self) -> Batch:
        source = self._loader.source
        return self._loader.joined([finish(source.turn(i), source.cutter) for i in next(self._order)])

    def scalars(self) -> dict[str, float]:
        """Count what this process cannot have."""
        return {"quarantined_videos": float(self._loader.source.quarantined), "replaced_workers": 0.0}

    def close(self) -> None:
        """Make no more."""
        self._order = iter(())


class _Ahead:
    """Batches that workers make ahead; a thread orders them, so that the caller's own work never delays it."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._made: queue.SimpleQueue[Batch | BaseException | None] = queue.SimpleQueue()
        self._making = _Making(loader, self._made)
        self._thread = threading.Thread(target=self._making.run, name="avmi-loader", daemon=True)
        self._thread.start()
        # At the end of the program, too, before multiprocessing ends its processes one by one.
        self._end = weakref.finalize(self, _end, self._making, self._thread)

    def __iter__(self) -> "_Ahead":
        return self

    def __next__(self) -> Batch:
        if not self._end.alive:
            raise StopIteration
        made = self._made.get()
        if isinstance(made, Batch):
            self._making.taken()
            return made
        self.close()
        if made is None:
            raise StopIteration
        raise made

    def scalars(self) -> dict[str, float]:
        """Count quarantined videos and replaced workers."""
        return {
            "quarantined_videos": float(self._loader.source.quarantined),
            "replaced_workers": float(self._making.replaced_workers),
        }

    def close(self) -> None:
        """End the workers and the thread."""
        self._end()


def _end(making: "_Making", thread: threading.Thread) -> None:
    making.stop()
    if thread is not threading.current_thread():  # garbage is collected in any thread
        thread.join()


@dataclass
class _Begun:
    """A batch in the making."""

    turns: list[Turn]
    visits: list[Visit | None]
    size_bytes: int = 0

    @property
    def is_whole(self) -> bool:
        return all(visit is not None for visit in self.visits)


class _Making:
    """What the thread does: begins batches, orders what they need, and puts the whole ones out in order."""

    def __init__(self, loader: Loader, made: "queue.SimpleQueue[Batch | BaseException | None]") -> None:
        self.replaced_workers = 0
        self._loader, self._made = loader, made
        self._order: Iterator[list[int]] = iter(loader.order)
        self._begun: deque[_Begun] = deque()
        self._ordered: dict[int, tuple[_Begun, int, Draw]] = {}
        self._tickets = 0
        self._made_bytes: deque[int] = deque()  # of batches that are whole and were not taken
        self._largest_bytes = 0  # of a visit so far
        self._last_items: list[int] = []
        self._stopped = False
        self._hears, self._tells = Pipe(duplex=False)
        self._untaken = 0
        self._lock = threading.Lock()  # of what both threads touch: the three around `taken`, and `_tells`

    def taken(self) -> None:
        """Take note, in the caller's thread, that a batch was taken."""
        with self._lock:
            self._untaken -= 1
            self._made_bytes.popleft()
        self._tell()

    def stop(self) -> None:
        """End, from any thread."""
        self._stopped = True
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            if not self._tells.closed:
                self._tells.send_bytes(b"!")

    def run(self) -> None:
        """Load until everything is made or nobody wants more; an error goes to the caller."""
        try:
            with WorkerPool(
                self._loader.source.cutter, workers=self._loader.workers, limits=self._loader.limits
            ) as pool:
                while not self._stopped and self._begin(pool):
                    for event in pool.wait(self._hears):
                        self._hear(event, pool)
                    self.replaced_workers = pool.replaced
                    while self._hears.poll():
                        self._hears.recv_bytes()
                    self._put_out()
        except BaseException as error:
            self._made.put(error)
        else:
            self._made.put(None)
        finally:
            with self._lock:
                self._tells.close()
                self._hears.close()

    def _begin(self, pool: WorkerPool) -> bool:
        """Begin as many batches as may be ahead; tell whether there is anything left to do."""
        while self._has_room():
            items = next(self._order, None)
            if items is None:
                return bool(self._begun)
            self._last_items = items
            batch = _Begun([self._loader.source.turn(item) for item in items], [None] * len(items))
            self._begun.append(batch)
            with self._lock:
                self._untaken += 1
            for place in range(len(items)):
                self._go_on(batch, place, pool)
            self._put_out()
        return True

    def _has_room(self) -> bool:
        limits = self._loader.limits
        with self._lock:
            untaken, bytes_made = self._untaken, sum(self._made_bytes)
        if untaken >= limits.prefetch_batches:
            return False
        if not untaken:  # the one that is waited for
            return True
        visits = sum(len(batch.turns) for batch in self._begun) + len(self._last_items)
        bytes_expected = bytes_made + visits * self._largest_bytes
        return self._largest_bytes > 0 and bytes_expected <= limits.prefetch_gigabytes * 1e9

    def _go_on(self, batch: _Begun, place: int, pool: WorkerPool) -> None:
        """Order what a visit needs next, or end it without clips."""
        turn = batch.turns[place]
        draw = turn.draw()
        if draw is None:
            batch.visits[place] = Visit((), tuple(turn.rejects))
            return
        self._tickets += 1
        self._ordered[self._tickets] = (batch, place, draw)
        pool.submit(self._tickets, draw)

    def _hear(self, event: Event, pool: WorkerPool) -> None:
        batch, place, draw = self._ordered.pop(event.ticket)
        turn = batch.turns[place]
        match event:
            case Views(_, clips, size_bytes):
                batch.visits[place] = Visit(draw.samples(clips), tuple(turn.rejects))
                batch.size_bytes += size_bytes
                self._largest_bytes = max(self._largest_bytes, size_bytes)
                return
            case Refusal(_, reason, detail):
                turn.refused(refusal(draw, reason, detail))
            case Loss(_, reason, detail):
                turn.lost(refusal(draw, reason, detail))
        self._go_on(batch, place, pool)

    def _put_out(self) -> None:
        while self._begun and self._begun[0].is_whole:
            batch = self._begun.popleft()
            with self._lock:
                self._made_bytes.append(batch.size_bytes)
            self._made.put(self._loader.joined([visit for visit in batch.visits if visit is not None]))
