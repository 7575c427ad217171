"""Pictures and sounds with known factors → how far a decoder-free code tells the factors apart, with and without bounds.

    python benchmarks/disentanglement.py --out /tmp/disentanglement.json

One view (Poole et al. 2019, arXiv 1905.06922, section 4): a stochastic encoder maximizes tractable NCE on I(x; z), subject
to Σ_i upper(I(x; z_i)) − lower(I(x; z)) ≤ δ; each upper bound is the defensive one in one dimension. Against it stand the
lower bound alone, and with the rate, which presses on all information alike.

Two views: z = [shared | private]. The shared parts maximize InfoNCE between the views; the private part maximizes
tractable NCE on its own view and minimizes vCLUB against the other view's code, with a learned Gaussian q that has an
optimizer of its own and several steps a step. vCLUB bounds from above only where q is the true density: kind `neither`.
Means have unit variance and σ is fixed, so that a coordinate has a capacity, log(1 + 1/σ²)/2; private means are kept
from folding by a penalty on their Jacobian. Both hold for all methods alike.

Everything was chosen on seeds from 100 on, which are not among those reported. Nothing is learned from factors.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from known_factors import PICTURE_FACTORS, SHARED, SOUND_FACTORS, dci, mig, moments, r2
from torch import Tensor, nn

from avmi.config.parts import Head
from avmi.mi.bounds import info_nce
from avmi.mi.conditional import club
from avmi.mi.critics import SeparableCritic, mlp
from avmi.mi.marginals import StandardNormal
from avmi.mi.posterior import Posterior, clamp_log_sigma, defensive, draw, log_densities, posterior_nce, rate
from avmi.models.gaussian import GaussianHead

BATCH_ROWS, LEARNING_RATE = 256, 3e-3
HIDDEN_DIMS = (128, 128)
CODE_DIM = 6  # one view: more than its four factors
SHARED_DIM, PRIVATE_DIMS = 2, (2, 1)  # two views: as many as there are factors
FREE, WARM_UP = 0.2, 0.2  # of the steps, one view: without the subtracted terms, and while they rise
SHARED_SIGMA, PRIVATE_SIGMA = 0.15, 0.3  # two views, means of unit variance: at most 1.9 and 1.2 nats
SMOOTHNESS, SHAKE = 3.0, 0.3  # weight of the Jacobian penalty; deviation of the noise that it is measured by
EPSILON = 0.1
DENSITY_STEPS, DENSITY_LEARNING_RATE = 3, 3e-3
TRAINED_ROWS, MEASURED_ROWS = 10_000, 4000


@dataclass(frozen=True)
class Method:
    """What is subtracted from the lower bound."""

    rate: float = 0.0  # β of the rate
    factorized: float = 0.0  # weight of what the sum of parts has above δ
    delta_nats: float = 0.0
    apart: float = 0.0  # weight of vCLUB


ONE_VIEW = {
    "lower bound alone": Method(),
    "with the rate": Method(rate=0.1),
    "with the factorized bound": Method(factorized=1.0, delta_nats=0.5),
}
TWO_VIEWS = {
    "lower bounds alone": Method(),
    "with vCLUB": Method(apart=1.0),
}


class FixedNoise(nn.Module):
    """Encoder with means of unit variance and the same σ for every row."""

    log_sigma: Tensor

    def __init__(self, view_dim: int, private_dim: int) -> None:
        super().__init__()
        sigma = torch.tensor([SHARED_SIGMA] * SHARED_DIM + [PRIVATE_SIGMA] * private_dim)
        self.register_buffer("log_sigma", sigma.log())
        self.layers = nn.Sequential(
            nn.BatchNorm1d(view_dim, affine=False),
            mlp([view_dim, *HIDDEN_DIMS, len(sigma)]),
            nn.BatchNorm1d(len(sigma), affine=False),
        )

    def forward(self, view: Tensor) -> Posterior:
        """Give the posteriors; the sample is a draw while training and the mean otherwise."""
        mean = self.layers(view)
        log_sigma = self.log_sigma.expand_as(mean)
        return draw(mean, log_sigma) if self.training else Posterior(mean, log_sigma, mean)


def main() -> None:
    """Train every method on every seed, print the results as they come and both tables at the end."""
    parser = argparse.ArgumentParser(description="Disentanglement with and without bounds.")
    parser.add_argument("--out", type=Path, required=True, help="JSON file of results; those in it are kept")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    given = parser.parse_args()
    torch.set_num_threads(1)
    results = json.loads(given.out.read_text()) if given.out.is_file() else []
    done = {(r["views"], r["method"], r["seed"]) for r in results}
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        for views, methods in (("picture", ONE_VIEW), ("both", TWO_VIEWS)):
            for name, method in methods.items():
                if (views, name, seed) in done:
                    continue
                begun = time.process_time()
                train = one_view if views == "picture" else two_views
                measured = train(method, seed=seed, steps=given.steps)
                seconds = round(time.process_time() - begun, 1)
                run = {"views": views, "method": name, "seed": seed}
                results.append(run | measured | {"cpu_seconds": seconds})
                print(json.dumps(results[-1]), flush=True)
                given.out.write_text(json.dumps(results))
    for views in ("picture", "both"):
        print(f"\n{views}\n\n{table([r for r in results if r['views'] == views])}")


def one_view(method: Method, *, seed: int, steps: int) -> dict[str, float]:
    """Learn a code of the pictures alone, and measure it."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    trained = moments(TRAINED_ROWS, generator)
    head = Head(hidden_dims=HIDDEN_DIMS, embedding_dim=CODE_DIM, standardize=True)
    encoder = GaussianHead(trained.pictures.shape[1], head)
    optimizer = torch.optim.Adam(encoder.parameters(), lr=LEARNING_RATE)
    for step in range(steps):
        posterior = encoder(trained.some(BATCH_ROWS, generator)[0])
        lower = posterior_nce(posterior).value_nats
        loss = -lower + _share(step, steps) * _pressed(posterior, method)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
    held_out = moments(MEASURED_ROWS, torch.Generator().manual_seed(5000 + seed))
    with torch.no_grad():
        bounds = encoder(held_out.pictures[:BATCH_ROWS])
        codes = encoder.eval()(held_out.pictures).mean
        lower_nats = float(posterior_nce(bounds).value_nats)
        excess_nats = float(_parts_upper(bounds)) - lower_nats
    factors = {name: held_out.factors[name] for name in PICTURE_FACTORS}
    return {"lower_nats": lower_nats, "excess_nats": excess_nats, **_told_apart(codes, factors)}


