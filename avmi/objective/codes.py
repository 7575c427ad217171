"""Posteriors of this process's clips → those of all processes, view by view, and which clips are of other videos."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from avmi.mi.posterior import Posterior
from avmi.objective.joined import ViewRows, join


@dataclass(frozen=True)
class Codes:
    """Posteriors of one view of all clips that have it."""

    posterior: Posterior
    clips: Int[Tensor, "clips"]  # places in the joined batch
    videos: Int[Tensor, "clips"]

    @property
    def others(self) -> Bool[Tensor, "clips clips"]:
        """Say which clips are of other videos: draws that do not depend on each other."""
        return self.videos[:, None] != self.videos[None, :]

    def part(self, first: int, last: int) -> Posterior:
        """Give some of the coordinates; they are independent of the others, given the view."""
        return Posterior(*(tensor[:, first:last] for tensor in self.posterior))

    def of(self, places: Int[Tensor, "kept"]) -> "Codes":
        """Keep some of the clips."""
        kept = Posterior(*(tensor[places] for tensor in self.posterior))
        return Codes(kept, self.clips[places], self.videos[places])


def join_codes(
    posteriors: Mapping[str, Posterior],
    *,
    views: Sequence[str],
    rows: Mapping[str, Int[Tensor, "_"] | None],
    videos: Int[Tensor, "batch"],
) -> dict[str, Codes]:
    """Join the posteriors of all processes in one exchange, with gradient to this process's own.

    Every process names the same views, in one order; one that no clip of its batch has is missing from its
    `posteriors`. `rows` are the clips of the batch that have a view, None all of them.
    """
    laid = {name: torch.cat(posteriors[name], dim=1) for name in views if name in posteriors}
    joined = join(
        {name: ViewRows(laid.get(name), rows.get(name), ()) for name in views},
        batch=len(videos),
        like=next(iter(laid.values())),
        videos=videos,
        seconds=None,
    )
    assert joined.videos is not None
    found = {}
    for name in views:
        clips = joined.present[name].nonzero()[:, 0]
        parts = joined.embeddings[name][clips, 0].chunk(3, dim=1)
        found[name] = Codes(Posterior(*parts), clips, joined.videos[clips])
    return found


def of_both(first: Codes, second: Codes) -> tuple[Codes, Codes]:
    """Keep the clips that have both views, in one order."""
    has_other = torch.isin(first.clips, second.clips).nonzero()[:, 0]
    has_first = torch.isin(second.clips, first.clips).nonzero()[:, 0]
    return first.of(has_other), second.of(has_first)
