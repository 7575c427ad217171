"""Class scores and labels → top-k accuracy, confusion matrix, mean average precision; pure, tie-safe."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from avmi.errors import InputError
from avmi.metrics.ranking import Ranks


def class_ranks(scores: Float[Tensor, "items classes"], labels: Int[Tensor, "items"]) -> Ranks:
    """Rank the classes by score for every item; `recall_at(k)` of the result is top-k accuracy.

    Raises `InputError` for scores that are not finite and for labels that are no class.
    """
    scores, labels = _checked(scores, labels)
    true = scores.gather(1, labels[:, None])
    return Ranks(
        query=torch.arange(len(scores)),
        best=1 + (scores > true).sum(dim=1),
        worst=(scores >= true).sum(dim=1),
        candidates=torch.full_like(labels, scores.shape[1]),
    )


def confusion_matrix(
    scores: Float[Tensor, "items classes"], labels: Int[Tensor, "items"]
) -> Float[Tensor, "classes classes"]:
    """Count items by true class (row) and top-scored class (column); tied tops share an item.

    Its trace over its sum is the top-1 accuracy. Errors as in `class_ranks`.
    """
    scores, labels = _checked(scores, labels)
    top = (scores == scores.amax(dim=1, keepdim=True)).double()
    counts = torch.zeros(scores.shape[1], scores.shape[1], dtype=torch.float64)
    return counts.index_add(0, labels, top / top.sum(dim=1, keepdim=True))


def per_class_accuracy(
    confusion: Float[Tensor, "classes classes"],
) -> Float[Tensor, "classes"]:
    """Give the accuracy on the items of each class; nan for a class without items."""
    return confusion.diagonal() / confusion.sum(dim=1)


def mean_average_precision(
    scores: Float[Tensor, "items classes"], targets: Bool[Tensor, "items classes"]
) -> float | None:
    """Average the precision at every positive of a class, then over the classes that have a positive.

    Tied items all stand at the end of their tie, as in scikit-learn's average_precision_score. None when
    no class has a positive. Raises `InputError` for scores that are not finite.
    """
    scores, targets = _finite(scores), targets.cpu()
    by_class = []
    for column, target in zip(scores.T.contiguous(), targets.T, strict=True):
        positives = column[target].sort().values
        if len(positives):
            above = len(column) - torch.searchsorted(column.sort().values, positives)
            hits = len(positives) - torch.searchsorted(positives, positives)
            by_class.append((hits.double() / above).mean())
    return float(torch.stack(by_class).mean()) if by_class else None


def _checked(
    scores: Float[Tensor, "items classes"], labels: Int[Tensor, "items"]
) -> tuple[Float[Tensor, "items classes"], Int[Tensor, "items"]]:
    scores, labels, classes = _finite(scores), labels.cpu().long(), scores.shape[1]
    if bool(((labels < 0) | (labels >= classes)).any()):
        raise InputError(f"labels must lie in 0…{classes - 1}, the classes that have a score")
    return scores, labels


def _finite(scores: Float[Tensor, "items classes"]) -> Float[Tensor, "items classes"]:
    scores = scores.detach().cpu()
    bad = ~scores.isfinite().all(dim=1)
    if bool(bad.any()):
        raise InputError(
            f"row {int(bad.nonzero()[0])} of the class scores is not finite ({int(bad.sum())} such rows): "
            "look for broken weights or inputs"
        )
    return scores
