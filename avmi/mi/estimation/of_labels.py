"""Samples and their class labels → their mutual information in nats, by a classifier.

I(X; Y) = H(Y) − H(Y | X), and a classifier's cross entropy is at least H(Y | X) (Barber & Agakov 2003): held out, the
difference is a lower bound. H(Y) is taken from the label counts, whose plug-in entropy is too small on average, so that
the difference stays a lower bound in the mean. H(Y) itself is an upper bound.
"""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from avmi.mi.bound import Bound, summed_up
from avmi.mi.bounds import info_nce
from avmi.mi.conditional import barber_agakov
from avmi.mi.critics import mlp
from avmi.mi.estimation.candidates import Rows, SideFeatures
from avmi.mi.estimation.checks import checked_labels, checked_rows, require_pairs
from avmi.mi.estimation.of_samples import Estimate, Tried, interval, least_rows, require_varying, split
from avmi.mi.estimation.protocol import ESTIMATOR, EstimatorSettings

Labels = Int[Tensor, "_"]  # one of each row


@dataclass(frozen=True)
class _Classifier:
    name: str
    log_posterior: Float[Tensor, "rows classes"]  # of held-out rows
    validation_nats: float  # H(Y) − cross entropy


def estimate_labels(
    x: Any, labels: Any, *, seed: int = 0, settings: EstimatorSettings = ESTIMATOR
) -> Estimate:
    """Estimate the mutual information of samples and class labels (whole numbers or text, one a row).

    Rows are taken as independent draws. Raises `InputError` as `avmi.mi.estimate` does, and for labels of one class.
    """
    rows, (numbers, names) = checked_rows(x, "X"), checked_labels(labels, "Y")
    require_pairs(rows, numbers, least=least_rows(settings))
    generator = torch.Generator().manual_seed(seed)
    parts = split(len(rows), generator=generator, settings=settings)
    train, valid, held_out = ((rows[part], numbers[part]) for part in parts)
    require_varying((train[0], train[0]))
    shares = (numbers.bincount(minlength=len(names)) / len(numbers)).float()
    tried = list(
        _classifiers(train, valid, held_out[0], shares=shares, generator=generator, settings=settings)
    )
    chosen = max(tried, key=lambda classifier: classifier.validation_nats)
    own = chosen.log_posterior.gather(1, held_out[1][:, None]).squeeze(1)
    bound = _barber_agakov(own, held_out[1], shares)
    return Estimate(
        bound=bound,
        interval_nats=interval(bound),
        table=(
            bound,
            _as_info_nce(chosen.log_posterior - shares.log(), held_out[1]),
            _entropy(numbers, shares),
        ),
        chosen=chosen.name,
        tried=tuple(Tried(classifier.name, classifier.validation_nats) for classifier in tried),
        train_rows=len(train[0]),
        validation_rows=len(valid[0]),
        held_out_rows=len(held_out[0]),
        log_ratios=own - shares.log()[held_out[1]],
    )


def entropy_nats(shares: Float[Tensor, "classes"]) -> Float[Tensor, ""]:
    """Give the entropy of shares that sum to 1."""
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy


def _barber_agakov(own: Float[Tensor, "rows"], labels: Labels, shares: Float[Tensor, "classes"]) -> Bound:
    """Give E log q(y | x) + H(Y), at most H(Y).

    H(Y) stands in each row as −log of its label's share. All have the same mean, and the error counts that labels vary.
    """
    bound = barber_agakov(own - shares.log()[labels], entropy_nats=0.0, entropy_is="exact")
    value = own.mean() + entropy_nats(shares)
    return replace(bound, value_nats=value, ceiling_nats=entropy_nats(shares))


def _as_info_nce(log_ratios: Float[Tensor, "rows classes"], labels: Labels) -> Bound:
    """Read a classifier as a critic of held-out pairs: each x against the labels of all rows, at most log K."""
    return info_nce(log_ratios[:, labels])


