"""Correlated Gaussians with the known p(y | x) → both sides of I(X; Y) by the size of the bank, with time and memory.

    python benchmarks/sandwich.py

Twenty coordinates with one correlation, so that I = −10 log(1 − ρ²) is what is asked for. The bank is drawn block by
block and never held. The defensive side has ε = 0.1 and, as r(y), a Gaussian of mean 0 whose deviation is half as large
again as that of y: a marginal as a learned one might be, not the true one.
"""

import argparse
import math
import resource
import time
from collections.abc import Iterator

import torch

from avmi.mi.posterior import Marginal, Posterior, draw, log_marginal, log_posterior
from avmi.mi.sandwich import of_posteriors, sandwich

DIM = 20
BLOCK = 1024
EPSILON, WIDER = 0.1, 1.5


def main() -> None:
    """Print one row of a Markdown table for every I and size of bank, smallest bank first."""
    parser = argparse.ArgumentParser(description="Width of the sandwich by the size of the bank.")
    parser.add_argument("--nats", default="8,10")
    parser.add_argument("--banks", default="4096,16384,65536,262144,1048576")
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--defended", action="store_true", help="the defensive bound as the upper side, not leave-one-out"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{_peak_memory_mb():.0f} MB before the first line\n")
    print("| I (nats) | M | lower | upper | width | CPU seconds | peak memory (MB) |")
    print("|---|---|---|---|---|---|---|")
    for number in map(int, given.banks.split(",")):
        for nats in map(float, given.nats.split(",")):
            bank = stream(nats, number, seed=given.seed + 1)
            pairs = posteriors(nats, given.rows, torch.Generator().manual_seed(given.seed))
            epsilon = EPSILON if given.defended else None
            print(f"| {nats:g} | {number:,} {line(pairs, bank, epsilon=epsilon)}", flush=True)


def line(pairs: Posterior, bank: Iterator[Posterior], *, epsilon: float | None) -> str:
    """Measure both sides."""
    begun = time.process_time()
    defended = None
    if epsilon is not None:
        wide = Marginal(torch.zeros(1), torch.zeros(1, DIM), torch.full((1, DIM), math.log(WIDER)))
        defended = epsilon, log_marginal(pairs.sample, wide)
    found = sandwich(
        of_posteriors,
        samples=pairs.sample,
        log_conditional=log_posterior(pairs),
        bank=bank,
        defended=defended,
    )
    seconds = time.process_time() - begun
    lower, upper = (
        f"{float(side.value_nats):.2f} ± {float(side.standard_error_nats):.2f}"
        for side in (found.lower, found.upper)
    )
    return f"| {lower} | {upper} | {found.width_nats:.2f} | {seconds:.1f} | {_peak_memory_mb():.0f} |"


def _peak_memory_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def posteriors(nats: float, rows: int, generator: torch.Generator) -> Posterior:
    """Draw x, and y from the known p(y | x) = N(ρx, 1 − ρ²)."""
    squared = 1 - math.exp(-2 * nats / DIM)
    x = torch.randn(rows, DIM, generator=generator)
    log_sigma = torch.full_like(x, math.log1p(-squared) / 2)
    return draw(math.sqrt(squared) * x, log_sigma, generator=generator)


def stream(nats: float, number: int, *, seed: int) -> Iterator[Posterior]:
    """Draw the bank block by block."""
    generator = torch.Generator().manual_seed(seed)
    for begin in range(0, number, BLOCK):
        yield posteriors(nats, min(BLOCK, number - begin), generator)


if __name__ == "__main__":
    main()
