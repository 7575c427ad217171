"""`avmi views`: a configuration and a corpus → what its views and pairs are, and a page of clips cut into them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from avmi.config.schema import PretrainConfig
from avmi.config.views import FrameView
from avmi.corpus.manifest import Manifest, Video
from avmi.corpus.plan import ClipSpec, SignalView
from avmi.data import Sample, TrainingStream, stable_seed
from avmi.decode.clip import Clip, Waveform, decode_clips
from avmi.errors import ConfigError, CorpusError, UsageError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.report.page import write_page
from avmi.report.view_facts import PairFacts, ViewFacts, pair_facts, span, view_facts
from avmi.report.views import Drawn, ShownClip, ViewsReport, views_page
from avmi.training.feed import Feed, open_corpus
from avmi.types import Split, StrPath
from avmi.views.graph import ViewGraph, graph_of
from avmi.views.make import ViewMaker
from avmi.views.packed import blurred_crops
from avmi.views.reach import check_reach, cut_pairs
from avmi.views.shapes import view_shapes


@dataclass(frozen=True)
class ViewsResult:
    """What the views and pairs of a configuration are, on the videos of one split."""

    views: tuple[ViewFacts, ...]
    pairs: tuple[PairFacts, ...]
    split: Split
    videos: int
    warnings: tuple[str, ...]
    report: Path | None = None

    @property
    def encoders(self) -> dict[str, list[str]]:
        """Views by the encoder that they enter."""
        found: dict[str, list[str]] = {}
        for view in self.views:
            found.setdefault(view.encoder, []).append(view.name)
        return found

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "views": [view.as_json() for view in self.views],
            "pairs": [pair.as_json() for pair in self.pairs],
            "encoders": self.encoders,
            "split": self.split,
            "videos": self.videos,
            "warnings": list(self.warnings),
            "report": None if self.report is None else str(self.report),
        }

    def as_text(self) -> str:
        """Lay views, pairs and encoders out as tables."""
        views = [
            (v.name, v.what, span(v.seconds), v.encoder, f"{v.reach:.0%}", v.augmentation or "–")
            for v in self.views
        ]
        pairs = [
            (p.pair.name, p.pair.bound.name, f"{p.pair.weight:g}", f"{p.reach:.0%}", p.negatives)
            for p in self.pairs
        ]
        lines = [
            f"{len(views)} views, {len(pairs)} pairs, {len(self.encoders)} encoders; "
            f"reach is the share of the {self.videos} videos of the {self.split} split",
            "",
            *_table(("view", "what", "from the anchor", "encoder", "reach", "augmentation"), views),
            "",
            *_table(("pair", "bound", "weight", "reach", "negatives"), pairs),
            "",
            *(f"encoder {name}: {', '.join(inside)}" for name, inside in self.encoders.items()),
            *(f"warning: {warning}" for warning in self.warnings),
        ]
        return "\n".join(lines + ([f"report: {self.report}"] if self.report else []))


def views(
    config: PretrainConfig,
    corpus: StrPath,
    *,
    report: StrPath | None = None,
    clips: int = 4,
    split: Split = "train",
    seed: int | None = None,
) -> ViewsResult:
    """Describe the views and pairs of a configuration, and draw clips of a corpus cut into them.

    The clips are the first of as many videos that a training with this seed would cut (None: the
    configuration's own), so that they look as they do there. `report` is an HTML page to write; without one
    nothing is decoded. Raises `ConfigError` for views or pairs that cannot be, `CorpusError` when the split
    has no video or none that reaches a pair, `UsageError` for a page that cannot be written.
    """
    if report is not None:
        _require_writable(Path(report))
    graph = graph_of(config)
    grids = _grids(graph, config)
    manifest = open_corpus(corpus, config.data)
    chosen = manifest.split(split)
    if not len(chosen):
        raise CorpusError(f"{corpus}: no video is in the {split} split; choose another with --split")
    stream = Feed(manifest, graph.signals, config.image, config.log_mel, config.data).stream(
        pairs=cut_pairs(graph), seed=config.seed if seed is None else seed, split=split
    )
    result = ViewsResult(
        views=view_facts(graph, chosen.videos, grids=grids),
        pairs=pair_facts(graph, chosen.videos),
        split=split,
        videos=len(chosen),
        warnings=_warnings(graph, config, manifest),
        report=None if report is None else Path(report),
    )
    if report is not None:
        shown = [_shown(graph, stream, stream[position].samples[0]) for position in range(clips)]
        _write(Path(report), _page(result, graph, config, shown, corpus=corpus))
    return result


def _grids(graph: ViewGraph, config: PretrainConfig) -> Mapping[str, tuple[int, ...]]:
    """Run empty views through untrained encoders: says where backbones and views do not fit, too."""
    encoders = Encoders(graph.views, config.encoders.without_weights(), log_mel=LogMelStatistics(0.0, 1.0))
    return encoders.grids(view_shapes(graph.signals, image=config.image, log_mel=config.log_mel))


def _warnings(graph: ViewGraph, config: PretrainConfig, manifest: Manifest) -> tuple[str, ...]:
    """Say what would stop or harm a pretraining on this corpus."""
    try:
        if len(manifest.split("train")):
            check_reach(graph, manifest)
    except ConfigError as error:
        return tuple(str(error).splitlines())
    crops = blurred_crops(graph.signals, image=config.image, corpus=manifest.corpus)
    return (crops,) if crops else ()


def _shown(graph: ViewGraph, stream: TrainingStream, sample: Sample) -> ShownClip:
    """Give the views of a sample, another draw of the augmented ones, and the sound that they were made of."""
    maker, clip = stream.cutter.maker, _decoded(stream, sample.spec)
    again = stable_seed(sample.seed, "another draw")
    redrawn = maker(clip, seed=again)
    draws: dict[str, list[Drawn]] = {}
    for name, tensor in sample.views.items():
        view = graph.signals[name]
        draws[name] = [Drawn(tensor, _heard(maker, clip, name, seed=sample.seed))]
        if view.is_augmented:
            draws[name].append(Drawn(redrawn[name], _heard(maker, clip, name, seed=again)))
    missing = {
        name: _why_missing(sample.spec, view)
        for name, view in graph.signals.items()
        if name not in sample.views
    }
    return ShownClip(sample.spec, draws, missing)


def _decoded(stream: TrainingStream, spec: ClipSpec) -> Clip:
    cutter = stream.cutter
    (clip,) = decode_clips(
        [spec],
        cutter.manifest.path_of(spec.video),
        decoder=cutter.decoder,
        sample_rate_hz=cutter.maker.sample_rate_hz,
        short_side_px=cutter.maker.short_side_px,
    )
    return clip


def _heard(maker: ViewMaker, clip: Clip, name: str, *, seed: int) -> Waveform | None:
    return None if isinstance(maker.views[name], FrameView) else maker.heard(clip, name, seed=seed)


def _why_missing(spec: ClipSpec, view: SignalView) -> str:
    """Say which seconds a view needs and which there are, counted from the anchor."""
    what, (start, end) = _stream_of(spec.video, view)
    there = span((round(start - spec.anchor_seconds, 2), round(end - spec.anchor_seconds, 2)))
    margin = " with its shifts" if view.extent_seconds != view.unaugmented.extent_seconds else ""
    return f"it needs {span(view.extent_seconds)}{margin} from the anchor, and the {what} runs from {there}"


def _stream_of(video: Video, view: SignalView) -> tuple[str, tuple[float, float]]:
    if isinstance(view, FrameView):
        return "picture", (video.video_start_seconds, video.video_end_seconds)
    return "sound", (video.audio_start_seconds, video.audio_end_seconds)


def _page(
    result: ViewsResult,
    graph: ViewGraph,
    config: PretrainConfig,
    shown: Sequence[ShownClip],
    *,
    corpus: StrPath,
) -> str:
    told = ViewsReport(
        graph=graph,
        views=result.views,
        pairs=result.pairs,
        log_mel=config.log_mel,
        split=result.split,
        videos=result.videos,
        warnings=result.warnings,
    )
    source = f"clips of {corpus}, {result.split} split, for the run {config.run}"
    return views_page(told, shown, source=source)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (columns, *rows)
    ]


def _require_writable(path: Path) -> None:
    """Find out before the work whether the page can be written; nothing is made here."""
    standing = path if path.exists() else next(p for p in path.absolute().parents if p.exists())
    if path.is_dir() or (standing != path and not standing.is_dir()) or not os.access(standing, os.W_OK):
        raise UsageError(f"cannot write the page {path}: choose another place")


def _write(path: Path, page: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_page(path, page)
    except OSError as error:
        raise UsageError(f"cannot write {path} ({error.strerror or error}): choose another place") from error