def _entropy(labels: Labels, shares: Float[Tensor, "classes"]) -> Bound:
    """Give H(Y), which I(X; Y) cannot exceed, with Miller and Madow's correction of (classes − 1) / 2N."""
    surprise = -shares.log()[labels]
    corrected = entropy_nats(shares) + (len(shares) - 1) / (2 * len(labels))
    bound = summed_up(
        surprise,
        torch.zeros_like(surprise),
        counted=torch.ones_like(surprise, dtype=torch.bool),
        name="entropy_of_labels",
        kind="upper",
        ceilings=torch.full_like(surprise, math.inf),
    )
    return replace(bound, value_nats=corrected)


def _classifiers(
    train: tuple[Rows, Labels],
    valid: tuple[Rows, Labels],
    held_out: Rows,
    *,
    shares: Float[Tensor, "classes"],
    generator: torch.Generator,
    settings: EstimatorSettings,
) -> Iterator[_Classifier]:
    """Train the classifiers that are tried: none, a linear one, and a network."""
    yield _Classifier("nothing", shares.log().expand(len(held_out), -1), 0.0)
    features = SideFeatures.fitted(train[0], settings=settings)
    of_train, of_valid, of_held_out = (
        torch.cat([features.plain(rows), features.radius(rows)], dim=1).float()
        for rows in (train[0], valid[0], held_out)
    )
    dim, classes = of_train.shape[1], len(shares)
    models = {"linear": nn.Linear(dim, classes), "network": mlp([dim, *[2 * settings.width] * 2, classes])}
    for name, model in models.items():
        _draw_weights(model, generator)
        _train(
            model,
            of_train,
            train[1],
            of_valid,
            valid[1],
            shares=shares,
            generator=generator,
            settings=settings,
        )
        with torch.no_grad():
            value = float(entropy_nats(shares) - cross_entropy(_logits(model, of_valid, shares), valid[1]))
            posterior = _logits(model, of_held_out, shares).log_softmax(dim=1)
        yield _Classifier(name, posterior, value)


def _logits(
    model: nn.Module, features: Float[Tensor, "rows dims"], shares: Float[Tensor, "classes"]
) -> Float[Tensor, "rows classes"]:
    """Give logits that begin at the classes' shares: a model says how a row differs from the rest."""
    logits: Tensor = model(features) + shares.log()
    return logits


def _train(
    model: nn.Module,
    features: Float[Tensor, "rows dims"],
    labels: Labels,
    valid_features: Float[Tensor, "valid dims"],
    valid_labels: Labels,
    *,
    shares: Float[Tensor, "classes"],
    generator: torch.Generator,
    settings: EstimatorSettings,
) -> None:
    """Train on cross entropy and leave the running mean of the step that was best on validation rows."""
    optimizer = torch.optim.Adam(model.parameters(), lr=settings.learning_rate / 2)
    mean = deepcopy(model)
    best, best_step, best_loss = deepcopy(model.state_dict()), 0, math.inf
    for step in range(1, settings.most_steps + 1):
        rows = torch.randint(len(features), (settings.batch_rows,), generator=generator)
        loss = cross_entropy(_logits(model, features[rows], shares), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(mean.parameters(), model.parameters(), strict=True):
                old.lerp_(new, 1 - min(settings.mean_decay, step / (step + 10)))
            if step % settings.check_steps == 0:
                value = float(cross_entropy(_logits(mean, valid_features, shares), valid_labels))
                if value < best_loss:
                    best, best_step, best_loss = deepcopy(mean.state_dict()), step, value
                elif step - best_step >= settings.patience_steps:
                    break
    model.load_state_dict(best)


def _draw_weights(model: nn.Module, generator: torch.Generator) -> None:
    """Draw weights from this generator, and begin the last layer at 0."""
    layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
    with torch.no_grad():
        for layer in layers:
            reach = 1 / math.sqrt(layer.in_features)
            layer.weight.uniform_(-reach, reach, generator=generator)
            layer.bias.uniform_(-reach, reach, generator=generator)
        layers[-1].weight.zero_()
        layers[-1].bias.zero_()
