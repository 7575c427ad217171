"""Class scores → the report of a classifier, against scikit-learn's metrics."""

import json

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score, top_k_accuracy_score

from avmi.training.classes import ClassReport, report_classes

NAMES = tuple("abcdefgh")  # eight classes; clips are of seven of them
VIDEOS = 30


@pytest.fixture(scope="module")
def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw log-probabilities of clips, two to five a video, their classes, and their videos' numbers."""
    rng = np.random.default_rng(4)
    videos = np.concatenate([np.full(rng.integers(2, 6), 100 + 3 * n) for n in range(VIDEOS)])
    class_of_video = rng.integers(0, 7, VIDEOS)
    classes = class_of_video[(videos - 100) // 3]
    logits = rng.standard_normal((len(videos), 8)) + 1.5 * np.eye(8)[classes]
    shuffled = rng.permutation(len(videos))  # clips of a video need not stand together
    scores = torch.log_softmax(torch.from_numpy(logits[shuffled]), dim=1)
    return scores, torch.from_numpy(classes[shuffled]), torch.from_numpy(videos[shuffled])


def report(case, *, trained: tuple[int, ...] = tuple(range(8))) -> ClassReport:
    scores, classes, videos = case
    return report_classes(scores, classes, videos, class_names=NAMES, trained=torch.tensor(trained))


def test_accuracies_are_those_of_scikit_learn(case) -> None:
    scores, classes, _ = (tensor.numpy() for tensor in case)
    found = report(case)
    assert found.top1 == pytest.approx(accuracy_score(classes, scores.argmax(axis=1)))
    assert found.top5 == pytest.approx(top_k_accuracy_score(classes, scores, k=5, labels=range(8)))
    assert 0.2 < found.top1 < found.top5 < 1


def test_the_confusion_matrix_is_that_of_scikit_learn(case) -> None:
    scores, classes, _ = (tensor.numpy() for tensor in case)
    wanted = confusion_matrix(classes, scores.argmax(axis=1), labels=range(8))
    np.testing.assert_allclose(report(case).confusion.numpy(), wanted)


def test_the_accuracy_of_a_class_is_its_recall_and_only_tested_classes_have_one(case) -> None:
    scores, classes, _ = (tensor.numpy() for tensor in case)
    recalls = recall_score(classes, scores.argmax(axis=1), labels=range(7), average=None)
    found = report(case).per_class
    assert list(found) == list(NAMES[:7])
    assert list(found.values()) == pytest.approx(recalls.tolist())


def test_a_video_is_classified_by_the_mean_probability_of_its_clips(case) -> None:
    scores, classes, videos = (tensor.numpy() for tensor in case)
    right = []
    for video in np.unique(videos):
        clips = videos == video
        right.append(np.exp(scores[clips]).mean(axis=0).argmax() == classes[clips][0])
    found = report(case)
    assert found.top1_video == pytest.approx(np.mean(right))
    assert found.videos == VIDEOS
    assert found.clips == len(videos)


def test_chance_is_the_share_of_the_largest_class(case) -> None:
    classes = case[1].numpy()
    assert report(case).chance == pytest.approx(np.bincount(classes).max() / len(classes))


def test_classes_without_training_are_named_and_always_wrong(case) -> None:
    scores, classes, _ = (tensor.numpy() for tensor in case)
    found = report(case, trained=(0, 1, 2, 4, 6, 7))
    assert found.untrained == ("d", "f")
    assert found.per_class["d"] == found.per_class["f"] == 0.0
    masked = scores.copy()
    masked[:, [3, 5]] = -np.inf
    assert found.top1 == pytest.approx(accuracy_score(classes, masked.argmax(axis=1)))
    assert found.confusion[:, [3, 5]].sum() == 0


def test_a_constant_answer_scores_no_more_than_ties_allow() -> None:
    scores = torch.full((4, 8), -2.0)
    classes, videos = torch.tensor([0, 1, 2, 2]), torch.arange(4)
    found = report_classes(scores, classes, videos, class_names=NAMES, trained=torch.arange(8))
    assert found.top1 == pytest.approx(1 / 8)
    assert found.top5 == pytest.approx(5 / 8)


def test_two_classes_have_a_top5_of_one() -> None:
    scores = torch.log_softmax(torch.tensor([[2.0, 0.0], [1.0, 0.0], [0.0, 3.0]]), dim=1)
    found = report_classes(
        scores, torch.tensor([0, 1, 1]), torch.arange(3), class_names=("a", "b"), trained=torch.arange(2)
    )
    assert (found.top1, found.top5) == (pytest.approx(2 / 3), 1.0)
    assert found.per_class == {"a": 1.0, "b": 0.5}


def test_a_report_survives_json(case) -> None:
    found = report(case, trained=(0, 1, 2, 4, 6, 7))
    again = ClassReport.from_json(json.loads(json.dumps(found.as_json())))
    assert again.as_json() == found.as_json()
    np.testing.assert_allclose(again.confusion.numpy(), found.confusion.numpy(), atol=1e-3)
    for name in ("class_names", "top1", "top5", "top1_video", "chance", "per_class", "clips", "videos"):
        assert getattr(again, name) == getattr(found, name)
    assert again.untrained == ("d", "f")


def test_the_text_puts_the_worst_classes_first(case) -> None:
    found = report(case, trained=(0, 1, 2, 4, 6, 7))
    lines = found.as_text().splitlines()
    assert f"top-1 {found.top1:.3f} (chance {found.chance:.3f})" in lines[0]
    assert f"{found.clips} clips of 30 videos" in lines[0]
    accuracies = [float(line.split()[0]) for line in lines[1:8]]
    assert accuracies == sorted(accuracies)
    assert lines[8] == "  no training clip of: d, f (counted as wrong)"
