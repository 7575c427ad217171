"""The loss of all view pairs, forward and backward: ours against the loop of cross entropies, and OpenCLIP's loss.

Run by hand: `OMP_NUM_THREADS=1 python -m benchmarks.training.all_pairs [--json]`; OpenCLIP's is there when
`open_clip_torch` is installed, lightly's when `lightly` is: NT-Xent (SimCLR's loss, arXiv 2002.05709), whose negatives are
the clips of both views, so that it computes four matrices of scores where the others have one. `the matrix products alone`
are the three of each pair that no way can do without (scores, and the gradients of both sides): what is left to gain. Peak
memory is that of tensors, beyond the embeddings and their gradients, as torch's profiler counts it.
"""

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from avmi.mi.negatives import NegativeRule
from avmi.mi.pair_sums import Memory, info_nce_of_embeddings
from benchmarks.media.paired import paired, show

# Views, clips of the batch, dimensions.
SIZES = ((4, 1024, 256), (4, 2048, 256), (2, 8192, 256))
TEMPERATURE = 0.07
# It holds several matrices of (2 clips)² scores of each pair: 1 GB each at 8,192 clips.
MOST_CLIPS_OF_NT_XENT = 2048

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def main() -> None:
    results = []
    for number, clips, dim in SIZES:
        views = _views(number, clips, dim)
        log_scale = nn.Parameter(torch.tensor(-math.log(TEMPERATURE)))
        ways: dict[str, Callable[[], object]] = {
            f"{name}, {_peak_bytes(partial(_step, loss, views, log_scale)) / 1e6:.0f} MB": partial(
                _step, loss, views, log_scale
            )
            for name, loss in _losses(clips).items()
        }
        ours = next(name for name in ways if name.startswith("ours, exponentials kept"))
        ways["the matrix products alone"] = partial(_products, views)
        results.append(paired(f"{number} views × {clips} clips × {dim}", ways, ours=ours))
    show(results)


def _losses(clips: int) -> dict[str, Loss]:
    losses: dict[str, Loss] = {
        "ours, exponentials kept": partial(_ours, memory="fast"),
        "ours, low memory": partial(_ours, memory="low"),
        "cross entropies": _cross_entropies,
    }
    with contextlib.suppress(ImportError):
        from open_clip.loss import ClipLoss

        losses["OpenCLIP"] = partial(_open_clip, ClipLoss(cache_labels=True))
    with contextlib.suppress(ImportError):
        from lightly.loss import NTXentLoss

        if clips <= MOST_CLIPS_OF_NT_XENT:
            losses["lightly's NT-Xent"] = partial(_nt_xent, NTXentLoss(temperature=TEMPERATURE))
    return losses


def _views(number: int, clips: int, dim: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(number, clips, dim, generator=generator)
    return [view.requires_grad_() for view in nn.functional.normalize(drawn, dim=2)]


def _ours(first: Tensor, second: Tensor, log_scale: Tensor, *, memory: Memory) -> Tensor:
    clips = len(first)
    rule = NegativeRule(torch.ones(clips, dtype=torch.bool), torch.arange(clips))
    temperature = (-log_scale).exp()
    bound = info_nce_of_embeddings(
        first[:, None], second[:, None], temperature, negatives=rule, memory=memory
    )
    return bound.ceiling_nats - bound.value_nats


def _cross_entropies(first: Tensor, second: Tensor, log_scale: Tensor) -> Tensor:
    scores = log_scale.exp() * first @ second.T
    labels = torch.arange(len(first))
    return (nn.functional.cross_entropy(scores, labels) + nn.functional.cross_entropy(scores.T, labels)) / 2


def _open_clip(loss: nn.Module, first: Tensor, second: Tensor, log_scale: Tensor) -> Tensor:
    found: Tensor = loss(first, second, log_scale.exp())
    return found


def _nt_xent(loss: nn.Module, first: Tensor, second: Tensor, log_scale: Tensor) -> Tensor:
    found: Tensor = loss(first, second)  # its temperature is a constant
    return found


def _step(loss: Loss, views: Sequence[Tensor], log_scale: Tensor) -> Tensor:
    for tensor in (*views, log_scale):
        tensor.grad = None
    pairs = list(itertools.combinations(views, 2))
    total = torch.stack([loss(first, second, log_scale) for first, second in pairs]).mean()
    total.backward()
    return total.detach()


def _products(views: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for first, second in itertools.combinations(views, 2):
            scores = first @ second.T
            scores @ second
            scores.T @ first


def _peak_bytes(step: Callable[[], object]) -> int:
    """Most memory of tensors at a time, beyond what there was before and the gradients that are there afterwards."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step()
    held = peak = 0
    for event in profiled.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            held += event.nbytes()
            peak = max(peak, held)
    return peak - held


if __name__ == "__main__":
    main()