def two_views(method: Method, *, seed: int, steps: int) -> dict[str, float]:
    """Learn codes with a shared and a private part of both views, and measure them."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(1000 + seed)
    trained = moments(TRAINED_ROWS, generator)
    encoders = nn.ModuleList(
        FixedNoise(view.shape[1], own)
        for view, own in zip((trained.pictures, trained.sounds), PRIVATE_DIMS, strict=True)
    )
    critic = SeparableCritic(SHARED_DIM, SHARED_DIM, hidden_dims=[64, 64], embedding_dim=16)
    dims = zip(PRIVATE_DIMS, reversed(PRIVATE_DIMS), strict=True)
    densities = nn.ModuleList(mlp([SHARED_DIM + theirs, 64, 64, 2 * mine]) for mine, theirs in dims)
    learned = [*encoders.parameters(), *critic.parameters()]
    optimizer = torch.optim.Adam(learned, lr=LEARNING_RATE)
    density_optimizer = torch.optim.Adam(densities.parameters(), lr=DENSITY_LEARNING_RATE)
    for _ in range(steps):
        views = trained.some(BATCH_ROWS, generator)
        shaken = [_shaken(encoder, view) for encoder, view in zip(encoders, views, strict=True)]
        posteriors = [posterior for posterior, _ in shaken]
        gain = info_nce(critic(*(p.sample[:, :SHARED_DIM] for p in posteriors))).value_nats
        for posterior, jacobian in shaken:
            private = _columns(posterior, SHARED_DIM, posterior.mean.shape[1])
            gain = gain + posterior_nce(private).value_nats - SMOOTHNESS * jacobian
        if method.apart:
            _fit(densities, posteriors, density_optimizer)
            # Full from the start on, lest the private part settles on what both views show.
            gain = gain - method.apart * _in_common(densities, posteriors)
        optimizer.zero_grad()
        (-gain).backward()
        nn.utils.clip_grad_norm_(learned, 1.0)
        optimizer.step()
    return _measured_two_views(encoders, critic, seed)


def _measured_two_views(encoders: nn.ModuleList, critic: nn.Module, seed: int) -> dict[str, float]:
    held_out = moments(MEASURED_ROWS, torch.Generator().manual_seed(5000 + seed))
    views = (held_out.pictures, held_out.sounds)
    with torch.no_grad():
        drawn = [encoder(view[:BATCH_ROWS]).sample for encoder, view in zip(encoders, views, strict=True)]
        gain = float(info_nce(critic(*(sample[:, :SHARED_DIM] for sample in drawn))).value_nats)
        codes = [encoder.eval()(view).mean for encoder, view in zip(encoders, views, strict=True)]
    found: dict[str, list[float]] = {}
    for code, names in zip(codes, (PICTURE_FACTORS, SOUND_FACTORS), strict=True):
        factors = {name: held_out.factors[name] for name in names}
        both = {n: f for n, f in factors.items() if n in SHARED or n in SHARED.values()}
        own = {n: f for n, f in factors.items() if n not in both}
        shared, private = code[:, :SHARED_DIM], code[:, SHARED_DIM:]
        measured = _told_apart(code, factors) | {
            "shared_in_shared": r2(shared, both),
            "own_in_shared": r2(shared, own),
            "own_in_private": r2(private, own),
            "shared_in_private": r2(private, both),
        }
        for key, value in measured.items():
            found.setdefault(key, []).append(value)
    return {"info_nce_nats": gain} | {key: statistics.mean(values) for key, values in found.items()}


def _share(step: int, steps: int) -> float:
    return min(1.0, max(0.0, (step / steps - FREE) / WARM_UP))


def _pressed(posterior: Posterior, method: Method) -> Tensor:
    pressed = torch.zeros(())
    if method.rate:
        marginal = StandardNormal(posterior.mean.shape[1])()
        pressed = pressed + method.rate * rate(posterior, marginal).value_nats
    if method.factorized:
        excess = _parts_upper(posterior) - posterior_nce(posterior).value_nats
        pressed = pressed + method.factorized * F.relu(excess - method.delta_nats)
    return pressed


def _parts_upper(posterior: Posterior) -> Tensor:
    """Sum the upper bounds on I(x; z_i) of every coordinate."""
    marginal = StandardNormal(1)()
    uppers = [
        defensive(_columns(posterior, i, i + 1), marginal, epsilon=EPSILON).value_nats
        for i in range(posterior.mean.shape[1])
    ]
    return torch.stack(uppers).sum()


def _columns(posterior: Posterior, begin: int, end: int) -> Posterior:
    return Posterior(*(part[:, begin:end] for part in posterior))


def _shaken(encoder: nn.Module, view: Tensor) -> tuple[Posterior, Tensor]:
    """Give the posteriors, and the mean squared Jacobian (Rifai et al. 2011) of private means by differences."""
    both = encoder(torch.cat([view, view + SHAKE * torch.randn_like(view)]))
    clean, noisy = (Posterior(*parts) for parts in zip(*(part.chunk(2) for part in both), strict=True))
    apart = (clean.mean - noisy.mean)[:, SHARED_DIM:] / SHAKE
    return clean, apart.square().sum(dim=1).mean()


def _log_qs(densities: nn.ModuleList, posteriors: Sequence[Posterior]) -> list[Tensor]:
    """Give [i, j] = log q(private_i | code_j) of both views; q reads means, which tell more than draws."""
    found = []
    for density, mine, theirs in zip(densities, posteriors, reversed(posteriors), strict=True):
        mean, log_sigma = density(theirs.mean.detach()).chunk(2, dim=1)
        found.append(log_densities(mine.sample[:, SHARED_DIM:], mean, clamp_log_sigma(log_sigma)))
    return found


def _fit(densities: nn.ModuleList, posteriors: Sequence[Posterior], optimizer: torch.optim.Optimizer) -> None:
    """Take steps of maximum likelihood on codes without gradient."""
    fixed = [Posterior(*(part.detach() for part in posterior)) for posterior in posteriors]
    for _ in range(DENSITY_STEPS):
        likelihoods = [log_q.diagonal().mean() for log_q in _log_qs(densities, fixed)]
        optimizer.zero_grad()
        (-torch.stack(likelihoods).sum()).backward()
        optimizer.step()


def _in_common(densities: nn.ModuleList, posteriors: Sequence[Posterior]) -> Tensor:
    """Sum vCLUB of each private part against the other view's code."""
    log_qs = _log_qs(densities, posteriors)
    return torch.stack([club(log_q.T, conditional="learned").value_nats for log_q in log_qs]).sum()


def _told_apart(codes: Tensor, factors: dict[str, Tensor]) -> dict[str, float]:
    found = dci(codes, factors)
    return {
        "mig": mig(codes, factors),
        "disentanglement": found.disentanglement,
        "completeness": found.completeness,
        "informativeness": found.informativeness,
    }


def table(results: Sequence[dict[str, float | str]]) -> str:
    """Write a Markdown table: mean ± deviation over seeds."""
    names = list(dict.fromkeys(str(r["method"]) for r in results))
    keys = [key for key in results[0] if key not in ("views", "method", "seed")]
    lines = [f"| | {' | '.join(key.replace('_', ' ') for key in keys)} |", f"|---|{'---|' * len(keys)}"]
    for name in names:
        runs = [r for r in results if r["method"] == name]
        cells = [_spread([float(r[key]) for r in runs]) for key in keys]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    deviation = statistics.stdev(values) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.2f} ± {deviation:.2f}"


if __name__ == "__main__":
    main()
