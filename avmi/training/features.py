"""A model and labelled videos → frozen features for classifiers."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Literal

import torch

from avmi.corpus.manifest import Manifest, Video
from avmi.corpus.plan import ClipSpec, anchors_of_all, cut, evaluation_clips
from avmi.embedder import Embedder
from avmi.training.linear_probe import LabelledFeatures

Side = Literal["image", "audio", "both"]


def features_of(
    model: Embedder,
    manifest: Manifest,
    class_names: Sequence[str],
    *,
    view: Side,
    workers: int = 0,
) -> LabelledFeatures | None:
    """Take the backbones' outputs for every labelled clip; None when there is none.

    Of videos that reach both views the clips are the same whichever view is asked for; of one that lacks
    the other view they are spread over what it has.
    """
    labelled = dataclasses.replace(manifest, videos=tuple(video for video in manifest if video.label))
    names = views_of(model, view)
    specs = _clips(model, labelled, names)
    if len(names) == 1:
        ones = model.embed_view(labelled, specs, view=names[0], output="feature", workers=workers)
        parts = [(one.specs, one.vectors) for one in ones]
    else:
        both = (names[0], names[1])
        pairs = model.embed_clips(labelled, specs, views=both, output="feature", workers=workers)
        parts = [(two.specs, torch.cat([two.image, two.audio], dim=1)) for two in pairs if two.specs]
    done = [spec for found, _ in parts for spec in found]
    if not done:
        return None
    numbers = {name: number for number, name in enumerate(class_names)}
    rows = {video.row_id: number for number, video in enumerate(labelled)}
    return LabelledFeatures(
        features=torch.cat([vectors for _, vectors in parts]),
        classes=torch.tensor([numbers[spec.video.label] for spec in done]),
        videos=torch.tensor([rows[spec.video.row_id] for spec in done]),
    )


def views_of(model: Embedder, view: Side) -> tuple[str, ...]:
    """Name the views that a classifier sees."""
    match view:
        case "image":
            return (model.image_view,)
        case "audio":
            return (model.audio_view,)
        case "both":
            return model.retrieval_views


def _clips(model: Embedder, videos: Iterable[Video], names: Sequence[str]) -> tuple[ClipSpec, ...]:
    """Spread clips over each video: over the time that every retrieval view reaches, if there is any."""
    signals = {name: model.signal(name) for name in names}
    every = {name: model.signal(name) for name in model.graph.retrieval_views or names}
    data = model.config.data
    specs: list[ClipSpec] = []
    for video in videos:
        reached = signals if anchors_of_all(video, every.values()) is None else every
        found = evaluation_clips(
            [video],
            reached,
            required=tuple(reached),
            hop_seconds=data.evaluation_hop_seconds,
            most_per_video=data.evaluation_clips_per_video,
        )
        specs += [cut(video, signals, spec.anchor_seconds) for spec in found]
    return tuple(specs)
