"""Held-out clips, kept in memory, and encoders → bounds per pair and retrieval, in the training loop."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from avmi.data import Batch
from avmi.distributed import gather_objects
from avmi.metrics import label_codes, retrieval, retrieval_summary, same_label_at_1
from avmi.mi.bounds import info_nce
from avmi.models.encoders import Encoders
from avmi.objective import negatives_of
from avmi.views.graph import ViewGraph


@dataclass(frozen=True)
class HeldOut:
    """Held-out clips of this process: decoded once, used at every evaluation."""

    batches: tuple[Batch, ...]

    @classmethod
    def decode(cls, batches: Iterable[Batch]) -> "HeldOut":
        """Take the batches that have clips; unreadable videos are simply not among them."""
        return cls(tuple(batch for batch in batches if batch.specs))

    def __len__(self) -> int:
        return sum(len(batch.specs) for batch in self.batches)


@dataclass(frozen=True)
class Embedded:
    """Embeddings of all processes' held-out clips; a clip without a view has a row of zeros."""

    embeddings: dict[str, Tensor]
    present: dict[str, Tensor]
    videos: Tensor
    labels: tuple[str, ...]


@torch.inference_mode()
def embed_held_out(encoders: Encoders, held_out: HeldOut, *, device: torch.device) -> Embedded:
    """Embed every process's share and give all of them to every process."""
    encoders.eval()
    shares: list[tuple[list[dict[str, tuple[Tensor, Tensor]]], list[Tensor], list[str]]]
    mine: list[dict[str, tuple[Tensor, Tensor]]] = []
    for batch in held_out.batches:
        embeddings = encoders(batch.to(device).views)
        mine.append({n: (batch.rows[n], e.float().cpu()) for n, e in embeddings.items()})
    videos = [batch.videos for batch in held_out.batches]
    labels = [spec.video.label for batch in held_out.batches for spec in batch.specs]
    encoders.train()
    shares = gather_objects((mine, videos, labels))
    return _laid_out(
        [part for share in shares for part in share[0]],
        [part for share in shares for part in share[1]],
        [label for share in shares for label in share[2]],
        views=encoders.encoder_of,
    )


def evaluate(embedded: Embedded, graph: ViewGraph, *, temperature: float) -> dict[str, float]:
    """Bound the MI of every pair on held-out clips, and retrieve across the first cross-modal pair.

    `bound_nats` is the weighted mean over pairs: the number by which the best checkpoint is chosen.
    """
    scalars: dict[str, float] = {}
    total = weights = 0.0
    for pair in graph.pairs:
        both = embedded.present[pair.first] & embedded.present[pair.second]
        first, second = embedded.embeddings[pair.first], embedded.embeddings[pair.second]
        negatives = negatives_of(pair.negatives, both, embedded.videos)
        bound = info_nce(first @ second.T / temperature, negatives=negatives)
        scalars[f"bound_nats/{pair.name}"] = float(bound.value_nats)
        scalars[f"ceiling_nats/{pair.name}"] = float(bound.ceiling_nats)
        total += pair.weight * float(bound.value_nats)
        weights += pair.weight
    scalars["bound_nats"] = total / weights
    retrieved = graph.retrieval_views
    if retrieved is not None:
        scalars |= _retrieval(embedded, image=retrieved[0], audio=retrieved[1])
    return scalars


def _retrieval(embedded: Embedded, *, image: str, audio: str) -> dict[str, float]:
    both = embedded.present[image] & embedded.present[audio]
    images, sounds = embedded.embeddings[image][both], embedded.embeddings[audio][both]
    if len(images) < 2:
        return {}
    labels = [label for label, kept in zip(embedded.labels, both.tolist(), strict=True) if kept]
    scalars: dict[str, float] = {}
    for name, queries, gallery in (("image_to_audio", images, sounds), ("audio_to_image", sounds, images)):
        summary = retrieval_summary(retrieval(queries, gallery))
        scalars |= {f"{name}/{k}": v for k, v in summary.items() if v is not None}
    if len(set(labels)) > 1:
        codes = label_codes(labels)
        same = same_label_at_1(images, sounds, query_labels=codes, gallery_labels=codes).mean()
        scalars |= {} if same is None else {"same_label@1": same}
    return scalars


def _laid_out(
    parts: list[dict[str, tuple[Tensor, Tensor]]],
    videos: list[Tensor],
    labels: list[str],
    *,
    views: Mapping[str, str],
) -> Embedded:
    dim = next(embedding.shape[1] for part in parts for _, embedding in part.values())
    embeddings = {name: torch.zeros(len(labels), dim) for name in views}
    present = {name: torch.zeros(len(labels), dtype=torch.bool) for name in views}
    first = 0
    for part, part_videos in zip(parts, videos, strict=True):
        for name, (rows, embedding) in part.items():
            embeddings[name][first + rows] = embedding
            present[name][first + rows] = True
        first += len(part_videos)
    return Embedded(embeddings, present, torch.cat(videos), tuple(labels))
