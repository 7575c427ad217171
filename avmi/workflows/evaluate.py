"""`avmi evaluate retrieval` and `avmi evaluate probe`: a checkpoint and a corpus → metrics."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from avmi.corpus.manifest import Manifest, read_manifest
from avmi.embedder import ClipVectors, Embedder, load
from avmi.errors import CorpusError
from avmi.metrics import (
    bootstrap_interval,
    gallery_sha256,
    label_codes,
    retrieval,
    retrieval_summary,
    same_label_at_1,
    same_label_at_1_other_video,
    within_label,
    within_label_summary,
)
from avmi.training.classes import ClassReport, report_classes
from avmi.training.features import features_of
from avmi.training.linear_probe import fit_linear_probe
from avmi.types import Split, StrPath


@dataclass(frozen=True)
class RetrievalResult:
    """Retrieval across sight and sound; the keys are those that `--json` prints."""

    metrics: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return dict(self.metrics)

    def as_text(self) -> str:
        """Say it in a few lines."""
        lines = []
        for way in ("image_to_audio", "audio_to_image"):
            found = self.metrics[way]
            recalls = ", ".join(f"recall@{k} {found[f'recall@{k}']:.3f}" for k in (1, 5, 10))
            lines.append(f"{way.replace('_', ' ')}: {recalls}, median rank {found['median_rank']:g}")
        if self.metrics["same_label@1"] is not None:
            within = self.metrics["within_label"]
            lines.append(f"same label @1: {self.metrics['same_label@1']:.3f}")
            lines.append(
                f"within label: recall@1 {within['recall@1']:.3f} (chance {within['chance']:.3f}), "
                f"AUC {within['auc']:.3f} (chance 0.5)"
            )
        lines.append(
            f"gallery: {self.metrics['gallery']} clips of {self.metrics['videos']} videos, "
            f"{self.metrics['train_overlap']} of them seen in training"
        )
        return "\n".join(lines)


def evaluate_retrieval(
    checkpoint: StrPath, corpus: StrPath, *, split: Split = "test", workers: int = 0
) -> RetrievalResult:
    """Retrieve sounds from pictures and pictures from sounds among the fixed clips of a split.

    The gallery is every clip of the split; ties count by expectation; intervals are 95 % bootstrap
    intervals over videos (protocols 1 and 2 of `docs/protocols.md`).
    """
    model = load(checkpoint)
    chosen = _labelled_or_not(read_manifest(corpus), split)
    vectors = ClipVectors.join(model.embed_manifest(chosen, workers=workers))
    return RetrievalResult(_retrieval_metrics(vectors, model))


def evaluate_probe(
    checkpoint: StrPath,
    corpus: StrPath,
    *,
    split: Split = "test",
    view: Literal["image", "audio", "both"] = "both",
    workers: int = 0,
) -> ClassReport:
    """Fit a linear probe on frozen features of the train split and test it on another.

    The penalty is chosen on the valid split only (protocol 3). Raises `CorpusError` without labels.
    """
    if split == "train":
        raise CorpusError("a probe is fitted on the train split: evaluate on valid or test")
    model, manifest = load(checkpoint), read_manifest(corpus)
    names = manifest.labels
    train, valid, test = (
        features_of(model, manifest.split(part), names, view=view, workers=workers)
        for part in ("train", "valid", split)
    )
    if train is None or test is None:
        lacking = "train" if train is None else split
        raise CorpusError(f"{corpus}: the {lacking} split has no labelled clip to classify")
    # What chooses the penalty must not be what is reported.
    probe = fit_linear_probe(train, None if split == "valid" else valid, class_names=names)
    return report_classes(
        probe.scores(test.features),
        test.classes,
        test.videos,
        class_names=names,
        trained=train.classes.unique(),
    )


def _labelled_or_not(manifest: Manifest, split: Split) -> Manifest:
    chosen = manifest.split(split)
    if not len(chosen):
        raise CorpusError(
            f"{manifest.corpus}: no video is in the {split} split; it has "
            f"{', '.join(sorted({v.split for v in manifest}))}"
        )
    return chosen


def _retrieval_metrics(vectors: ClipVectors, model: Embedder) -> dict[str, Any]:
    specs = vectors.specs
    videos = label_codes([spec.video.content_id for spec in specs])
    metrics: dict[str, Any] = {
        "image_to_audio": _one_way(vectors.image, vectors.audio, videos),
        "audio_to_image": _one_way(vectors.audio, vectors.image, videos),
        **_by_label(vectors, videos),
    }
    seen = {spec.video.content_id for spec in specs} & model.checkpoint.train_videos
    return {
        **metrics,
        "gallery": len(specs),
        "gallery_sha256": gallery_sha256([spec.clip_id for spec in specs]),
        "videos": len(videos.unique()),
        "train_overlap": len(seen),
        "missing": [reject.path for reject in vectors.rejects],
    }


def _one_way(queries: Tensor, gallery: Tensor, videos: Tensor) -> dict[str, Any]:
    ranks = retrieval(queries, gallery)
    interval = bootstrap_interval(ranks.recall_at(1), videos, generator=torch.Generator().manual_seed(0))
    return {
        **retrieval_summary(ranks),
        "recall@1_interval": None if interval is None else [interval.low, interval.high],
        "chance": 1 / len(gallery),
    }


def _by_label(vectors: ClipVectors, videos: Tensor) -> dict[str, Any]:
    """Measure what labels allow; everything is None when the split has fewer than two."""
    labels = [spec.video.label for spec in vectors.specs]
    kept = torch.tensor([place for place, label in enumerate(labels) if label], dtype=torch.long)
    if len(set(labels) - {""}) < 2:
        nothing = {"recall@1": None, "chance": None, "auc": None}
        return {"same_label@1": None, "same_label_other_video@1": None, "within_label": nothing}
    codes = label_codes([label for label in labels if label])
    images, sounds = vectors.image[kept], vectors.audio[kept]
    same = same_label_at_1(images, sounds, query_labels=codes, gallery_labels=codes)
    return {
        "same_label@1": same.mean(),
        "same_label_other_video@1": _other_video(images, sounds, labels=codes, videos=videos[kept]),
        "within_label": within_label_summary(within_label(images, sounds, codes)),
    }


def _other_video(images: Tensor, sounds: Tensor, *, labels: Tensor, videos: Tensor) -> float | None:
    """Measure same label @1 without the query's video, for labels with two videos; None when there are none."""
    of_label = [len(videos[labels == label].unique()) for label in labels.tolist()]
    asked = torch.tensor(of_label) > 1
    if not asked.any():
        return None
    return same_label_at_1_other_video(
        images[asked],
        sounds,
        query_labels=labels[asked],
        gallery_labels=labels,
        query_videos=videos[asked],
        gallery_videos=videos,
    ).mean()
