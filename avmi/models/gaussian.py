"""Feature vectors, one for each clip → Gaussian posteriors of the embeddings, with a draw of each."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.parts import Head
from avmi.mi.posterior import Posterior, clamp_log_sigma, draw
from avmi.models.projection import projection, standardization

# log σ of an untrained head: small against the spread of the means, so that the gain sees through the noise at once.
FIRST_LOG_SIGMA = -1.0


class GaussianHead(nn.Module):
    """MLP with ReLU between its layers, whose last layer gives a mean and a log σ for every coordinate.

    The embedding is not divided by its length: on a sphere the density would not be the Gaussian's. Options are
    those of `ProjectionHead`.
    """

    def __init__(self, feature_dim: int, settings: Head) -> None:
        super().__init__()
        self.standardize = standardization(feature_dim, settings)
        self.dropout = nn.Dropout(settings.dropout)
        code_dim = settings.embedding_dim + settings.private_dim
        self.layers = projection(feature_dim, settings, dim_out=2 * code_dim)
        last = self.layers[-1]
        assert isinstance(last, nn.Linear)
        nn.init.constant_(last.bias[code_dim:], FIRST_LOG_SIGMA)

    def forward(
        self, features: Float[Tensor, "batch feature"], *, generator: torch.Generator | None = None
    ) -> Posterior:
        """Give the posteriors in float32; the sample is a draw while training and the mean otherwise."""
        rows = self.dropout(self.standardize(features))
        mean, raw_log_sigma = self.layers(rows).float().chunk(2, dim=-1)
        log_sigma = clamp_log_sigma(raw_log_sigma)
        if self.training:
            return draw(mean, log_sigma, generator=generator)
        return Posterior(mean, log_sigma, mean)
