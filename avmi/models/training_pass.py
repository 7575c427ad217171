"""{view: tensor} → embeddings to train on, of drawn codes where encoders are stochastic, and the codes' posteriors."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from avmi.mi.posterior import Posterior
from avmi.models.encoders import Encoders
from avmi.models.heads import StochasticHead


class Encoded(NamedTuple):
    """Embeddings by view, and posteriors by view: none of heads that have none."""

    embeddings: dict[str, Tensor]
    posteriors: dict[str, Posterior]


class TrainingPass(nn.Module):
    """What training calls in place of the encoders: the same weights, with draws of the codes.

    Draws come from torch's random state, which the loop sets anew at every step.
    """

    def __init__(self, encoders: Encoders) -> None:
        super().__init__()
        self.encoders = encoders

    def forward(self, views: Mapping[str, Tensor]) -> Encoded:
        """Embed views as `Encoders` does, from one draw of every code."""
        embeddings: dict[str, Tensor] = {}
        posteriors: dict[str, Posterior] = {}
        for head, names, features in self.encoders.passes(views):
            clips = [len(views[self.encoders.signal_of[name]]) for name in names]
            if isinstance(head, StochasticHead):
                posterior: Posterior = head(features)
                embedding = head.embedding_of(posterior.sample)
                split = (part.split(clips) for part in posterior)
                posteriors |= {n: Posterior(*p) for n, *p in zip(names, *split, strict=True)}
            else:
                embedding = head.embed(features)
            embeddings |= zip(names, embedding.split(clips), strict=True)
        return Encoded(embeddings, posteriors)
