"""Exchange and loss of two views in several processes: ours against OpenCLIP's local loss with gathered gradients.

Run by hand, with two processes of one thread each (`open_clip_torch` must be installed):
`OMP_NUM_THREADS=1 torchrun --standalone --nproc_per_node 2 -m benchmarks.training.exchange [--json]`.
Embeddings of this process's clips → loss, and the gradient of these embeddings, over gloo. The seconds are those of the
first process by the clock, as it waits for the other; every turn runs all ways, and its ratio is taken on its own.
"""

import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.distributed as dist
from open_clip.loss import ClipLoss
from torch import Tensor, nn

from avmi.config.parts import Temperature
from avmi.config.views import AudioView, FrameView
from avmi.distributed import rank, world_size
from avmi.objective import Objective
from avmi.views.graph import build_graph

# Views, clips of each process, dimensions.
SIZES = ((2, 512, 256), (2, 1024, 256), (2, 2048, 256), (4, 1024, 256))
TEMPERATURE = 0.07
TURNS = 9

Step = Callable[[], object]


def main() -> None:
    dist.init_process_group("gloo")
    results = [_measured(*size) for size in SIZES]
    if rank() == 0:
        print(json.dumps(results, indent=2) if "--json" in sys.argv else "\n".join(map(_as_text, results)))
    dist.destroy_process_group()


def _measured(number: int, clips: int, dim: int) -> dict[str, object]:
    generator = torch.Generator().manual_seed(rank())
    drawn = nn.functional.normalize(torch.randn(number, clips, dim, generator=generator), dim=2)
    views = {f"view_{i}": view.requires_grad_() for i, view in enumerate(drawn)}
    graph = build_graph(
        {
            name: FrameView(kind="frame") if i == 0 else AudioView(kind="audio", at_seconds=float(i))
            for i, name in enumerate(views)
        },
        "all",
    )
    objective = Objective(graph, temperature=Temperature(initial=TEMPERATURE))
    peer = ClipLoss(
        local_loss=True, gather_with_grad=True, cache_labels=True, rank=rank(), world_size=world_size()
    )
    scale = nn.Parameter(torch.tensor(1 / TEMPERATURE))
    ways: dict[str, Step] = {
        "ours": partial(_ours, objective, views),
        "OpenCLIP, local loss, gather with grad": partial(_open_clip, peer, views, scale),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(TURNS + 1):
        for name in sorted(ways, reverse=bool(turn % 2)):
            dist.barrier()
            start = time.perf_counter()
            ways[name]()
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - start)
    return {
        "what": f"{number} views × {clips} clips of each of {world_size()} processes × {dim}",
        "seconds": seconds,
    }


def _ours(objective: Objective, views: dict[str, Tensor]) -> None:
    for tensor in (*views.values(), *objective.parameters()):
        tensor.grad = None
    objective(views).total.backward()


def _open_clip(loss: nn.Module, views: dict[str, Tensor], scale: nn.Parameter) -> None:
    for tensor in (*views.values(), scale):
        tensor.grad = None
    pairs = list(itertools.combinations(views.values(), 2))
    torch.stack([loss(first, second, scale) for first, second in pairs]).mean().backward()


def _as_text(result: dict[str, object]) -> str:
    seconds = result["seconds"]
    assert isinstance(seconds, dict)
    ours, *_ = seconds.values()
    lines = [str(result["what"])]
    for name, found in seconds.items():
        ratios = [p / o for p, o in zip(found, ours, strict=True)]
        line = f"  {name:<40} {statistics.median(found) * 1e3:>8.1f} ms"
        if found is not ours:
            line += f"   {statistics.median(ratios):.2f}×  ({min(ratios):.2f} to {max(ratios):.2f})"
        lines.append(line)
    return "\n".join(lines)


if __name__ == "__main__":
    main()
