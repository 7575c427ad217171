"""`avmi embed`: a checkpoint and a corpus → the embedding table, as Parquet.

The corpus is embedded in units, each into a part of its own beside the table; the parts are joined at the end. So a run
that is killed goes on, and many machines may work at the same time.
"""

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from avmi.corpus.lock import hold
from avmi.corpus.manifest import Manifest, Reject, read_manifest
from avmi.embedder import Embedder, load
from avmi.embedding_rows import provenance_of, videos_of_split
from avmi.embedding_units import (
    Place,
    Unit,
    UnitEmbedder,
    UnitWorker,
    item_of,
    standing_part,
    units_of,
)
from avmi.engine.ray_stream import models_of, ray_session, stream
from avmi.engine.share import Share, ShareDone
from avmi.errors import CorpusError
from avmi.index.part import Part, read_part
from avmi.index.table import Contents
from avmi.index.write import make_place, readable_write_errors, write_tables
from avmi.types import EngineName, Split, StrPath

# A thousand videos, about a minute of work: starting decoding processes for them costs a second or two.
_UNITS_AT_A_TIME = 16
_TURNS_EACH = (
    4  # at least, of each model of a cluster: then none is waited for longer than a quarter of its work
)


@dataclass(frozen=True)
class EmbedResult:
    """What the table holds."""

    table: Path
    contents: Contents
    rejects: tuple[Reject, ...]
    embedded: int = 0  # videos, by this run; the others were there from earlier runs

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "table": str(self.table),
            "embeddings": self.contents.counts,
            "dim": self.contents.dim,
            "unreadable_videos": [reject.path for reject in self.rejects],
        }

    def as_text(self) -> str:
        """Say it in one line."""
        counts = ", ".join(f"{n} {kind}" for kind, n in self.contents.counts.items())
        lost = f"; {len(self.rejects)} videos could not be read" if self.rejects else ""
        return f"{self.table}: {counts} embeddings of length {self.contents.dim}{lost}"


def embed(
    checkpoint: StrPath,
    corpus: StrPath,
    *,
    out: StrPath,
    split: Split | Literal["all"] = "all",
    workers: int = 0,
    engine: EngineName = "local",
    log: Any = None,
) -> EmbedResult:
    """Embed evenly spread clips of every video of a split and write the embedding table.

    `workers` processes decode beside each model; there is one model here, and with the engine ray as many as the
    cluster has room for, whose machines see the same folders. Stopped or killed and called again, it goes on.
    Raises `CorpusError` when the split is empty or the videos are gone, `UsageError` where the table cannot be
    written.
    """
    run = _Run.begun(checkpoint, corpus, Path(out), split, engine, log or sys.stderr)
    with run.writing("alone"):
        embedded = run.embed(run.missing(run.units), workers=workers, engine=engine)
        parts = run.standing(run.units)
        tables = (part.table() for part in parts)
        contents = write_tables(run.out, tables, provenance=provenance_of(run.model, run.manifest))
        shutil.rmtree(run.parts, ignore_errors=True)
    return EmbedResult(run.out, contents, tuple(r for part in parts for r in part.rejects), embedded)


def embed_share(
    checkpoint: StrPath,
    corpus: StrPath,
    *,
    out: StrPath,
    share: Share,
    split: Split | Literal["all"] = "all",
    workers: int = 0,
    engine: EngineName = "local",
    log: Any = None,
) -> ShareDone:
    """Embed the units of one job of a job array; see `embed`, which joins afterwards what all have written."""
    begun = time.monotonic()
    run = _Run.begun(checkpoint, corpus, Path(out), split, engine, log or sys.stderr)
    mine = [unit for number, unit in enumerate(run.units) if share.has_number(number)]
    with run.writing("with_others", suffix=share.suffix):
        embedded = run.embed(run.missing(mine), workers=workers, engine=engine)
        rejected = sum(len(part.rejects) for part in run.standing(mine))
    videos = sum(len(unit.videos) for unit in mine)
    seconds = time.monotonic() - begun
    return ShareDone(run.out, share, "videos", len(run.manifest), videos, embedded, rejected, seconds)


