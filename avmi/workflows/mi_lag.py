"""`avmi mi lag`: a checkpoint and a corpus → the bound against the lag of the sound, and the files that are off."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from avmi.config.mistakes import listed
from avmi.config.views import AudioView, FrameView
from avmi.corpus.lag_plan import LagPlan, Moments, lags_in_steps, plan_lags
from avmi.corpus.manifest import Manifest, read_manifest
from avmi.data import Batch, Cutter, FixedClips, Limits, fixed_loader
from avmi.decode.choose import choose_decoder
from avmi.embedder import BATCH, Embedder, load
from avmi.errors import CorpusError
from avmi.metrics import bootstrap_interval
from avmi.mi.lag import FileMoments, corpus_bounds, file_temperature, file_terms
from avmi.mi.lag_peak import LagPeak, lag_peak, surely_off_zero
from avmi.report.mi_lag import CorpusCurve, FileCurve, LagReport, lag_page, lag_png
from avmi.report.page import write_page
from avmi.types import Split, StrPath
from avmi.views.make import ViewMaker

SEED = 0  # of the resampling: the same answer every time
# Moments of one file beyond this tell little more of its lag, and cost their square.
MOST_OF_A_FILE = 120
# The corpus curve takes so many of all: K is then large enough for 7 nats.
MOST_OF_THE_CORPUS = 2048
# Enough for the rule on p-values to be passed by one file of so many: 1 / resamples < 0.05 / files.
LEAST_RESAMPLES, RESAMPLES_OF_A_FILE, MOST_RESAMPLES = 2000, 40, 20000


@dataclass(frozen=True)
class LagResult:
    """Curves of the corpus and of every file over the lag; keys as `--json` prints them."""

    report: LagReport
    facts: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        corpus = self.report.corpus
        return {
            **self.facts,
            "lags_seconds": list(self.report.lags_seconds),
            "corpus": {
                "bound_nats": list(corpus.bound_nats),
                "standard_error_nats": list(corpus.standard_error_nats),
                "interval": [None if i is None else list(i) for i in corpus.intervals],
                "ceiling_nats": list(corpus.ceiling_nats),
                "cosine_ceiling_nats": list(corpus.cosine_ceiling_nats),
                "moments": list(corpus.moments),
                "peak_seconds": corpus.peak_seconds(self.report.lags_seconds),
                "kind": "lower",
            },
            "files": [
                {
                    "video": file.path,
                    "label": file.label,
                    "moments": file.moments,
                    "curve_nats": list(file.nats),
                    "peak_seconds": self.report.lags_seconds[file.peak.lag],
                    "gain_nats": file.peak.gain_nats,
                    "gain_standard_error_nats": file.peak.standard_error_nats,
                    "p_value": file.peak.p_value,
                    "share": file.peak.share,
                    "off_zero": file.is_off,
                    "kind": "neither",
                }
                for file in self.report.files
            ],
        }

    def as_text(self) -> str:
        """Say it in a table of the corpus, and a line for each file that is off."""
        report, corpus = self.report, self.report.corpus
        picture, sound = report.views
        lines = [
            f"{picture} at t, {sound} at t + lag: {self.facts['moments']} moments of {self.facts['videos']} videos of "
            f"{self.facts['split']}; {self.facts['left_out']} videos are too short for the lags",
            "lag, s    bound, nats (a lower bound, against other videos)      at most   moments",
        ]
        for place, lag in enumerate(report.lags_seconds):
            interval = corpus.intervals[place]
            within = "" if interval is None else f" [{interval[0]:.2f}, {interval[1]:.2f}]"
            lines.append(
                f"{lag:+6.2f}    {corpus.bound_nats[place]:5.2f} ± {corpus.standard_error_nats[place]:.2f}{within:38}"
                f"{corpus.ceiling_nats[place]:5.2f}   {corpus.moments[place]:7d}"
            )
        lines.append(f"the corpus has its peak at {corpus.peak_seconds(report.lags_seconds):+g} s")
        off = [file for file in report.files if file.is_off]
        unsure = sum(not file.is_told for file in report.files)
        lines.append(
            f"{len(off)} of {len(report.files)} files have their peak off 0"
            + (f"; {unsure} have too few moments to tell" if unsure else "")
        )
        lines += [
            f"  {file.path}: {report.lags_seconds[file.peak.lag]:+g} s, {file.peak.gain_nats:.2f} ± "
            f"{file.peak.standard_error_nats:.2f} nats over lag 0, p {file.peak.p_value:.2g}, peak there in "
            f"{file.peak.share:.1%} of resamples, {file.moments} moments"
            for file in off
        ]
        return "\n".join([*lines, *(f"  missing: {path}" for path in self.facts["missing"])])


def mi_lag(
    checkpoint: StrPath,
    corpus: StrPath,
    *,
    split: Split = "test",
    from_seconds: float = -5.0,
    to_seconds: float = 5.0,
    step_seconds: float = 0.5,
    moments: Moments = "common",
    views: tuple[str, str] | None = None,
    report: StrPath | None = None,
    plot: StrPath | None = None,
    workers: int = 0,
) -> LagResult:
    """Bound the MI of the picture at t and the sound at t + lag, for the corpus and for every file.

    A positive peak says that the sound comes late. `views` names a picture and a sound of the checkpoint; None takes
    those that retrieval uses. `moments` as in `plan_lags`. The curve of the corpus has moments of other videos as
    negatives, that of a file the other moments of the file. Raises `CorpusError` when fewer than two videos are
    long enough.
    """
    lags = lags_in_steps(from_seconds, to_seconds, step_seconds)
    model, manifest = load(checkpoint), read_manifest(corpus).split(split)
    picture, sound = chosen = model.graph.picture_and_sound(views or model.retrieval_views)
    plans = [
        plan
        for video in manifest
        if (
            plan := plan_lags(
                video,
                *_signals(model, chosen),
                lags=lags,
                step_seconds=step_seconds,
                moments=moments,
                most_moments=MOST_OF_A_FILE,
            )
        )
    ]
    if len(plans) < 2:
        raise CorpusError(_too_short(corpus, split, lags, step_seconds, moments))
    missing: list[str] = []
    files = list(_files(model, manifest, plans, views=chosen, workers=workers, missing=missing))
    if len(files) < 2:
        raise CorpusError(
            f"{corpus}: fewer than two videos of the {split} split can be read ({len(missing)} cannot, such as {listed(missing[:3])}): negatives are "
            "other videos; is the disk still there?"
        )
    seconds = tuple(lag * step_seconds for lag in lags)
    first, last = model.signal(sound).extent_seconds
    found = LagReport(
        views=(picture, sound),
        lags_seconds=seconds,
        corpus=_corpus_curve([file for _, file in files]),
        files=_file_curves(files, zero=lags.index(0), window_seconds=last - first),
    )
    facts = {
        "split": split,
        "views": list(chosen),
        "moments_of": moments,
        "moments": sum(len(file.pictures) for _, file in files),
        "videos": len(files),
        "left_out": len(manifest) - len(plans),
        "missing": missing,
    }
    if plot is not None:
        Path(plot).write_bytes(lag_png(found))
    if report is not None:
        write_page(report, lag_page(found, source=f"{checkpoint} on {corpus}, {split}"))
    return LagResult(found, facts)


def _signals(model: Embedder, views: tuple[str, str]) -> tuple[FrameView, AudioView]:
    picture, sound = (model.signal(name) for name in views)
    assert isinstance(picture, FrameView)
    assert isinstance(sound, AudioView)
    return picture, sound


def _too_short(corpus: StrPath, split: str, lags: Sequence[int], step: float, moments: Moments) -> str:
    spans = f"lags from {lags[0] * step:g} to {lags[-1] * step:g} s"
    which = "at every one of them" if moments == "common" else "at lag 0"
    narrow = "narrow the lags, or take moments=each" if moments == "common" else "take longer videos"
    return (
        f"{corpus}: fewer than two videos of the {split} split have a moment whose sound is there {which} "
        f"({spans}): {narrow}"
    )


def _files(
    model: Embedder,
    manifest: Manifest,
    plans: Sequence[LagPlan],
    *,
    views: tuple[str, str],
    workers: int,
    missing: list[str],
) -> Iterator[tuple[LagPlan, FileMoments]]:
    """Embed every picture and every sound once, file by file, and lay the sounds out by lag."""
    signals = {name: model.signal(name) for name in views}
    maker = ViewMaker(signals, image=model.config.image, log_mel=model.config.log_mel)
    data = model.config.data
    cutter = Cutter(
        manifest, maker, choose_decoder(data.decoder, fallback=data.decoder_fallback, corpus=manifest.corpus)
    )
    specs = [spec for plan in plans for spec in plan.specs(signals)]
    by_row = {plan.video.row_id: plan for plan in plans}
    clips = FixedClips(cutter, specs)
    loader = fixed_loader(clips, workers=workers, videos_per_batch=1, limits=Limits.of(data))
    for batch in tqdm(loader, total=len(plans), desc="lag", unit="video"):
        missing += [reject.path for reject in batch.rejects]
        if batch.specs:
            plan = by_row[batch.specs[0].video.row_id]
            yield plan, _laid_out(plan, *(_by_place(model, batch, plan, name) for name in views))


@torch.no_grad()
def _by_place(model: Embedder, batch: Batch, plan: LagPlan, view: str) -> dict[int, Tensor]:
    """Embed one view of a file's clips, by the places of the grid."""
    encoder = model.encoders.encoder(view)
    parts = [encoder(part.to(model.device)).float().cpu() for part in batch.views[view].split(BATCH)]
    rows = batch.rows[view].tolist()
    places = [plan.place(batch.specs[row].anchor_seconds) for row in rows]
    return dict(zip(places, torch.cat(parts), strict=True))


