"""Estimates from class labels: against closed forms, what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from avmi.errors import InputError
from avmi.mi import Estimate, estimate_labels
from avmi.mi.estimation.protocol import ESTIMATOR

QUICK = replace(ESTIMATOR, most_steps=200)


def mixture(rows: int = 1600, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (rows,), generator=generator)
    return 2.0 * labels[:, None] + torch.randn(rows, 1, generator=generator, dtype=torch.float64), labels


def truth() -> float:
    """I = h(X) − h(X | Y) of three Gaussians two deviations apart, by a sum over a grid."""
    at = np.linspace(-9, 13, 40_001)
    density = np.mean([stats.norm.pdf(at, mean) for mean in (0, 2, 4)], axis=0)
    return float(stats.entropy(density) + math.log(at[1] - at[0]) - stats.norm.entropy())


@pytest.fixture(scope="module")
def found() -> Estimate:
    return estimate_labels(*mixture(), settings=QUICK)


def test_classes_of_gaussians_read_their_closed_form(found: Estimate) -> None:
    assert found.value_nats == pytest.approx(truth(), abs=4 * float(found.bound.standard_error_nats))
    assert found.bound.kind == "lower"
    assert found.bound.name == "barber_agakov"


def test_the_entropy_of_the_labels_is_the_ceiling_and_the_bound_from_above(found: Estimate) -> None:
    counts = torch.bincount(mixture()[1]).numpy()
    assert found.ceiling_nats == pytest.approx(stats.entropy(counts), abs=1e-5)
    upper = found.table[-1]
    assert upper.kind == "upper"
    assert float(upper.value_nats) == pytest.approx(stats.entropy(counts) + 1 / 1600, abs=1e-5)


def test_info_nce_of_the_same_classifier_stands_beside_it(found: Estimate) -> None:
    other = next(bound for bound in found.table if bound.name == "info_nce")
    assert float(other.value_nats) == pytest.approx(found.value_nats, abs=0.05)
    assert float(other.ceiling_nats) == pytest.approx(math.log(400))


def test_names_of_classes_do_not_matter(found: Estimate) -> None:
    x, labels = mixture()
    names = np.array(["ant", "bee", "cat"])[labels.numpy()]
    assert estimate_labels(x, names, settings=QUICK).value_nats == found.value_nats
    assert estimate_labels(x, labels[:, None].double(), settings=QUICK).value_nats == found.value_nats


def test_labels_that_x_does_not_know_read_about_nothing() -> None:
    x, labels = mixture()
    shuffled = labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(2))]
    assert abs(estimate_labels(x, shuffled, settings=QUICK).value_nats) < 0.03


def test_a_class_that_no_training_row_has_is_no_error() -> None:
    x, labels = mixture(400)
    labels = labels.clone()
    labels[torch.randperm(400, generator=torch.Generator().manual_seed(0))[399]] = 3
    assert math.isfinite(estimate_labels(x, labels, settings=QUICK).value_nats)


BAD = {
    "one class": (np.ones(400, dtype=int), "Y has the one label 1"),
    "fractions": (np.linspace(0, 1, 400), "Y holds numbers with fractions"),
    "columns": (np.ones((400, 2)), "Y has shape 400×2"),
    "no classes": (np.arange(400), "Y has 400 labels in 400 rows"),
    "objects": (np.array([None] * 400, dtype=object), "Y holds objects"),
    "length": (np.arange(401) % 2, "X has 400 rows and Y has 401"),
}


@pytest.mark.parametrize("name", BAD)
def test_labels_that_cannot_be_used_are_told_in_one_sentence(name: str) -> None:
    labels, told = BAD[name]
    with pytest.raises(InputError, match=told):
        estimate_labels(mixture(400)[0], labels)
