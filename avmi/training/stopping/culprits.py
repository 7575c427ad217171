"""A step whose loss or gradient was not finite → the pairs, views, clips and weights that it comes from.

The step is computed once more with the same weights, by parts, and every process looks at its own clips.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from avmi.data import Batch, stable_seed
from avmi.distributed import gather_objects
from avmi.models.training_pass import Encoded, TrainingPass
from avmi.training.step import Pretraining, StepTaken

log = logging.getLogger(__name__)

_MOST_NAMED = 8  # of each kind


@dataclass(frozen=True)
class Culprits:
    """Names, in the order in which they were found."""

    pairs: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    clips: tuple[str, ...] = ()  # those whose embedding or its gradient is not finite
    weights: tuple[str, ...] = ()  # parameters whose gradient is not finite


def told(parts: Pretraining, taken: StepTaken) -> str:
    """Name what the step's numbers come from, for an error; every process calls this, and all get the same text."""
    pairs = [name for name, term in taken.loss.terms.items() if not term.loss.isfinite()]
    pairs += [name for name, value in taken.loss.codes.items() if not value.isfinite()]
    found = _joined([Culprits(pairs=tuple(pairs)), *_of_all(parts, taken)])
    all_clips = [spec.clip_id for batch in taken.batches for spec in batch.specs]
    clips = found.clips or tuple(clip for clips in gather_objects(all_clips) for clip in clips)
    said = [_named("pairs", found.pairs), _named("views", found.views), _named("clips", clips)]
    said += [_named("gradients of", found.weights)] if not (found.pairs or found.views) else []
    return "; ".join(part for part in said if part)


def _of_all(parts: Pretraining, taken: StepTaken) -> list[Culprits]:
    """Look at the batches one by one; nothing is found where the step cannot be computed again."""
    torch.manual_seed(stable_seed(parts.config.seed, "step", taken.step - 1, parts.accelerator.process_index))
    found: list[Culprits] = []
    for batch in taken.batches:
        encoded = _encoded(parts, batch)
        # Processes meet in the loss: one that has run out of memory must not make the others wait there.
        if not all(gather_objects(encoded is not None)) or encoded is None:
            break
        found += gather_objects(_of_batch(parts, batch, encoded))
    return found


def _encoded(parts: Pretraining, batch: Batch) -> Encoded | None:
    try:
        with parts.accelerator.autocast():
            encoded: Encoded = TrainingPass(parts.trained.encoders)(batch.to(parts.accelerator.device).views)
    except RuntimeError as error:  # out of memory: the batch went through in chunks before
        log.warning("the step cannot be computed again to find the clips: %s", error)
        return None
    return encoded


def _of_batch(parts: Pretraining, batch: Batch, encoded: Encoded) -> Culprits:
    """Look at embeddings, then at each pair's gradient there, then at the weights' gradients."""
    objective, encoders = parts.plain_objective, parts.trained.encoders
    there = batch.to(parts.accelerator.device)
    leaves = {name: e.detach().requires_grad_() for name, e in encoded.embeddings.items()}
    broken = {name: _rows(e) for name, e in leaves.items()}
    loss = objective(
        leaves,
        rows=there.rows,
        videos=there.videos,
        seconds=there.seconds,
        posteriors=encoded.posteriors,
        progress=1.0,
    )
    pairs = []
    for name, term in loss.terms.items():
        gradients = torch.autograd.grad(
            term.loss, list(leaves.values()), retain_graph=True, allow_unused=True
        )
        if not all(g is None or bool(g.isfinite().all()) for g in gradients):
            pairs.append(name)
    total = torch.autograd.grad(loss.total, list(leaves.values()), retain_graph=True, allow_unused=True)
    found = [(encoded.embeddings[name], g) for name, g in zip(leaves, total, strict=True) if g is not None]
    torch.autograd.backward([e for e, _ in found], [g for _, g in found])
    weights = [n for n, p in encoders.named_parameters() if p.grad is not None and _is_broken(p.grad)]
    encoders.zero_grad(set_to_none=True)
    views = [name for name, rows in broken.items() if rows]
    clips = {
        batch.specs[int(batch.rows[parts.graph.signal_of(name)][row])].clip_id
        for name, rows in broken.items()
        for row in rows
    }
    return Culprits(tuple(pairs), tuple(views), tuple(sorted(clips)), tuple(weights))


def _rows(embedding: Tensor) -> list[int]:
    whole = embedding.isfinite().flatten(1).all(dim=1)
    rows: list[int] = (~whole).nonzero().flatten().tolist()
    return rows


def _is_broken(tensor: Tensor) -> bool:
    return not bool(tensor.isfinite().all())


def _joined(found: Iterable[Culprits]) -> Culprits:
    parts = list(found)

    def names(kind: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in parts for name in getattr(part, kind)))

    return Culprits(names("pairs"), names("views"), names("clips"), names("weights"))


def _named(kind: str, names: Iterable[str]) -> str:
    names = tuple(names)
    more = ", …" if len(names) > _MOST_NAMED else ""
    return f"{kind} {', '.join(names[:_MOST_NAMED])}{more}" if names else ""
