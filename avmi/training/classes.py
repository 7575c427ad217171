"""Class scores of clips and what they should be → the report of a classifier: accuracies, confusion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from avmi.metrics import class_ranks, confusion_matrix, per_class_accuracy


@dataclass(frozen=True)
class ClassReport:
    """How well clips, and videos by the mean of their clips, are classified."""

    class_names: tuple[str, ...]
    top1: float
    top5: float
    top1_video: float
    chance: float  # share of the largest class: what a constant answer gets
    per_class: dict[str, float]
    confusion: Float[Tensor, "classes classes"]
    clips: int
    videos: int
    untrained: tuple[str, ...]  # classes of the test clips without any training clip: always wrong

    def as_json(self) -> dict[str, Any]:
        """Give plain values."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "top1_video": self.top1_video,
            "chance": self.chance,
            "clips": self.clips,
            "videos": self.videos,
            "per_class": self.per_class,
            "classes_without_training": list(self.untrained),
            "confusion": {
                "classes": list(self.class_names),
                "counts": [[round(count, 3) for count in row] for row in self.confusion.tolist()],
            },
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ClassReport":
        """Read what `as_json` gave."""
        return cls(
            class_names=tuple(values["confusion"]["classes"]),
            confusion=torch.tensor(values["confusion"]["counts"], dtype=torch.float64),
            untrained=tuple(values["classes_without_training"]),
            **{
                name: values[name]
                for name in ("top1", "top5", "top1_video", "chance", "per_class", "clips", "videos")
            },
        )

    def as_text(self) -> str:
        """Say it in a few lines, the worst classes first."""
        lines = [
            f"top-1 {self.top1:.3f} (chance {self.chance:.3f}), top-5 {self.top5:.3f}, "
            f"videos {self.top1_video:.3f}; {self.clips} clips of {self.videos} videos"
        ]
        worst = sorted(self.per_class.items(), key=lambda item: item[1])
        lines += [f"  {accuracy:.3f}  {name}" for name, accuracy in worst]
        if self.untrained:
            lines.append(f"  no training clip of: {', '.join(self.untrained)} (counted as wrong)")
        return "\n".join(lines)


def report_classes(
    scores: Float[Tensor, "clips classes"],
    classes: Int[Tensor, "clips"],
    videos: Int[Tensor, "clips"],
    *,
    class_names: Sequence[str],
    trained: Int[Tensor, "_"],
) -> ClassReport:
    """Compare log-probabilities with the true classes; `trained` are those with a training clip."""
    untrained = torch.ones(len(class_names), dtype=torch.bool).index_fill(0, trained, False)
    scores = scores.double().masked_fill(untrained, float(scores.min()) - 1.0)
    ranks = class_ranks(scores, classes)
    confusion = confusion_matrix(scores, classes)
    numbers, video_of_clip = torch.unique(videos, return_inverse=True)
    by_video = torch.zeros(len(numbers), scores.shape[1], dtype=torch.float64)
    by_video.index_add_(0, video_of_clip, scores.exp())
    class_of_video = torch.zeros(len(numbers), dtype=torch.long).scatter(0, video_of_clip, classes)
    accuracy = per_class_accuracy(confusion)
    tested = sorted(set(classes.tolist()))
    return ClassReport(
        class_names=tuple(class_names),
        top1=float(ranks.recall_at(1).mean()),
        top5=float(ranks.recall_at(5).mean()),
        top1_video=float(class_ranks(by_video, class_of_video).recall_at(1).mean()),
        chance=int(torch.bincount(classes).max()) / len(classes),
        per_class={class_names[number]: float(accuracy[number]) for number in tested},
        confusion=confusion,
        clips=len(classes),
        videos=len(numbers),
        untrained=tuple(class_names[number] for number in tested if untrained[number]),
    )
