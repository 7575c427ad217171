"""Accuracy, confusion and average precision against torchmetrics, scikit-learn and the closed forms of ties."""

import pytest
import torch
from sklearn.metrics import average_precision_score
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_confusion_matrix,
)

from avmi import metrics
from avmi.errors import InputError


def drawn(items: int, classes: int, *, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (items,), generator=generator)
    scores = torch.randn(items, classes, generator=generator)
    return scores + torch.nn.functional.one_hot(labels, classes), labels


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_accuracy_equals_torchmetrics(k: int) -> None:
    scores, labels = drawn(200, 9, seed=0)
    ours = metrics.class_ranks(scores, labels).recall_at(k).mean()
    theirs = multiclass_accuracy(scores, labels, num_classes=9, top_k=k, average="micro")
    assert float(ours) == pytest.approx(float(theirs))


def test_confusion_and_accuracy_by_class_equal_torchmetrics() -> None:
    scores, labels = drawn(150, 6, seed=1)
    confusion = metrics.confusion_matrix(scores, labels)
    assert torch.equal(confusion.long(), multiclass_confusion_matrix(scores, labels, num_classes=6))
    theirs = multiclass_accuracy(scores, labels, num_classes=6, average="none")
    assert torch.allclose(metrics.per_class_accuracy(confusion).float(), theirs)


def test_equal_scores_are_chance_and_share_their_item() -> None:
    scores, labels = torch.zeros(10, 4), torch.tensor([0] * 7 + [2] * 3)
    assert metrics.class_ranks(scores, labels).recall_at(1).tolist() == [0.25] * 10
    assert metrics.class_ranks(scores, labels).recall_at(5).tolist() == [1.0] * 10
    confusion = metrics.confusion_matrix(scores, labels)
    assert confusion.tolist() == [[1.75] * 4, [0.0] * 4, [0.75] * 4, [0.0] * 4]
    accuracy = metrics.per_class_accuracy(confusion)
    assert accuracy[[0, 2]].tolist() == [0.25, 0.25]
    assert accuracy[[1, 3]].isnan().all()


def test_the_trace_of_the_confusion_is_the_top_1_accuracy_with_ties() -> None:
    scores, labels = drawn(120, 5, seed=2)
    scores = scores.round()
    confusion = metrics.confusion_matrix(scores, labels)
    top1 = metrics.class_ranks(scores, labels).recall_at(1).mean()
    assert float(confusion.trace() / confusion.sum()) == pytest.approx(float(top1))


@pytest.mark.parametrize("rounded", [False, True])
def test_mean_average_precision_equals_scikit_learn(rounded: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    targets = torch.rand(90, 7, generator=generator) < 0.2
    targets[:, 4] = False  # a class without positives does not count
    scores = torch.randn(90, 7, generator=generator) + targets
    scores = scores.round() if rounded else scores
    expected = [average_precision_score(targets[:, c], scores[:, c]) for c in range(7) if c != 4]
    assert metrics.mean_average_precision(scores, targets) == pytest.approx(sum(expected) / 6)


def test_mean_average_precision_without_positives_is_none() -> None:
    assert metrics.mean_average_precision(torch.zeros(3, 2), torch.zeros(3, 2, dtype=torch.bool)) is None


def test_scores_that_are_not_finite_and_labels_that_are_no_class_are_errors() -> None:
    scores, labels = drawn(8, 3, seed=4)
    broken = scores.clone()
    broken[5, 1] = torch.nan
    with pytest.raises(InputError, match="row 5 of the class scores"):
        metrics.confusion_matrix(broken, labels)
    with pytest.raises(InputError, match="row 5 of the class scores"):
        metrics.mean_average_precision(broken, torch.ones(8, 3, dtype=torch.bool))
    for wrong in (3, -1):
        with pytest.raises(InputError, match=r"0…2"):
            metrics.class_ranks(scores, torch.full((8,), wrong))