@dataclass(frozen=True)
class _Run:
    """What one command embeds, and where to."""

    checkpoint: StrPath
    model: Embedder
    manifest: Manifest  # the videos of the split
    units: tuple[Unit, ...]
    out: Path
    log: Any

    @classmethod
    def begun(
        cls,
        checkpoint: StrPath,
        corpus: StrPath,
        out: Path,
        split: Split | Literal["all"],
        engine: EngineName,
        log: Any,
    ) -> "_Run":
        """Read what there is to embed, and find out whether the table can be written."""
        manifest = videos_of_split(read_manifest(corpus), split)
        model = load(checkpoint, device="cpu" if engine == "ray" else None)
        make_place(out)
        return cls(checkpoint, model, manifest, units_of(model, manifest), out, log)

    @property
    def parts(self) -> Path:
        """Say where the parts are: beside the table, until they are joined."""
        return self.out.with_name(f".{self.out.name}.parts")

    @contextlib.contextmanager
    def writing(self, how: Literal["alone", "with_others"], *, suffix: str = "") -> Iterator[None]:
        """Keep others away: a run that joins from every other one, a job from a second one of its number."""
        with contextlib.ExitStack() as files:
            with readable_write_errors(self.out):
                self.parts.mkdir(exist_ok=True)
                lock = files.enter_context((self.parts / "lock").open("a"))
                own = files.enter_context((self.parts / f"lock{suffix}").open("a")) if suffix else None
            hold(lock.fileno(), self.parts, verb="embed", how=how)
            if own is not None:
                hold(own.fileno(), self.parts, verb="embed", how="alone")
            yield

    def missing(self, units: Sequence[Unit]) -> list[Unit]:
        """List the units that are still to be embedded."""
        return [unit for unit in units if standing_part(unit, self.parts, self.manifest.root) is None]

    def embed(self, units: Sequence[Unit], *, workers: int, engine: EngineName) -> int:
        """Write the parts of units; give the number of their videos."""
        with tqdm(
            total=len(self.manifest),
            initial=len(self.manifest) - sum(len(unit.videos) for unit in units),
            desc="embedding",
            unit=" videos",
            file=self.log,
            mininterval=0.2 if self.log.isatty() else 10.0,
            disable=not units,
            dynamic_ncols=True,
        ) as bar:
            match engine:
                case "local":
                    done = self._here(units, workers)
                case "ray":
                    done = self._on_ray(units, workers)
            for videos in done:
                bar.update(videos)
        return sum(len(unit.videos) for unit in units)

    def _here(self, units: Sequence[Unit], workers: int) -> Iterator[int]:
        embedder = UnitEmbedder(self.model, self.manifest, self.parts, workers=workers)
        for some in _in_turns(units, _UNITS_AT_A_TIME):
            yield from embedder.embed(some)

    def _on_ray(self, units: Sequence[Unit], workers: int) -> Iterator[int]:
        if not units:
            return
        corpus = self.manifest.corpus
        place = Place(
            checkpoint=Path(self.checkpoint).absolute(),
            model_hash=self.model.model_hash,
            root=self.manifest.root.absolute(),
            corpus=None if corpus is None else corpus.absolute(),
            parts=self.parts.absolute(),
        )
        with ray_session() as ray:
            models = models_of(ray, cpus=1 + workers)
            turn = min(_UNITS_AT_A_TIME, max(1, len(units) // (_TURNS_EACH * models.count)))
            items = map(item_of, _in_turns(units, turn))
            for row in stream(UnitWorker, (place, workers), items, workers=models, items_per_task=1):
                if row["stopped"]:
                    raise CorpusError(row["stopped"])
                yield row["videos"]

    def standing(self, units: Sequence[Unit]) -> list[Part]:
        """Give the parts of units that are embedded, in their order."""
        parts = [read_part(unit.part_in(self.parts)) for unit in units]
        if None in parts:
            raise CorpusError(
                f"{self.parts} has lost parts that were written: does every machine see this folder?"
            )
        return [part for part in parts if part is not None]


def _in_turns(units: Sequence[Unit], number: int) -> Iterator[Sequence[Unit]]:
    return (units[at : at + number] for at in range(0, len(units), number))
