"""Frozen features → a linear classifier, against scikit-learn's own pipeline."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from avmi.errors import CorpusError
from avmi.training.linear_probe import INVERSE_PENALTIES, LabelledFeatures, fit_linear_probe

NAMES = ("ant", "bee", "cat", "dog")


def blobs(clips: int, *, classes: tuple[int, ...], seed: int, spread: float = 1.5) -> LabelledFeatures:
    """Draw features around a centre for each class; their scales differ, one is dead."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((4, 6))
    numbers = np.array([classes[n % len(classes)] for n in range(clips)])
    features = centres[numbers] + spread * rng.standard_normal((clips, 6))
    features = np.concatenate([features * (1, 10, 0.1, 1, 100, 1) + 5, np.full((clips, 1), 3.0)], axis=1)
    return LabelledFeatures(
        features=torch.from_numpy(features).float(),
        classes=torch.from_numpy(numbers),
        videos=torch.arange(clips) // 2,
    )


def sklearn_log_probabilities(
    train: LabelledFeatures, test: LabelledFeatures, inverse_penalty: float
) -> np.ndarray:
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=inverse_penalty, max_iter=2000, tol=1e-8))
    pipeline.fit(train.features.double().numpy(), train.classes.numpy())
    return pipeline.predict_log_proba(test.features.double().numpy())


def top1(scores: torch.Tensor, wanted: LabelledFeatures) -> float:
    return float((scores.argmax(dim=1) == wanted.classes).double().mean())


def test_scores_are_those_of_scikit_learn() -> None:
    train, test = (blobs(n, classes=(0, 1, 2, 3), seed=n) for n in (80, 50))
    probe = fit_linear_probe(train, None, class_names=NAMES)
    assert probe.inverse_penalty == 1.0
    assert probe.valid_top1 is None
    wanted = sklearn_log_probabilities(train, test, 1.0)
    np.testing.assert_allclose(probe.scores(test.features).numpy(), wanted, atol=5e-3)
    assert 0.3 < top1(probe.scores(test.features), test) < 0.95  # neither chance nor trivial


def test_two_classes_give_the_scores_of_scikit_learn() -> None:
    train, test = (blobs(n, classes=(0, 1), seed=n) for n in (60, 31))
    probe = fit_linear_probe(train, None, class_names=NAMES[:2])
    wanted = sklearn_log_probabilities(train, test, 1.0)
    np.testing.assert_allclose(probe.scores(test.features).numpy(), wanted, atol=5e-3)


@pytest.mark.parametrize("classes", [(0, 3), (1, 2, 3)])
def test_a_class_without_training_clips_is_never_predicted(classes: tuple[int, ...]) -> None:
    train = blobs(60, classes=classes, seed=1)
    test = blobs(40, classes=(0, 1, 2, 3), seed=2)
    scores = fit_linear_probe(train, None, class_names=NAMES).scores(test.features)
    assert scores.shape == (40, 4)
    assert scores.isfinite().all()
    assert set(scores.argmax(dim=1).tolist()) <= set(classes)
    missing = [number for number in range(4) if number not in classes]
    assert (scores[:, missing] < scores[:, list(classes)].min(dim=1, keepdim=True).values).all()
    # The others are scored as if the class did not exist.
    wanted = sklearn_log_probabilities(train, test, 1.0)
    np.testing.assert_allclose(scores[:, list(classes)].numpy(), wanted, atol=5e-3)


def test_the_valid_clips_choose_the_penalty() -> None:
    train = blobs(40, classes=(0, 1, 2, 3), seed=3, spread=3.0)
    valid = blobs(90, classes=(0, 1, 2, 3), seed=4, spread=3.0)
    found = fit_linear_probe(train, valid, class_names=NAMES)
    accuracies = {}
    for inverse_penalty in INVERSE_PENALTIES:
        predicted = sklearn_log_probabilities(train, valid, inverse_penalty).argmax(axis=1)
        accuracies[inverse_penalty] = float((predicted == valid.classes.numpy()).mean())
    assert len(set(accuracies.values())) > 1
    best = max(accuracies.values())
    # Of equally good ones the strongest penalty.
    assert found.inverse_penalty == min(c for c, accuracy in accuracies.items() if accuracy == best)
    assert found.valid_top1 == pytest.approx(best)


def test_other_valid_clips_choose_another_penalty() -> None:
    train = blobs(40, classes=(0, 1, 2, 3), seed=3, spread=3.0)
    # Labels as the strongest penalty, then as the weakest gives them: that one is right everywhere.
    for inverse_penalty in (INVERSE_PENALTIES[0], INVERSE_PENALTIES[-1]):
        valid = blobs(200, classes=(0, 1, 2, 3), seed=5, spread=3.0)
        labels = sklearn_log_probabilities(train, valid, inverse_penalty).argmax(axis=1)
        relabelled = LabelledFeatures(valid.features, torch.from_numpy(labels), valid.videos)
        found = fit_linear_probe(train, relabelled, class_names=NAMES)
        assert found.inverse_penalty == inverse_penalty
        assert found.valid_top1 > 0.99


def test_of_equally_good_penalties_the_strongest_is_taken() -> None:
    train, valid = (blobs(n, classes=(0, 1), seed=n, spread=0.01) for n in (30, 21))
    found = fit_linear_probe(train, valid, class_names=NAMES[:2])
    assert found.valid_top1 == 1.0
    assert found.inverse_penalty == min(INVERSE_PENALTIES)


def test_without_valid_clips_the_penalty_is_one() -> None:
    train = blobs(40, classes=(0, 1), seed=3)
    nobody = LabelledFeatures(train.features[:0], train.classes[:0], train.videos[:0])
    assert fit_linear_probe(train, nobody, class_names=NAMES[:2]).inverse_penalty == 1.0


def test_fitting_repeats_exactly() -> None:
    train, valid = (blobs(n, classes=(0, 1, 2), seed=n) for n in (45, 33))
    one, other = (fit_linear_probe(train, valid, class_names=NAMES[:3]) for _ in range(2))
    assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.bias, other.bias)


def test_a_dead_feature_has_no_influence() -> None:
    train, test = (blobs(n, classes=(0, 1, 2), seed=n) for n in (45, 20))
    scores = fit_linear_probe(train, None, class_names=NAMES[:3]).scores(test.features)
    alive = LabelledFeatures(train.features[:, :-1], train.classes, train.videos)
    without = fit_linear_probe(alive, None, class_names=NAMES[:3]).scores(test.features[:, :-1])
    torch.testing.assert_close(scores, without, atol=1e-2, rtol=0)


@pytest.mark.parametrize(("classes", "said"), [((2,), r"\['cat'\]"), ((), r"\[\]")])
def test_fewer_than_two_classes_are_refused_with_those_there_are(classes: tuple[int, ...], said: str) -> None:
    train = blobs(6, classes=classes or (0,), seed=1)
    if not classes:
        train = LabelledFeatures(train.features[:0], train.classes[:0], train.videos[:0])
    with pytest.raises(CorpusError, match=f"two classes or more, the train split has {said}"):
        fit_linear_probe(train, None, class_names=NAMES)
