"""Views of clips → class scores by one or two encoders and a linear head; trained whole."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from avmi.data import Batch
from avmi.distributed import gather_objects
from avmi.metrics import label_codes
from avmi.models.encoders import Encoders


class Classifier(nn.Module):
    """Backbones' outputs joined (late fusion when there are two), and a linear layer."""

    def __init__(self, encoders: Encoders, views: Sequence[str], *, classes: int) -> None:
        super().__init__()
        self.encoders, self.views = encoders, tuple(views)
        dims = [encoders.encoder(view).feature_dim for view in views]
        # A feature's scale is the backbone's own; normalizing it lets one learning rate fit all.
        self.head = nn.Sequential(nn.LayerNorm(sum(dims)), nn.Linear(sum(dims), classes))

    def forward(self, views: Mapping[str, Tensor]) -> Float[Tensor, "clips classes"]:
        """Score the classes of clips that have all the views."""
        features = [self.encoders.encoder(name).features(views[name]) for name in self.views]
        scores: Tensor = self.head(torch.cat(features, dim=1))
        return scores


@dataclass(frozen=True)
class Scored:
    """Log-probabilities of clips, their true classes, and numbers of their videos."""

    scores: Float[Tensor, "clips classes"]
    classes: Int[Tensor, "clips"]
    videos: Int[Tensor, "clips"]


def classes_of(batch: Batch, numbers: Mapping[str, int]) -> Int[Tensor, "clips"]:
    """Give the number of each clip's class."""
    return torch.tensor([numbers[spec.video.label] for spec in batch.specs], dtype=torch.long)


@torch.inference_mode()
def score_clips(
    classifier: Classifier,
    batches: Iterable[Batch],
    numbers: Mapping[str, int],
    *,
    device: torch.device,
) -> Scored | None:
    """Score every process's share of fixed clips and give all to every process; None without clips."""
    classifier.eval()
    mine = [
        (
            torch.log_softmax(classifier(batch.to(device).views).double().cpu(), dim=1),
            classes_of(batch, numbers),
            [spec.video.row_id for spec in batch.specs],
        )
        for batch in batches
        if batch.specs
    ]
    classifier.train()
    parts = [part for share in gather_objects(mine) for part in share]
    if not parts:
        return None
    scores, classes, rows = zip(*parts, strict=True)
    return Scored(torch.cat(scores), torch.cat(classes), label_codes([row for part in rows for row in part]))
