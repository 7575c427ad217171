"""Number of dimensions of a code → marginal r(z), as it stands: fixed, or learned beside the encoder."""

import torch
from torch import nn

from avmi.mi.posterior import Marginal, clamp_log_sigma

# Spread of the first means: apart enough that components take different codes, near enough that each is reached.
FIRST_SPREAD = 0.5


class StandardNormal(nn.Module):
    """Mean 0 and deviation 1 in every coordinate; nothing to learn."""

    mean: torch.Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(1, dim), persistent=False)

    def forward(self) -> Marginal:
        """Give the marginal."""
        return Marginal(self.mean[:, 0], self.mean, self.mean)


class GaussianMixture(nn.Module):
    """Mixture of Gaussians whose weights, means and deviations are learned by minimizing the upper bound.

    Starts as components of deviation 1 around means drawn near 0; `generator` draws them.
    """

    def __init__(self, dim: int, *, components: int, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(FIRST_SPREAD * torch.randn(components, dim, generator=generator))
        self.raw_log_sigma = nn.Parameter(torch.zeros(components, dim))

    def forward(self) -> Marginal:
        """Give the marginal with the parameters of now, in float32."""
        return Marginal(
            self.logits.float().log_softmax(dim=0), self.mean.float(), clamp_log_sigma(self.raw_log_sigma)
        )
