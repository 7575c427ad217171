"""A model and labelled videos → frozen features for classifiers."""

from collections.abc import Sequence
from typing import Literal

import torch

from avmi.corpus.manifest import Manifest
from avmi.embedder import ClipVectors, Embedder
from avmi.training.linear_probe import LabelledFeatures


def features_of(
    model: Embedder,
    manifest: Manifest,
    class_names: Sequence[str],
    *,
    view: Literal["image", "audio", "both"],
    workers: int = 0,
) -> LabelledFeatures | None:
    """Take the backbones' outputs for every labelled clip; None when there is none."""
    labelled = Manifest(
        root=manifest.root,
        videos=tuple(video for video in manifest if video.label),
        corpus=manifest.corpus,
    )
    parts = list(model.embed_manifest(labelled, output="feature", workers=workers))
    if not any(part.specs for part in parts):
        return None
    vectors = ClipVectors.join(parts)
    numbers = {name: number for number, name in enumerate(class_names)}
    places = {video.path: place for place, video in enumerate(labelled)}
    match view:
        case "image":
            features = vectors.image
        case "audio":
            features = vectors.audio
        case "both":
            features = torch.cat([vectors.image, vectors.audio], dim=1)
    return LabelledFeatures(
        features=features,
        classes=torch.tensor([numbers[spec.video.label] for spec in vectors.specs]),
        videos=torch.tensor([places[spec.video.path] for spec in vectors.specs]),
    )
