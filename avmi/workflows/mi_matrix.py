"""`avmi mi matrix`: a checkpoint and a corpus → a bound on the MI of every two views, as a table and a picture."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from avmi.corpus.manifest import Manifest, read_manifest
from avmi.corpus.plan import ClipSpec, evaluation_clips
from avmi.data import Batch, Cutter, FixedClips, Limits, fixed_loader
from avmi.decode.choose import choose_decoder
from avmi.embedder import Embedder, load
from avmi.errors import CorpusError
from avmi.metrics import Interval, bootstrap_interval
from avmi.mi.view_matrix import MatrixCell, ViewMatrix, bound_of_views, cell_of
from avmi.report.mi_matrix import matrix_page, matrix_png
from avmi.report.page import write_page
from avmi.training.watching.evaluation import Embedded, embed_batches
from avmi.types import Split, StrPath
from avmi.views.make import ViewMaker

SEED = 0  # of the bootstrap: the same interval every time


@dataclass(frozen=True)
class MatrixResult:
    """Bounds between all views, with 95 % intervals over videos."""

    matrix: ViewMatrix
    intervals: Sequence[Interval | None]  # one for each cell
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        cells = [
            {
                "views": list(cell.views),
                "trained": cell.is_trained,
                "bound_nats": cell.value_nats,
                "standard_error_nats": cell.standard_error_nats,
                "interval": None if interval is None else [interval.low, interval.high],
                "ceiling_nats": cell.ceiling_nats,
                "cosine_ceiling_nats": cell.cosine_ceiling_nats,
                "k_effective": cell.k_effective,
                "temperature": cell.temperature,
                "clips": cell.clips,
                "kind": "lower",
            }
            for cell, interval in zip(self.matrix.cells, self.intervals, strict=True)
        ]
        return {"views": list(self.matrix.views), **self.facts, "cells": cells}

    def as_text(self) -> str:
        """Say it as a table."""
        lines = [
            f"{self.facts['clips']} clips of {self.facts['videos']} videos of {self.facts['split']}: InfoNCE in nats, "
            "a lower bound, against clips of other videos; standard error and 95 % over videos"
        ]
        width = max((len(_name(cell)) for cell in self.matrix.cells), default=5)
        lines.append(
            f"  {'views':{width}}   bound          95 %             at most   log K      K   temperature   clips"
        )
        for cell, interval in sorted(
            zip(self.matrix.cells, self.intervals, strict=True), key=lambda row: -row[0].value_nats
        ):
            within = "" if interval is None else f"[{interval.low:.2f}, {interval.high:.2f}]"
            lines.append(
                f"  {_name(cell):{width}}  {cell.value_nats:6.2f} ± {cell.standard_error_nats:.2f}   {within:16}"
                f"{cell.cosine_ceiling_nats:6.2f}  {cell.ceiling_nats:6.2f}  {cell.k_effective:5.0f}   "
                f"{cell.temperature:11.2g}  {cell.clips:6d}"
                f"{'' if cell.is_trained else '   not trained as a pair'}"
            )
        lines += [f"  missing: {path}" for path in self.facts["missing"]]
        return "\n".join(lines)


def mi_matrix(
    checkpoint: StrPath,
    corpus: StrPath,
    *,
    split: Split = "test",
    report: StrPath | None = None,
    plot: StrPath | None = None,
    workers: int = 0,
) -> MatrixResult:
    """Bound the MI of every two views of a checkpoint's graph on the clips of a split, trained as a pair or not.

    Clips are those of an evaluation that have every view; where no video is long enough for that, those that have the
    first pair, and the other views where they are reached. Views are augmented as in training. Negatives are the
    clips of other videos, the temperature of every two views is fitted on the other half of the videos, and views
    that keep places are scored by their mean. Raises `CorpusError` when the split has fewer than two videos.
    """
    model, manifest = load(checkpoint), read_manifest(corpus).split(split)
    specs = _clips(model, manifest)
    if len({spec.video.content_id for spec in specs}) < 2:
        raise CorpusError(
            f"{corpus}: fewer than two videos of the {split} split are long enough for the views of the checkpoint; "
            "negatives are other videos: take another split, or a larger corpus"
        )
    missing: list[str] = []
    batches = _batches(model, manifest, specs, workers=workers, missing=missing)
    embedded = embed_batches(model.encoders, batches, graph=model.graph, device=model.device)
    cells, intervals = _bounds(model, embedded)
    videos = embedded.joined.videos
    assert videos is not None
    result = MatrixResult(
        ViewMatrix(tuple(model.graph.views), tuple(cells)),
        intervals,
        {
            "split": split,
            "clips": len(videos),
            "videos": len(videos.unique()),
            "missing": missing,
        },
    )
    if plot is not None:
        Path(plot).write_bytes(matrix_png(result.matrix))
    if report is not None:
        write_page(report, matrix_page(result.matrix, intervals, source=f"{checkpoint} on {corpus}, {split}"))
    return result


def _clips(model: Embedder, manifest: Manifest) -> tuple[ClipSpec, ...]:
    """List the clips that have every view, else those that have the two views of the first pair."""
    data, graph = model.config.data, model.graph
    first = graph.pairs[0]
    for required in (list(graph.signals), [graph.signal_of(first.first), graph.signal_of(first.second)]):
        specs = evaluation_clips(
            manifest,
            graph.signals,
            required=required,
            hop_seconds=data.evaluation_hop_seconds,
            most_per_video=data.evaluation_clips_per_video,
        )
        if len({spec.video.content_id for spec in specs}) > 1:
            break
    return specs


def _batches(
    model: Embedder, manifest: Manifest, specs: Sequence[ClipSpec], *, workers: int, missing: list[str]
) -> Iterator[Batch]:
    """Cut the clips, and list the videos that cannot be read."""
    data = model.config.data
    maker = ViewMaker(model.graph.signals, image=model.config.image, log_mel=model.config.log_mel)
    decoder = choose_decoder(data.decoder, fallback=data.decoder_fallback, corpus=manifest.corpus)
    clips = FixedClips(Cutter(manifest, maker, decoder), specs)
    with tqdm(total=len(clips), desc="matrix", unit="video") as bar:
        for batch in fixed_loader(clips, workers=workers, limits=Limits.of(data)):
            missing += [reject.path for reject in batch.rejects]
            bar.update(len({spec.video.path for spec in batch.specs}) + len(batch.rejects))
            yield batch


def _bounds(model: Embedder, embedded: Embedded) -> tuple[list[MatrixCell], list[Interval | None]]:
    joined = embedded.joined
    assert joined.videos is not None
    trained = {frozenset((pair.first, pair.second)) for pair in model.graph.pairs}
    cells, intervals = [], []
    for names in combinations(model.graph.views, 2):
        found = bound_of_views(
            joined.embeddings[names[0]],
            joined.embeddings[names[1]],
            present=joined.present[names[0]] & joined.present[names[1]],
            videos=joined.videos,
        )
        if not len(found.terms):
            continue
        generator = torch.Generator().manual_seed(SEED)
        cells.append(cell_of(names, found, is_trained=frozenset(names) in trained))
        intervals.append(bootstrap_interval(found.terms, joined.videos[found.rows], generator=generator))
    return cells, intervals


def _name(cell: MatrixCell) -> str:
    return " ~ ".join(cell.views)
