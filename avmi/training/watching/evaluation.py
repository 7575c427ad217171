"""Held-out clips, kept in memory, and encoders → bounds per pair, how embeddings lie, and retrieval, in the loop."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from avmi.data import Batch
from avmi.distributed import gather_objects
from avmi.errors import InputError
from avmi.metrics import label_codes, retrieval, retrieval_summary, same_label_at_1
from avmi.models.encoders import Encoders
from avmi.objective import Objective
from avmi.objective.joined import Joined
from avmi.training.watching.embedding_scalars import scalars_of_embeddings
from avmi.training.watching.loss_scalars import scalars_of_terms
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
    """Embeddings of all processes' held-out clips, and the labels of the clips."""

    joined: Joined
    labels: tuple[str, ...]


@torch.inference_mode()
def embed_held_out(
    encoders: Encoders, held_out: HeldOut, *, graph: ViewGraph, device: torch.device
) -> Embedded:
    """Embed every process's share of the held-out clips and give all of them to every process."""
    encoders.eval()
    mine = [_embedded(encoders, batch, graph=graph, device=device) for batch in held_out.batches]
    encoders.train()
    return _laid_out([share for shares in gather_objects(mine) for share in shares], graph.views)


@torch.inference_mode()
def embed_batches(
    encoders: Encoders, batches: Iterable[Batch], *, graph: ViewGraph, device: torch.device
) -> Embedded:
    """Embed batches one after the other in this process, with encoders as they are; empty ones are passed over.

    Raises `InputError` when no batch has a clip.
    """
    shares = [_embedded(encoders, batch, graph=graph, device=device) for batch in batches if batch.specs]
    if not shares:
        raise InputError("no clip could be embedded: the videos are too short or unreadable")
    return _laid_out(shares, graph.views)


def evaluate(embedded: Embedded, objective: Objective) -> dict[str, float]:
    """Bound the MI of every pair on held-out clips, and retrieve across the first cross-modal pair.

    `bound_nats` is the weighted mean over the terms that have clips: the number by which the best checkpoint is
    chosen. The terms have the names of training, and there is how the embeddings lie (`embedding_scalars`).
    """
    scalars: dict[str, float] = {}
    total = weights = 0.0
    objective.eval()  # running means of bounds are training's
    with torch.inference_mode():
        terms = objective.terms(embedded.joined.to(objective.log_temperature.device))
    objective.train()
    for name, term in terms.items():
        if not int(term.clips):
            continue
        scalars |= scalars_of_terms({name: term})
        total += objective.weights[name] * float(term.bound_nats)
        weights += objective.weights[name]
    scalars["bound_nats"] = total / weights if weights else 0.0
    retrieved = objective.graph.retrieval_views
    if retrieved is not None:
        scalars |= _retrieval(embedded, image=retrieved[0], audio=retrieved[1])
    joined = embedded.joined
    return scalars | scalars_of_embeddings(joined.embeddings, joined.present, pairs=objective.graph.pairs)


def _retrieval(embedded: Embedded, *, image: str, audio: str) -> dict[str, float]:
    both = embedded.joined.present[image] & embedded.joined.present[audio]
    images = embedded.joined.embeddings[image][both].flatten(1)
    sounds = embedded.joined.embeddings[audio][both].flatten(1)
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


@dataclass(frozen=True)
class _Share:
    """One batch of held-out clips, embedded: for each view its rows and their embeddings."""

    vectors: dict[str, tuple[Tensor, Tensor]]
    videos: Tensor
    seconds: Tensor
    labels: list[str]


def _embedded(encoders: Encoders, batch: Batch, *, graph: ViewGraph, device: torch.device) -> _Share:
    embeddings = encoders(batch.to(device).views)
    vectors = {n: (batch.rows[graph.signal_of(n)], e.float().cpu()) for n, e in embeddings.items()}
    return _Share(vectors, batch.videos, batch.seconds, [spec.video.label for spec in batch.specs])


def _laid_out(shares: list[_Share], views: Iterable[str]) -> Embedded:
    """Join the shares; a view that no held-out clip has stands as absent from all of them."""
    labels = [label for share in shares for label in share.labels]
    shapes = {name: e.shape[1:] for share in shares for name, (_, e) in share.vectors.items()}
    dim = next(iter(shapes.values()))[-1]
    places = {name: shapes[name][:-1].numel() if name in shapes else 1 for name in views}
    embeddings = {name: torch.zeros(len(labels), number, dim) for name, number in places.items()}
    present = {name: torch.zeros(len(labels), dtype=torch.bool) for name in places}
    first = 0
    for share in shares:
        for name, (rows, embedding) in share.vectors.items():
            embeddings[name][first + rows] = embedding.reshape(len(rows), *embeddings[name].shape[1:])
            present[name][first + rows] = True
        first += len(share.videos)
    videos = torch.cat([share.videos for share in shares])
    seconds = torch.cat([share.seconds for share in shares])
    return Embedded(Joined(embeddings, present, videos, seconds), tuple(labels))
