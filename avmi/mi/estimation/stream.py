"""A stream of batches of two sides → their mutual information, read on every batch before it is learned from.

I = E log q(y | x) / q(y), the difference of two learned entropies (McAllester & Stratos 2020): no logarithm of K limits
it and no e^I stands in its variance, and it is no bound: its kind is `neither`. Because every batch is read before it is
fitted (prequentially), what a fit has learned by heart counts for nothing.

Both sides go through normal scores; q is the Gaussian of all rows since the fit began, and candidates with a network on
top, or with a network alone, may do better. Which is read from is chosen by the log likelihood of batches before.
"""

import math
from collections import deque
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avmi.mi.critics import mlp
from avmi.mi.estimation.normal_scores import NormalScores
from avmi.mi.estimation.protocol import STREAM, StreamSettings


@dataclass(frozen=True)
class Reading:
    """What a batch says, by the candidate that earlier batches chose."""

    value_nats: float  # mean of log q(y | x) / q(y) over the batch
    chosen: str
    by_candidate: dict[str, float]  # the same by every candidate


@dataclass(frozen=True)
class GaussianFit:
    """The Gaussian of scores: y = x · weights + noise, and the margin of y."""

    weights: Float[Tensor, "x_dim y_dim"]
    noise: Float[Tensor, "y_dim y_dim"]  # Cholesky factor of the covariance of y given x
    margin: Float[Tensor, "y_dim y_dim"]  # Cholesky factor of the covariance of y

    @classmethod
    def of(cls, second_moments: Float[Tensor, "both both"], *, rows: int, x_dim: int) -> "GaussianFit":
        """Fit to the sum of products of rows of (x, y), mean 0; a little ridge keeps early fits regular."""
        covariance = second_moments / rows + torch.eye(len(second_moments), dtype=torch.float64) / rows
        of_x, across, of_y = (
            covariance[:x_dim, :x_dim],
            covariance[:x_dim, x_dim:],
            covariance[x_dim:, x_dim:],
        )
        weights = torch.linalg.solve(of_x, across)
        noise = of_y - across.T @ weights
        return cls(weights, torch.linalg.cholesky((noise + noise.T) / 2), torch.linalg.cholesky(of_y))

    def residuals(self, x: Tensor, y: Tensor) -> Float[Tensor, "rows y_dim"]:
        """Give y less what x foretells, of variance 1 in every direction."""
        return _solved(self.noise, y - x @ self.weights)

    def log_conditional(self, x: Tensor, y: Tensor) -> Float[Tensor, "rows"]:
        """Give log q(y | x)."""
        return _log_standard(self.residuals(x, y)) - self.noise.diagonal().log().sum()

    def log_margin(self, y: Tensor) -> Float[Tensor, "rows"]:
        """Give log q(y)."""
        return _log_standard(_solved(self.margin, y)) - self.margin.diagonal().log().sum()


