"""{view: embedding} of all view pairs → loss, and the bound on each pair's mutual information."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from avmi.config.parts import Temperature
from avmi.config.views import Negatives
from avmi.distributed import gather, gather_with_gradient
from avmi.mi.bounds import info_nce
from avmi.views.graph import Pair, ViewGraph

# CLIP's limit: scores are never multiplied by more than 100.
LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.01, 1.0


@dataclass(frozen=True)
class PairTerm:
    """What one view pair adds to the loss; all are scalar tensors, so that nothing waits for a GPU."""

    loss: Tensor  # carries the gradient
    bound_nats: Tensor  # value of the bound on the MI of the pair
    ceiling_nats: Tensor  # the most that it can say: mean log K
    k_effective: Tensor  # one positive and its negatives, averaged over the clips
    clips: Tensor  # clips that had both views and a negative


@dataclass(frozen=True)
class Loss:
    """Weighted mean over the view pairs, each pair's term by name, and the temperature of the scores."""

    total: Tensor
    terms: dict[str, PairTerm]
    temperature: Tensor


class Objective(nn.Module):
    """Symmetric InfoNCE over all view pairs of a graph, with one learned temperature.

    Scores are cosines of unit-length embeddings divided by the temperature (van den Oord et al.
    2018; Tian et al. 2020 for many views). In several processes the negatives come from all of them.
    """

    def __init__(self, graph: ViewGraph, *, temperature: Temperature) -> None:
        super().__init__()
        self.pairs = graph.pairs
        self.views = tuple(dict.fromkeys(n for p in graph.pairs for n in (p.first, p.second)))
        self.log_temperature = nn.Parameter(
            torch.tensor(math.log(temperature.initial)), requires_grad=temperature.learned
        )

    @property
    def temperature(self) -> Tensor:
        """Number that divides the scores."""
        return self.log_temperature.exp()

    @torch.no_grad()
    def keep_temperature_in_range(self) -> None:
        """Bring the temperature back into [0.01, 1]; call it after each optimizer step."""
        self.log_temperature.clamp_(math.log(LEAST_TEMPERATURE), math.log(MOST_TEMPERATURE))

    def forward(
        self,
        embeddings: Mapping[str, Float[Tensor, "_ dim"]],
        *,
        rows: Mapping[str, Int[Tensor, "_"]] | None = None,
        videos: Int[Tensor, "batch"] | None = None,
    ) -> Loss:
        """Compute the loss of a batch.

        `embeddings[view]` holds the clips that have the view; `rows[view]` says which of the batch
        they are (None: all views of all clips). `videos` numbers the clips' videos: clips of one
        video are no negatives of each other unless the pair takes `same_video` negatives (None:
        every clip is of another video).
        """
        first = next(iter(embeddings.values()))
        batch = len(first) if videos is None else len(videos)
        joined, present = _join(self.views, embeddings, rows=rows, batch=batch)
        all_videos = None if videos is None else gather(videos)
        with torch.autocast(first.device.type, enabled=False):
            terms = {pair.name: self._term(pair, joined, present, all_videos) for pair in self.pairs}
        weights = {pair.name: pair.weight for pair in self.pairs}
        total = torch.stack([weights[name] * term.loss for name, term in terms.items()]).sum()
        return Loss(total / sum(weights.values()), terms, self.temperature.detach())

    def _term(
        self,
        pair: Pair,
        embeddings: Mapping[str, Float[Tensor, "all dim"]],
        present: Mapping[str, Bool[Tensor, "all"]],
        videos: Int[Tensor, "all"] | None,
    ) -> PairTerm:
        scores = embeddings[pair.first] @ embeddings[pair.second].T / self.temperature
        both = present[pair.first] & present[pair.second]
        bound = info_nce(
            scores,
            negatives=negatives_of(pair.negatives, both, videos),
            independent_negatives="same_video" not in pair.negatives,
        )
        return PairTerm(
            loss=bound.ceiling_nats - bound.value_nats,
            bound_nats=bound.value_nats.detach(),
            ceiling_nats=bound.ceiling_nats,
            k_effective=bound.k_effective,
            clips=bound.counted,
        )


def _join(
    views: Sequence[str],
    embeddings: Mapping[str, Float[Tensor, "_ dim"]],
    *,
    rows: Mapping[str, Int[Tensor, "_"]] | None,
    batch: int,
) -> tuple[dict[str, Float[Tensor, "all dim"]], dict[str, Bool[Tensor, "all"]]]:
    """Lay the views' embeddings out by clip and join those of all processes in one exchange."""
    any_view = next(iter(embeddings.values())).float()
    nowhere = torch.zeros(batch, dtype=torch.bool, device=any_view.device)
    empty = any_view.new_zeros(batch, any_view.shape[1])
    laid, present = [], []
    for name in views:
        if name not in embeddings:  # no clip of this process's batch reaches the view
            laid.append(empty)
            present.append(nowhere)
        elif rows is None:
            laid.append(embeddings[name].float())
            present.append(~nowhere)
        else:
            laid.append(empty.index_copy(0, rows[name], embeddings[name].float()))
            present.append(nowhere.index_fill(0, rows[name], True))
    joined = gather_with_gradient(torch.stack(laid, dim=1)).unbind(dim=1)
    masks = gather(torch.stack(present, dim=1).to(torch.uint8)).bool().unbind(dim=1)
    return dict(zip(views, joined, strict=True)), dict(zip(views, masks, strict=True))


def negatives_of(
    choice: Sequence[Negatives], present: Bool[Tensor, "clips"], videos: Int[Tensor, "clips"] | None
) -> Bool[Tensor, "clips clips"]:
    """Say which clips are negatives of which: those present, of other videos, of the same, or both."""
    others = ~torch.eye(len(present), dtype=torch.bool, device=present.device)
    if videos is not None:
        same = videos[:, None] == videos[None, :]
        if "same_video" not in choice:
            others = others & ~same
        elif "other_videos" not in choice:
            others = others & same
    return others & present[:, None] & present[None, :]
