"""A critic in closed form and a few inputs a side → the network that is added to it, trained by InfoNCE.

The network begins at 0, so that the sum begins as the closed form. It is kept where validation rows say that it was
best, and only its running mean over the steps is kept: that costs nothing and averages the noise of small batches.
"""

import math
from copy import deepcopy
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from avmi.mi.bounds import info_nce
from avmi.mi.estimation.canonical import gaussian_log_ratios
from avmi.mi.estimation.protocol import ESTIMATOR, EstimatorSettings


@dataclass(frozen=True)
class Inputs:
    """What a network sees of rows, and the canonical variates that the closed form is made of; float32."""

    x: Float[Tensor, "rows x_inputs"]
    y: Float[Tensor, "columns y_inputs"]
    variates_x: Float[Tensor, "rows pairs"]
    variates_y: Float[Tensor, "columns pairs"]

    def first(self, rows: int) -> "Inputs":
        """Give some rows of the beginning."""
        return Inputs(self.x[:rows], self.y[:rows], self.variates_x[:rows], self.variates_y[:rows])


class CorrectionNetwork(nn.Module):
    """f(x, y) on groups of rows, 0 at first: a concatenated critic with smooth layers.

    ReLU lost 0.01 nats against SiLU on additive noise and Student t.
    """

    def __init__(self, x_inputs: int, y_inputs: int, *, width: int, layers: int) -> None:
        super().__init__()
        self.of_x = nn.Linear(x_inputs, width)
        self.of_y = nn.Linear(y_inputs, width, bias=False)
        inner: list[nn.Module] = [nn.SiLU()]
        for _ in range(layers - 1):
            inner += [nn.Linear(width, width), nn.SiLU()]
        self.inner = nn.Sequential(*inner)
        self.last = nn.Linear(width, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(
        self, x: Float[Tensor, "*groups rows x_inputs"], y: Float[Tensor, "*groups columns y_inputs"]
    ) -> Float[Tensor, "*groups rows columns"]:
        """Score all pairs within each group."""
        first = self.of_x(x)[..., :, None, :] + self.of_y(y)[..., None, :, :]
        scores: Tensor = self.last(self.inner(first)).squeeze(-1)
        return scores


def train_correction(
    train: Inputs,
    valid: Inputs,
    *,
    correlations: Float[Tensor, "pairs"],
    generator: torch.Generator,
    settings: EstimatorSettings = ESTIMATOR,
) -> CorrectionNetwork:
    """Train a network on top of a Gaussian of these correlations; keep the step that was best on validation rows.

    Adam on symmetric InfoNCE; the batch is cut into groups, each with its own negatives: a group of 32 can say
    3.5 nats, and pairs cost less than with one softmax over the batch.
    """
    network = _new_network(train, generator, settings)
    mean = deepcopy(network).requires_grad_(False)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    valid = valid.first(settings.check_rows)
    best, best_step, best_value = deepcopy(mean), 0, _value(mean, valid, correlations)
    order = _order(len(train.x), generator)
    for step in range(1, settings.most_steps + 1):
        order, rows = _next_batch(order, len(train.x), generator, settings)
        groups = rows.view(-1, settings.group_rows)
        start = gaussian_log_ratios(
            train.variates_x[groups], train.variates_y[groups], correlations=correlations
        )
        loss = _group_loss(network(train.x[groups], train.y[groups]) + start)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        _update_mean(mean, network, decay=min(settings.mean_decay, step / (step + 10)))
        if step % settings.check_steps == 0:
            value = _value(mean, valid, correlations)
            if value > best_value:
                best, best_step, best_value = deepcopy(mean), step, value
            elif step - best_step >= settings.patience_steps:
                break
    return best


@torch.no_grad()
def all_scores(
    network: CorrectionNetwork,
    x: Float[Tensor, "rows x_inputs"],
    y: Float[Tensor, "columns y_inputs"],
    *,
    block_rows: int = 64,
) -> Float[Tensor, "rows columns"]:
    """Score all pairs, some rows at a time, so that memory stays small."""
    return torch.cat([network(rows, y) for rows in x.split(block_rows)])


def _new_network(train: Inputs, generator: torch.Generator, settings: EstimatorSettings) -> CorrectionNetwork:
    network = CorrectionNetwork(
        train.x.shape[1], train.y.shape[1], width=settings.width, layers=settings.layers
    )
    for layer in (network.of_x, network.of_y, *network.inner):
        if isinstance(layer, nn.Linear):  # as nn.Linear draws, from this generator
            reach = 1 / math.sqrt(layer.in_features)
            nn.init.uniform_(layer.weight, -reach, reach, generator=generator)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -reach, reach, generator=generator)
    return network


def _group_loss(scores: Float[Tensor, "groups rows rows"]) -> Float[Tensor, ""]:
    positives = scores.diagonal(dim1=1, dim2=2)
    return ((scores.logsumexp(dim=2) + scores.logsumexp(dim=1)) / 2 - positives).mean()


def _value(network: CorrectionNetwork, valid: Inputs, correlations: Float[Tensor, "pairs"]) -> float:
    start = gaussian_log_ratios(valid.variates_x, valid.variates_y, correlations=correlations)
    return float(info_nce(start + all_scores(network, valid.x, valid.y)).value_nats)


def _order(rows: int, generator: torch.Generator) -> Int[Tensor, "rows"]:
    return torch.randperm(rows, generator=generator)


def _next_batch(
    order: Int[Tensor, "left"], rows: int, generator: torch.Generator, settings: EstimatorSettings
) -> tuple[Int[Tensor, "still_left"], Int[Tensor, "batch"]]:
    """Take a batch from what is left of an order of all rows; without enough left, from a new order."""
    if len(order) < settings.batch_rows:
        order = _order(rows, generator)
    return order[settings.batch_rows :], order[: settings.batch_rows]


@torch.no_grad()
def _update_mean(mean: nn.Module, network: nn.Module, *, decay: float) -> None:
    for old, new in zip(mean.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - decay)
