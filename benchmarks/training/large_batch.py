"""The loss of two views of 65,536 clips, forward and backward, in the memory of a small machine.

Run by hand: `OMP_NUM_THREADS=1 python -m benchmarks.training.large_batch [CLIPS]`. Prints CPU seconds of one thread, and
the most memory that the process had, before the step and with it. Its score matrix would take 17 GB, of which the loop of
cross entropies keeps several copies.
"""

import resource
import sys
import time

import torch
from torch.nn.functional import normalize

from avmi.mi.negatives import NegativeRule
from avmi.mi.pair_sums import info_nce_of_embeddings

CLIPS, DIM, TEMPERATURE = 65_536, 256, 0.07


def main(clips: int) -> None:
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    first, second = (
        normalize(torch.randn(clips, 1, DIM, generator=generator), dim=2).requires_grad_() for _ in range(2)
    )
    temperature = torch.tensor(TEMPERATURE, requires_grad=True)
    rule = NegativeRule(torch.ones(clips, dtype=torch.bool), torch.arange(clips))
    before, start = _peak_gigabytes(), time.process_time()
    bound = info_nce_of_embeddings(first, second, temperature, negatives=rule)
    (bound.ceiling_nats - bound.value_nats).backward()
    seconds = time.process_time() - start
    print(
        f"2 views × {clips:,} clips × {DIM}: {seconds:.0f} CPU-s, {_peak_gigabytes():.2f} GB, {before:.2f} GB before"
    )


def _peak_gigabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else CLIPS)
