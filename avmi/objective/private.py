"""Codes with a shared and a private part → what the private parts hold, and what they hold of other views.

A code is z = [shared | private]. Pairs see the shared part only. The private part is kept full by a lower bound on
I(x; private), InfoNCE with the known density of the code, and apart from each other view by an estimate of I(private;
other code): vCLUB (Cheng et al. 2020, arXiv 2006.12013), an upper bound only if the learned density is the true one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from avmi.config.bottleneck import Private as PrivateSettings
from avmi.mi.conditional import club
from avmi.mi.critics import mlp
from avmi.mi.posterior import Posterior, clamp_log_sigma, log_densities, log_posterior, posterior_nce
from avmi.objective.codes import Codes, of_both


@dataclass(frozen=True)
class PrivateTerms:
    """Nats, all with gradient: what is maximized, with its ceiling, and what is minimized."""

    lower: dict[str, Tensor]  # I(x; private) of each view
    lower_ceiling: dict[str, Tensor]
    apart: dict[str, Tensor]  # I(private of the first; code of the second), by first~second

    def loss(self, *, informative: float, apart: float, like: Tensor) -> Float[Tensor, ""]:
        """Sum what is missing to the ceilings, and what the private parts hold of other views."""
        missing = [self.lower_ceiling[name] - value for name, value in self.lower.items()]
        total = [informative * value for value in missing] + [apart * value for value in self.apart.values()]
        return torch.stack(total).sum() if total else like.new_zeros(())


class Density(nn.Module):
    """Learned Gaussian q(private | code): an MLP of one hidden layer to mean and log σ."""

    def __init__(self, code_dim: int, private_dim: int, *, hidden: int) -> None:
        super().__init__()
        self.layers = mlp([code_dim, hidden, 2 * private_dim])

    def forward(
        self, private: Float[Tensor, "rows private"], code: Float[Tensor, "columns code"]
    ) -> Float[Tensor, "rows columns"]:
        """Give [i, j] = log q(private_i | code_j)."""
        return log_densities(private, *self._gaussian(code))

    def log_likelihood(
        self, private: Float[Tensor, "rows private"], code: Float[Tensor, "rows code"]
    ) -> Float[Tensor, ""]:
        """Give the mean of log q(private_i | code_i)."""
        return log_posterior(Posterior(*self._gaussian(code), private)).mean()

    def _gaussian(self, code: Float[Tensor, "rows code"]) -> tuple[Tensor, Tensor]:
        mean, log_sigma = self.layers(code).chunk(2, dim=1)
        return mean, clamp_log_sigma(log_sigma)


class PrivateParts(nn.Module):
    """The terms of private parts, and the densities that they need, one for each way of each pair.

    The densities are frozen for the loss and for the encoders' optimizer: `fit` trains them by an optimizer of their
    own, on codes without gradient.
    """

    def __init__(
        self,
        settings: PrivateSettings,
        *,
        pairs: Iterable[tuple[str, str]],
        shared_dim: int,
        private_dim: int,
    ) -> None:
        super().__init__()
        self.settings, self.shared_dim = settings, shared_dim
        self.ways = tuple(way for first, second in pairs for way in ((first, second), (second, first)))
        self.densities = nn.ModuleDict(
            {
                f"{first}~{second}": Density(
                    shared_dim + private_dim, private_dim, hidden=settings.density_hidden
                )
                for first, second in self.ways
            }
        )
        self.densities.requires_grad_(False)

    def forward(self, codes: Mapping[str, Codes]) -> PrivateTerms:
        """Bound what the private parts hold; views and ways without clips of two videos are left out."""
        bounds = {
            name: posterior_nce(its.part(self.shared_dim, its.posterior.mean.shape[1]), negatives=its.others)
            for name, its in codes.items()
            if bool(its.others.any())
        }
        apart = {}
        for name, private, code, others in self._ways(codes):
            densities = self._density(name)(private, code.detach())
            apart[name] = club(densities.T, conditional="learned", negatives=others).value_nats
        return PrivateTerms(
            {name: bound.value_nats for name, bound in bounds.items()},
            {name: bound.ceiling_nats for name, bound in bounds.items()},
            apart,
        )

    def fit(self, codes: Mapping[str, Codes], optimizer: torch.optim.Optimizer) -> None:
        """Take `density_steps` steps of maximum likelihood on codes of a batch, alike in every process."""
        parameters = list(self.densities.parameters())
        self.densities.requires_grad_(True)
        for _ in range(self.settings.density_steps):
            likelihoods = [
                self._density(name).log_likelihood(private.detach(), code.detach())
                for name, private, code, _ in self._ways(codes)
            ]
            if not likelihoods:
                break
            gradients = torch.autograd.grad(-torch.stack(likelihoods).sum(), parameters, allow_unused=True)
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.densities.requires_grad_(False)

    def optimizer(self) -> torch.optim.Optimizer:
        """Build the optimizer of the densities."""
        return torch.optim.Adam(self.densities.parameters(), lr=self.settings.density_learning_rate)

    def _density(self, way: str) -> Density:
        density = self.densities[way]
        assert isinstance(density, Density)
        return density

    def _ways(self, codes: Mapping[str, Codes]) -> Iterable[tuple[str, Tensor, Tensor, Tensor]]:
        """Give each way's name, private samples, other view's whole samples, and which clips are of other videos."""
        for first, second in self.ways:
            one, other = of_both(codes[first], codes[second])
            if bool(one.others.any()):
                private = one.posterior.sample[:, self.shared_dim :]
                yield f"{first}~{second}", private, other.posterior.sample, one.others