def _laid_out(plan: LagPlan, pictures: Mapping[int, Tensor], sounds: Mapping[int, Tensor]) -> FileMoments:
    moments = [place for place in plan.moments if place in pictures]
    nothing = torch.zeros_like(next(iter(pictures.values())))
    heard = [[sounds.get(place + lag) for place in moments] for lag in plan.lags]
    return FileMoments(
        pictures=torch.stack([pictures[place] for place in moments]),
        sounds=torch.stack([torch.stack([nothing if s is None else s for s in row]) for row in heard]),
        present=torch.tensor([[s is not None for s in row] for row in heard]),
    )


def _corpus_curve(files: Sequence[FileMoments]) -> CorpusCurve:
    bounds, videos = corpus_bounds(files, most_moments=MOST_OF_THE_CORPUS)
    intervals = []
    for bound in bounds:
        generator = torch.Generator().manual_seed(SEED)
        found = bootstrap_interval(bound.terms, videos[bound.rows], generator=generator)
        intervals.append(None if found is None else (found.low, found.high))
    return CorpusCurve(
        bound_nats=tuple(bound.value_nats for bound in bounds),
        standard_error_nats=tuple(bound.standard_error_nats for bound in bounds),
        intervals=tuple(intervals),
        ceiling_nats=tuple(bound.ceiling_nats for bound in bounds),
        cosine_ceiling_nats=tuple(bound.cosine_ceiling_nats for bound in bounds),
        moments=tuple(len(bound.terms) for bound in bounds),
    )


def _file_curves(
    files: Sequence[tuple[LagPlan, FileMoments]], *, zero: int, window_seconds: float
) -> tuple[FileCurve, ...]:
    temperature = file_temperature(file for _, file in files)
    resamples = min(MOST_RESAMPLES, max(LEAST_RESAMPLES, RESAMPLES_OF_A_FILE * len(files)))
    generator = torch.Generator().manual_seed(SEED)
    peaks: list[LagPeak] = []
    curves: list[tuple[float, ...]] = []
    for plan, file in files:
        terms = file_terms(file, temperature=temperature)
        apart = (
            plan.seconds(plan.moments[1]) - plan.seconds(plan.moments[0]) if len(plan.moments) > 1 else 1.0
        )
        block = max(1, round(window_seconds / apart))
        peaks.append(lag_peak(terms, zero=zero, block=block, resamples=resamples, generator=generator))
        curves.append(tuple(terms.nanmean(dim=1).tolist()))
    return tuple(
        FileCurve(plan.video.path, plan.video.label, len(file.pictures), curve, peak, is_off)
        for (plan, file), curve, peak, is_off in zip(
            files, curves, peaks, surely_off_zero(peaks), strict=True
        )
    )
