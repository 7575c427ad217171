"""Feature vectors, one for each clip or one for each place → unit-length embeddings."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.parts import Head
from avmi.models.gaussian import GaussianHead
from avmi.models.projection import projection, standardization

# log σ of the shared part of an untrained stochastic head. Cosines feel the noise of all coordinates together, σ·√dim,
# against the length of the mean, which is about 1 at first: 0.5 in 128 dimensions here; with −1 it would be 4, and
# hide what is learned.
FIRST_LOG_SIGMA = -3.0


class ProjectionHead(nn.Module):
    """MLP with ReLU between its layers, then division by the length.

    With `standardize` each value of the feature is first normalized over the batch and its places (Ioffe &
    Szegedy 2015, without scale and shift).
    """

    def __init__(self, feature_dim: int, settings: Head) -> None:
        super().__init__()
        self.standardize = standardization(feature_dim, settings)
        self.dropout = nn.Dropout(settings.dropout)
        self.layers = projection(feature_dim, settings, dim_out=settings.embedding_dim)

    def forward(self, features: Float[Tensor, "*places feature"]) -> Float[Tensor, "*places dim"]:
        """Project along the last axis and normalize; under autocast the length is still taken in float32."""
        rows = self.standardize(features.flatten(0, -2)).view_as(features)
        return F.normalize(self.layers(self.dropout(rows)).float(), dim=-1)

    def embed(self, features: Float[Tensor, "*places feature"]) -> Float[Tensor, "*places dim"]:
        """Give the embedding."""
        embedding: Tensor = self(features)
        return embedding


class StochasticHead(GaussianHead):
    """Gaussian posteriors of codes z = [shared | private]; the embedding is the shared part over its length.

    A drawn embedding is a function of the drawn code, so that what it holds of the view is bounded by what the code
    holds; that of the mean, which users get, has no noise, and no such bound.
    """

    def __init__(self, feature_dim: int, settings: Head) -> None:
        super().__init__(feature_dim, settings)
        self.embedding_dim = settings.embedding_dim
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        first = (
            last.out_features // 2
        )  # means come before, private parts behind: those are compared as they are
        nn.init.constant_(last.bias[first : first + self.embedding_dim], FIRST_LOG_SIGMA)

    def embed(self, features: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch dim"]:
        """Give the embedding of the mean, which holds no noise."""
        return self.embedding_of(self(features).mean)

    def embedding_of(self, code: Float[Tensor, "batch code"]) -> Float[Tensor, "batch dim"]:
        """Bring the shared part of a code to length one."""
        return F.normalize(code[:, : self.embedding_dim], dim=-1)


AnyHead = ProjectionHead | StochasticHead


def build_head(feature_dim: int, settings: Head) -> AnyHead:
    """Build the head that the settings name."""
    match settings.posterior:
        case "none":
            return ProjectionHead(feature_dim, settings)
        case "gaussian":
            return StochasticHead(feature_dim, settings)
