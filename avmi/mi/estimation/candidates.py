"""Training and validation rows of two sides → critics that were trained, each with what validation rows say of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from avmi.mi.bounds import info_nce
from avmi.mi.estimation.canonical import CanonicalPairs, gaussian_log_ratios
from avmi.mi.estimation.correction import CorrectionNetwork, Inputs, all_scores, train_correction
from avmi.mi.estimation.normal_scores import NormalScores, Radius
from avmi.mi.estimation.protocol import ESTIMATOR, EstimatorSettings

Rows = Float[Tensor, "_ _"]  # rows of one side × its dimensions
Scorer = Callable[[Tensor, Tensor], Tensor]  # raw rows of x and of y → scores of all pairs


@dataclass(frozen=True)
class Candidate:
    """A critic on raw rows, and its InfoNCE on validation rows."""

    name: str
    critic: Scorer
    validation_nats: float


@dataclass(frozen=True)
class SideFeatures:
    """Raw rows of one side → features; fitted on training rows."""

    scores: NormalScores
    radius: Radius
    components: Float[Tensor, "dims kept"] | None  # principal components of the scores, where dims are many

    @classmethod
    def fitted(cls, rows: Rows, *, settings: EstimatorSettings) -> "SideFeatures":
        """Fit on rows."""
        scores = NormalScores.fitted(rows)
        most = max(1, len(rows) // settings.rows_per_dim)
        components = None
        if rows.shape[1] > most:
            components = torch.linalg.svd(scores(rows), full_matrices=False)[2][:most].T
        return cls(scores, Radius.fitted(rows), components)

    def plain(self, rows: Rows) -> Rows:
        """Give normal scores."""
        scores = self.scores(rows)
        return scores if self.components is None else scores @ self.components

    def modulated(self, rows: Rows) -> Rows:
        """Give normal scores, the same times the radius, and the radius.

        What turns or stretches with the distance from the middle is linear in these, to first order.
        """
        scores, radius = self.plain(rows), self.radius(rows)
        return torch.cat([scores, scores * radius, radius], dim=1)


@dataclass(frozen=True)
class Nothing:
    """The critic that is 0: the bound 0 always holds."""

    def __call__(self, x: Rows, y: Rows) -> Float[Tensor, "rows columns"]:
        """Score every pair 0."""
        return torch.zeros(len(x), len(y))


@dataclass(frozen=True)
class GaussianStart:
    """The log density ratio of a Gaussian of a few canonical pairs of features."""

    of_x: SideFeatures
    of_y: SideFeatures
    modulated: bool
    pairs: CanonicalPairs
    rank: int

    def __call__(self, x: Rows, y: Rows) -> Float[Tensor, "rows columns"]:
        """Score all pairs."""
        variates_x, variates_y = self.variates(x, y)
        return gaussian_log_ratios(variates_x, variates_y, correlations=self.correlations)

    @property
    def correlations(self) -> Float[Tensor, "rank"]:
        """Give the correlations of the pairs that it has."""
        return self.pairs.correlations[: self.rank].float()

    def variates(
        self, x: Rows, y: Rows, *, most: int | None = None
    ) -> tuple[Float[Tensor, "rows pairs"], Float[Tensor, "columns pairs"]]:
        """Give the variates of `most` pairs, or of those that it has, in float32."""
        number = self.rank if most is None else most
        features_x = self.of_x.modulated(x) if self.modulated else self.of_x.plain(x)
        features_y = self.of_y.modulated(y) if self.modulated else self.of_y.plain(y)
        of_x = self.pairs.variates_of_x(features_x)[:, :number]
        return of_x.float(), self.pairs.variates_of_y(features_y)[:, :number].float()


@dataclass(frozen=True)
class CorrectedStart:
    """A start and networks on a few of its variates and the radii, the mean of their scores added to it."""

    start: GaussianStart
    networks: tuple[CorrectionNetwork, ...]
    variates: int  # that the networks see

    def __call__(self, x: Rows, y: Rows) -> Float[Tensor, "rows columns"]:
        """Score all pairs."""
        seen = network_inputs(self.start, x, y, variates=self.variates)
        scores = torch.stack([all_scores(network, seen.x, seen.y) for network in self.networks])
        return self.start(x, y) + scores.mean(dim=0)


def candidates(
    train: tuple[Rows, Rows],
    valid: tuple[Rows, Rows],
    *,
    generator: torch.Generator,
    settings: EstimatorSettings = ESTIMATOR,
) -> Iterator[Candidate]:
    """Train the critics that are tried, one after the other."""
    of_x, of_y = (SideFeatures.fitted(rows, settings=settings) for rows in train)
    yield Candidate("nothing", Nothing(), 0.0)
    for name, modulated in (("gaussian", False), ("modulated", True)):
        start = _start(of_x, of_y, train, valid, modulated=modulated, settings=settings)
        yield Candidate(f"{name}, {start.rank} pairs", start, validation_nats(start, valid, settings))
        starts = [(f"{name} + network", start)]
        if not modulated and start.rank:
            starts.append(("network", GaussianStart(of_x, of_y, False, start.pairs, 0)))
        for of_name, begun in starts:
            corrected = _corrected(begun, train, valid, generator=generator, settings=settings)
            yield Candidate(of_name, corrected, validation_nats(corrected, valid, settings))


def validation_nats(critic: Scorer, rows: tuple[Rows, Rows], settings: EstimatorSettings) -> float:
    """Give InfoNCE of rows, in blocks where they are many."""
    matrices = list(score_blocks(critic, rows, settings))
    weights = torch.tensor([float(len(matrix)) for matrix in matrices])
    values = torch.stack([info_nce(matrix).value_nats for matrix in matrices])
    return float((values * weights).sum() / weights.sum())


def score_blocks(
    critic: Scorer, rows: tuple[Rows, Rows], settings: EstimatorSettings
) -> Iterator[Float[Tensor, "block block"]]:
    """Score rows in blocks of nearly one size, at most `most_negatives` rows each."""
    blocks = -(-len(rows[0]) // settings.most_negatives)
    for x, y in zip(rows[0].tensor_split(blocks), rows[1].tensor_split(blocks), strict=True):
        yield critic(x, y).float()


def network_inputs(start: GaussianStart, x: Rows, y: Rows, *, variates: int) -> Inputs:
    """Give what a network sees: some variates and the radius of each side."""
    seen_x, seen_y = start.variates(x, y, most=variates)
    radius_x, radius_y = start.of_x.radius(x).float(), start.of_y.radius(y).float()
    own_x, own_y = start.variates(x, y)
    return Inputs(torch.cat([seen_x, radius_x], dim=1), torch.cat([seen_y, radius_y], dim=1), own_x, own_y)


def _start(
    of_x: SideFeatures,
    of_y: SideFeatures,
    train: tuple[Rows, Rows],
    valid: tuple[Rows, Rows],
    *,
    modulated: bool,
    settings: EstimatorSettings,
) -> GaussianStart:
    """Fit canonical pairs on training rows, and take as many as validation rows say."""
    features = (
        (of_x.modulated(train[0]), of_y.modulated(train[1]))
        if modulated
        else (of_x.plain(train[0]), of_y.plain(train[1]))
    )
    pairs = CanonicalPairs.fitted(*features)
    most = min(settings.most_ranks, len(pairs.correlations))
    every = GaussianStart(of_x, of_y, modulated, pairs, most)
    variates = every.variates(*valid)

    def value(rank: int) -> float:
        correlations = every.correlations[:rank]
        return validation_nats(
            lambda x, y: gaussian_log_ratios(x[:, :rank], y[:, :rank], correlations=correlations),
            variates,
            settings,
        )

    return replace(every, rank=max(range(most + 1), key=value))


def _corrected(
    start: GaussianStart,
    train: tuple[Rows, Rows],
    valid: tuple[Rows, Rows],
    *,
    generator: torch.Generator,
    settings: EstimatorSettings,
) -> CorrectedStart:
    number = len(start.pairs.correlations)
    if number > settings.most_inputs:
        number = min(max(start.rank, 2), settings.most_inputs)
    seen = [network_inputs(start, *rows, variates=number) for rows in (train, valid)]
    networks = tuple(
        train_correction(*seen, correlations=start.correlations, generator=generator, settings=settings)
        for _ in range(settings.networks)
    )
    return CorrectedStart(start, networks, number)
