"""A batch of views, taken by the encoders a chunk of clips at a time → the gradients of the whole batch.

Gradient caching (Gao et al. 2021, arXiv 2101.06983): every chunk is encoded without gradient, the loss of all embeddings
together gives the gradient of each, and every chunk is encoded once more, now with gradient, to carry it back into the
weights. Memory for the encoders' activations is that of one chunk, while the negatives are those of the whole batch.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import chain

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from avmi.data import stable_seed
from avmi.errors import InputError
from avmi.mi.posterior import Posterior
from avmi.models.running_statistics import running_statistics_kept
from avmi.models.training_pass import Encoded

Chunk = Mapping[
    str, slice
]  # view → which of its rows belong to the chunk; without views that none of its clips has


def chunks_of(
    rows: Mapping[str, Int[Tensor, "_"]], *, clips: int, chunk_clips: int
) -> list[dict[str, slice]]:
    """Divide a batch of `clips` into as few chunks of at most `chunk_clips` as can be, alike in size.

    `rows` are the clips of the batch that have each view, on the CPU (reading them would make a GPU wait). Raises
    `InputError` when they do not ascend: a chunk is a slice of every view.
    """
    number = -(-clips // chunk_clips)
    firsts = torch.arange(number) * clips // number
    chunks: list[dict[str, slice]] = [{} for _ in firsts]
    for name, which in rows.items():
        if not bool((which[1:] > which[:-1]).all()):
            raise InputError(f"the rows of view {name} do not ascend: sort them and the view with them")
        places = [*torch.searchsorted(which, firsts).tolist(), len(which)]
        for chunk, first, last in zip(chunks, places[:-1], places[1:], strict=True):
            if first < last:
                chunk[name] = slice(first, last)
    return [chunk for chunk in chunks if chunk]


@dataclass(frozen=True)
class CachedEncoding:
    """Embeddings of a whole batch that were computed in chunks, and what is needed to compute them again."""

    encoded: Encoded  # of the batch: call `backward` on a loss of it, then on this
    encoders: nn.Module
    views: Mapping[str, Tensor]
    chunks: Sequence[Chunk]
    leaves: Sequence[Encoded]  # of each chunk; they take the gradients
    seed: int

    def backward(self, *, no_sync: Callable[[], AbstractContextManager[None]] = nullcontext) -> None:
        """Add to the gradients of the encoders' parameters what the loss has left at the embeddings.

        `no_sync` is that of DistributedDataParallel: processes exchange gradients with the last chunk only.
        """
        for number, (chunk, leaves) in enumerate(zip(self.chunks, self.leaves, strict=True)):
            is_last = number == len(self.chunks) - 1
            with nullcontext() if is_last else no_sync():
                again = _encode(self.encoders, self.views, chunk, seed=stable_seed(self.seed, number))
                pairs = zip(_tensors(again), _tensors(leaves), strict=True)
                found = [(output, leaf.grad) for output, leaf in pairs if leaf.grad is not None]
                if found:
                    torch.autograd.backward([output for output, _ in found], [grad for _, grad in found])


def encode_in_chunks(
    encoders: nn.Module, views: Mapping[str, Tensor], *, chunks: Sequence[Chunk], seed: int
) -> CachedEncoding:
    """Encode a batch chunk by chunk without keeping activations; `encoders` is a `TrainingPass`, wrapped or not.

    Both passes over a chunk begin with the same state of torch's random numbers, a function of `seed` and the chunk's
    number, and leave it changed. Batch normalization sees the clips of a chunk, not of the batch; its running
    statistics change once for each chunk.
    """
    # Not through DistributedDataParallel: it would bring the main process's running statistics into the copies here.
    inner = encoders.module if isinstance(encoders, DistributedDataParallel) else encoders
    leaves = []
    with torch.no_grad(), running_statistics_kept(inner):
        for number, chunk in enumerate(chunks):
            leaves.append(_leaves(_encode(inner, views, chunk, seed=stable_seed(seed, number))))
    # Weights cast by autocast, without gradient here: some versions of torch would take them in the second pass, too.
    torch.clear_autocast_cache()
    return CachedEncoding(_joined(leaves), encoders, views, chunks, leaves, seed)


def _encode(encoders: nn.Module, views: Mapping[str, Tensor], chunk: Chunk, *, seed: int) -> Encoded:
    torch.manual_seed(seed)
    encoded: Encoded = encoders({name: views[name][rows] for name, rows in chunk.items()})
    return encoded


def _leaves(encoded: Encoded) -> Encoded:
    def leaf(tensor: Tensor) -> Tensor:
        return tensor.detach().requires_grad_()

    return Encoded(
        {name: leaf(tensor) for name, tensor in encoded.embeddings.items()},
        {name: Posterior(*map(leaf, parts)) for name, parts in encoded.posteriors.items()},
    )


def _joined(parts: Sequence[Encoded]) -> Encoded:
    """Join the clips of all chunks, view by view; not every chunk has every view."""
    embeddings = dict.fromkeys(chain.from_iterable(part.embeddings for part in parts))
    posteriors = dict.fromkeys(chain.from_iterable(part.posteriors for part in parts))
    return Encoded(
        {n: torch.cat([p.embeddings[n] for p in parts if n in p.embeddings]) for n in embeddings},
        {
            n: Posterior(
                *map(torch.cat, zip(*(p.posteriors[n] for p in parts if n in p.posteriors), strict=True))
            )
            for n in posteriors
        },
    )


def _tensors(encoded: Encoded) -> list[Tensor]:
    return [*encoded.embeddings.values(), *chain.from_iterable(encoded.posteriors.values())]
