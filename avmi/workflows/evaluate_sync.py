"""`avmi evaluate sync`: a checkpoint and a corpus → which moment's sound belongs to which moment's picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch

from avmi.corpus.manifest import Manifest, read_manifest
from avmi.corpus.plan import ClipSpec, anchors_of_all, cut, grid_anchors
from avmi.embedder import ClipVectors, Embedder, load
from avmi.errors import CorpusError, InputError
from avmi.metrics import bootstrap_interval, candidate_draws, label_codes, synchrony
from avmi.types import Split, StrPath

Group = Literal["video", "label"]
SEED = 0  # of the draws: the same candidates for every model


@dataclass(frozen=True)
class SyncResult:
    """How well the sound of a moment is told from the sound of other moments; keys as `--json` prints them."""

    metrics: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return dict(self.metrics)

    def as_text(self) -> str:
        """Say it in a few lines."""
        found = self.metrics
        low, high = found["auc_interval"] or (float("nan"), float("nan"))
        lines = [
            f"{found['views'][0]} to {found['views'][1]}, {found['candidates']:g} moments of one {found['within']} "
            f"at least {found['hop_seconds']:g} s apart: recall@1 {found['recall@1']:.3f} "
            f"(chance {found['chance']:.3f}), AUC {found['auc']:.3f} (chance 0.5; 95 % {low:.3f} to {high:.3f})",
            f"{found['moments']} moments of {found['videos']} videos; {found['left_out']} videos are too short",
        ]
        if found["auc_per_label"]:
            pairs = sorted(found["auc_per_label"].items(), key=lambda item: -item[1])
            lines += [f"  {label or '(no label)'}: AUC {auc:.3f}" for label, auc in pairs]
        return "\n".join(lines)


def evaluate_sync(
    checkpoint: StrPath,
    corpus: StrPath,
    *,
    split: Split = "test",
    within: Group = "video",
    candidates: int = 8,
    hop_seconds: float = 0.3,
    draws: int = 20,
    views: tuple[str, str] | None = None,
    workers: int = 0,
) -> SyncResult:
    """Ask, for every moment's picture, which of several moments' sounds belongs to it.

    `within="video"`: the candidates are `candidates` windows of the query's own video, `hop_seconds` apart, in
    its middle; a video without room for them is left out and counted. `within="label"`: they are drawn, `draws`
    times, from all moments of the query's label on a grid of `hop_seconds`. `views` names a picture and a sound
    of the checkpoint; None takes those that retrieval uses (protocol 2 of `docs/protocols.md`).
    """
    if candidates < 2:
        raise InputError(f"candidates is 2 or more, got {candidates}: a single one is always right")
    model, manifest = load(checkpoint), read_manifest(corpus).split(split)
    chosen = model.graph.picture_and_sound(views or model.retrieval_views)
    specs, left_out = _moments(model, manifest, chosen, within=within, candidates=candidates, hop=hop_seconds)
    if not specs:
        raise CorpusError(
            f"{corpus}: no video of the {split} split has room for {candidates} moments {hop_seconds:g} s apart: "
            "ask for fewer, or closer ones"
        )
    parts = model.embed_clips(manifest, specs, views=chosen, workers=workers)
    vectors = ClipVectors.join(parts)
    names = [s.video.video_id if within == "video" else s.video.label for s in vectors.specs]
    groups = label_codes(names)
    times = draws if within == "label" else 1
    generator = torch.Generator().manual_seed(SEED)
    ranks = synchrony(
        vectors.image,
        vectors.audio,
        groups,
        candidate_draws(groups, candidates=candidates, draws=times, generator=generator),
    )
    if not len(ranks.query):
        raise CorpusError(f"{corpus}: no {within} of the {split} split has two moments to tell apart")
    videos = label_codes([spec.video.content_id for spec in vectors.specs])[ranks.query]
    interval = bootstrap_interval(ranks.auc(), videos, generator=generator)
    labels = [spec.video.label for spec in vectors.specs]
    return SyncResult(
        {
            "recall@1": float(ranks.recall_at(1).mean()),
            "chance": float(ranks.chance().mean()),
            "auc": float(ranks.auc().mean()),
            "auc_interval": None if interval is None else [interval.low, interval.high],
            "auc_per_label": _per_label(ranks.auc(), [labels[row] for row in ranks.query.tolist()]),
            "within": within,
            "views": list(chosen),
            "candidates": candidates,
            "hop_seconds": hop_seconds,
            "draws": times,
            "moments": len(vectors.specs),
            "videos": len({spec.video.content_id for spec in vectors.specs}),
            "left_out": left_out,
            "missing": [reject.path for reject in vectors.rejects],
        }
    )


def _moments(
    model: Embedder,
    manifest: Manifest,
    views: tuple[str, str],
    *,
    within: Group,
    candidates: int,
    hop: float,
) -> tuple[list[ClipSpec], int]:
    """List the moments of every video that has room for them, and count the videos that have not."""
    signals = {name: model.signal(name) for name in views}
    specs: list[ClipSpec] = []
    left_out = 0
    for video in manifest:
        interval = anchors_of_all(video, signals.values())
        number = candidates if within == "video" else None
        anchors = grid_anchors(interval, hop_seconds=hop, number=number) if interval else ()
        left_out += not anchors
        specs += [cut(video, signals, anchor) for anchor in anchors]
    return specs, left_out


def _per_label(values: torch.Tensor, labels: list[str]) -> dict[str, float]:
    """Average by label; empty when all have the same one."""
    names = sorted(set(labels))
    if len(names) < 2:
        return {}
    codes = torch.tensor([names.index(label) for label in labels])
    return {name: float(values[codes == number].mean()) for number, name in enumerate(names)}