class ResidualNetwork(nn.Module):
    """x → mean and log deviation of what a fit leaves over of y; standard Gaussian at first."""

    def __init__(
        self, x_dim: int, y_dim: int, *, settings: StreamSettings, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.layers = mlp([x_dim, settings.width, settings.width, 2 * y_dim])
        linear = [layer for layer in self.layers if isinstance(layer, nn.Linear)]
        with torch.no_grad():
            for layer in linear[:-1]:
                reach = 1 / math.sqrt(layer.in_features)
                layer.weight.uniform_(-reach, reach, generator=generator)
                layer.bias.uniform_(-reach, reach, generator=generator)
            linear[-1].weight.zero_()
            linear[-1].bias.zero_()
        self.optimizer = torch.optim.Adam(self.parameters(), lr=settings.learning_rate)

    def forward(
        self, x: Float[Tensor, "rows x_dim"], residuals: Float[Tensor, "rows y_dim"]
    ) -> Float[Tensor, "rows"]:
        """Give the log density of residuals."""
        mean, log_deviation = self.layers(x).chunk(2, dim=1)
        log_deviation = 3 * (log_deviation / 3).tanh()  # deviations within e³ of the fit's
        deviations: Tensor = (residuals - mean) / log_deviation.exp()
        log_volume: Tensor = log_deviation.sum(dim=1)
        return _log_standard(deviations) - log_volume

    def learn(self, x: Float[Tensor, "rows x_dim"], residuals: Float[Tensor, "rows y_dim"]) -> None:
        """Take one step of maximum likelihood on a batch."""
        loss = -self(x, residuals).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class StreamEstimator:
    """Reads batches one after the other. The margins are taken to be the same all along; the dependence may change.

    A young fit is begun every `renew_steps`. When it foretells better than the one in use, it takes its place: rows of
    before a change are dropped without being told of the change.
    """

    def __init__(self, *, generator: torch.Generator, settings: StreamSettings = STREAM) -> None:
        self._settings, self._generator = settings, generator
        self._kept: deque[tuple[Tensor, Tensor]] = deque(maxlen=settings.most_batches)
        self._batches = 0
        self._scores: tuple[NormalScores, NormalScores] | None = None
        self._scored_rows = 0
        self._begun_old, self._begun_young = 0, 0  # batches before the fit's first
        self._old: _Moments | None = None
        self._young: _Moments | None = None
        self._networks: dict[str, ResidualNetwork] = {}
        self._likelihoods: dict[str, deque[float]] = {}
        self._race: list[float] = []  # by how much the young fit foretold better

    def read(self, x: Float[Tensor, "rows x_dim"], y: Float[Tensor, "rows y_dim"]) -> Reading:
        """Read a batch, then learn from it. The first `blind_steps` read 0."""
        x, y = x.double(), y.double()
        reading = Reading(0.0, "nothing", {})
        if self._scores is not None and self._old is not None:
            scored = self._scores[0](x), self._scores[1](y)
            if self._batches >= self._settings.blind_steps:
                reading = self._read(*scored)
        self._kept.append((x, y))
        self._batches += 1
        self._learn(x, y)
        return reading

    def _read(self, x: Tensor, y: Tensor) -> Reading:
        assert self._old is not None
        fit = self._old.fit()
        margin = fit.log_margin(y)
        conditionals = {"gaussian": fit.log_conditional(x, y)}
        targets = self._targets(fit, x, y)
        for name, (residuals, log_volume) in targets.items():
            network = self._network(name, x.shape[1], y.shape[1])
            with torch.no_grad():
                conditionals[name] = network(x.float(), residuals.float()).double() - log_volume
        values = {name: float((log_density - margin).mean()) for name, log_density in conditionals.items()}
        chosen = max(conditionals, key=self._foretold)
        for name, log_density in conditionals.items():
            past = self._likelihoods.setdefault(name, deque(maxlen=self._settings.choose_steps))
            past.append(float(log_density.mean()))
        if self._young is not None and self._young.rows > 0:
            young = self._young.fit().log_conditional(x, y)
            self._race.append(float((young - conditionals["gaussian"]).mean()))
        for name, (residuals, _) in targets.items():
            self._network(name, x.shape[1], y.shape[1]).learn(x.float(), residuals.float())
        return Reading(values[chosen], chosen, values)

    def _foretold(self, name: str) -> float:
        past = self._likelihoods.get(name)
        return sum(past) / len(past) if past else -math.inf if name != "gaussian" else 0.0

    def _targets(self, fit: GaussianFit, x: Tensor, y: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
        """Give what each network foretells, with the logarithm of its unit of volume."""
        return {
            "gaussian + network": (fit.residuals(x, y), fit.noise.diagonal().log().sum()),
            "network": (_solved(fit.margin, y), fit.margin.diagonal().log().sum()),
        }

    def _network(self, name: str, x_dim: int, y_dim: int) -> ResidualNetwork:
        if name not in self._networks:
            self._networks[name] = ResidualNetwork(
                x_dim, y_dim, settings=self._settings, generator=self._generator
            )
        return self._networks[name]

    def _learn(self, x: Tensor, y: Tensor) -> None:
        rows = sum(len(batch[0]) for batch in self._kept)
        if self._scores is None or rows >= self._scored_rows * self._settings.refresh_growth:
            self._refresh(rows)
            return
        scored = torch.cat([self._scores[0](x), self._scores[1](y)], dim=1)
        for moments in (self._old, self._young):
            if moments is not None:
                moments.add(scored)
        if self._batches - self._begun_young >= self._settings.renew_steps:
            self._renew(scored.shape[1], x.shape[1])

    def _refresh(self, rows: int) -> None:
        """Fit the margins anew on the rows so far, and the moments in their terms."""
        x, y = (torch.cat(side) for side in zip(*self._kept, strict=True))
        self._scores = NormalScores.fitted(x), NormalScores.fitted(y)
        self._scored_rows = rows
        self._old = self._moments(self._begun_old, x.shape[1])
        self._young = self._moments(self._begun_young, x.shape[1])

    def _moments(self, begun: int, x_dim: int) -> "_Moments":
        assert self._scores is not None
        moments = _Moments(x_dim)
        first_kept = self._batches - len(self._kept)
        batches = list(self._kept)[max(begun - first_kept, 0) :]
        if batches:
            x, y = (torch.cat(side) for side in zip(*batches, strict=True))
            moments.add(torch.cat([self._scores[0](x), self._scores[1](y)], dim=1))
        return moments

    def _renew(self, both: int, x_dim: int) -> None:
        """Let the young fit take the place of the old one if it foretold the later half better; begin another."""
        later = self._race[-(self._settings.renew_steps // 2) :]
        if later and sum(later) > 0:
            self._old, self._begun_old = self._young, self._begun_young
        self._young, self._begun_young = _Moments(x_dim), self._batches
        self._race = []


class _Moments:
    """Sum of products of rows of (x, y), and the Gaussian that has them."""

    def __init__(self, x_dim: int) -> None:
        self.rows = 0
        self._x_dim = x_dim
        self._sum: Tensor | None = None
        self._fit: GaussianFit | None = None

    def add(self, both: Float[Tensor, "rows both"]) -> None:
        product = both.T @ both
        self._sum = product if self._sum is None else self._sum + product
        self.rows += len(both)
        self._fit = None

    def fit(self) -> GaussianFit:
        assert self._sum is not None
        if self._fit is None:
            self._fit = GaussianFit.of(self._sum, rows=self.rows, x_dim=self._x_dim)
        return self._fit


def _solved(factor: Tensor, rows: Tensor) -> Tensor:
    solved: Tensor = torch.linalg.solve_triangular(factor, rows.T, upper=False).T
    return solved


def _log_standard(rows: Float[Tensor, "rows dims"]) -> Float[Tensor, "rows"]:
    return -(rows.square().sum(dim=1) + rows.shape[1] * math.log(2 * math.pi)) / 2
