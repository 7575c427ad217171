"""A feature vector → a unit-length embedding."""

from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.parts import Head


class ProjectionHead(nn.Module):
    """MLP with ReLU between its layers, then division by the length."""

    def __init__(self, feature_dim: int, settings: Head) -> None:
        super().__init__()
        dims = [feature_dim, *settings.hidden_dims]
        layers: list[nn.Module] = []
        for dim_in, dim_out in pairwise(dims):
            layers += [nn.Linear(dim_in, dim_out), nn.ReLU(inplace=True)]
        layers.append(nn.Linear(dims[-1], settings.embedding_dim))
        self.layers = nn.Sequential(*layers)

    def forward(self, features: Float[Tensor, "batch feature"]) -> Float[Tensor, "batch dim"]:
        """Project and normalize; under autocast the length is still taken in float32."""
        return F.normalize(self.layers(features).float(), dim=-1)
