"""Frozen features with labels → a linear classifier chosen on held-out clips, and class scores."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from avmi.errors import CorpusError

# Inverse strengths of the L2 penalty that are tried; the held-out clips choose.
INVERSE_PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0)
ITERATIONS = 300


@dataclass(frozen=True)
class LabelledFeatures:
    """Features of clips, the number of each clip's class, and of its video."""

    features: Float[Tensor, "clips feature"]
    classes: Int[Tensor, "clips"]
    videos: Int[Tensor, "clips"]


@dataclass(frozen=True)
class LinearProbe:
    """A linear layer on standardized features."""

    weight: Float[Tensor, "classes feature"]
    bias: Float[Tensor, "classes"]
    inverse_penalty: float
    valid_top1: float | None  # accuracy that chose the penalty; None when nothing was held out

    def scores(self, features: Float[Tensor, "clips feature"]) -> Float[Tensor, "clips classes"]:
        """Give log-probabilities of the classes; a class that was never seen has the lowest."""
        return torch.log_softmax(features.double() @ self.weight.T + self.bias, dim=1)


def fit_linear_probe(
    train: LabelledFeatures,
    valid: LabelledFeatures | None,
    *,
    class_names: Sequence[str],
    seed: int = 0,
) -> LinearProbe:
    """Fit multinomial logistic regression, its penalty chosen on the valid clips (else 1).

    Raises `CorpusError` when the training clips are of fewer than two classes.
    """
    seen = sorted(set(train.classes.tolist()))
    if len(seen) < 2:
        found = [class_names[number] for number in seen]
        raise CorpusError(
            f"a classifier needs training clips of two classes or more, the train split has {found}: "
            "put videos into one subfolder for each class, or give a table with labels"
        )
    mean, std = _spread(train.features)
    candidates = INVERSE_PENALTIES if valid is not None and len(valid.classes) else (1.0,)
    best: LinearProbe | None = None
    for inverse_penalty in candidates:
        probe = _fit(train, mean, std, inverse_penalty, classes=len(class_names), seed=seed)
        top1 = None
        if valid is not None and len(valid.classes):
            top1 = _accuracy(probe, valid)
        probe = LinearProbe(probe.weight, probe.bias, inverse_penalty, top1)
        if best is None or (top1 is not None and top1 > (best.valid_top1 or 0.0)):
            best = probe
    assert best is not None
    return best


def _fit(
    train: LabelledFeatures,
    mean: Float[Tensor, "feature"],
    std: Float[Tensor, "feature"],
    inverse_penalty: float,
    *,
    classes: int,
    seed: int,
) -> LinearProbe:
    standardized = ((train.features.double() - mean) / std).numpy()
    model = LogisticRegression(C=inverse_penalty, max_iter=ITERATIONS, random_state=seed)
    with warnings.catch_warnings():  # the last digits of a probe do not matter
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(standardized, train.classes.numpy())
    found, bias_found = torch.from_numpy(model.coef_), torch.from_numpy(model.intercept_)
    if len(model.classes_) == 2:  # scikit-learn keeps one row for two classes
        found, bias_found = torch.cat([-found, found]) / 2, torch.cat([-bias_found, bias_found]) / 2
    rows = torch.from_numpy(np.asarray(model.classes_, dtype=np.int64))
    weight = torch.zeros(classes, found.shape[1], dtype=torch.float64).index_copy(0, rows, found / std)
    bias = torch.full((classes,), -1e4, dtype=torch.float64)
    bias = bias.index_copy(0, rows, bias_found - (found / std) @ mean)
    return LinearProbe(weight, bias, inverse_penalty, None)


def _spread(
    features: Float[Tensor, "clips feature"],
) -> tuple[Float[Tensor, "feature"], Float[Tensor, "feature"]]:
    features = features.double()
    # A dead feature stays at zero instead of being blown up.
    return features.mean(dim=0), features.std(dim=0, correction=0).clamp(min=1e-6)


def _accuracy(probe: LinearProbe, held_out: LabelledFeatures) -> float:
    right = probe.scores(held_out.features).argmax(dim=1) == held_out.classes
    return float(right.double().mean())
