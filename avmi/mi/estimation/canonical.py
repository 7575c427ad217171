"""Features of two sides → canonical pairs (Hotelling 1936) and the log density ratio that a Gaussian of them has."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

_LEAST_VARIANCE = 1e-8  # of the largest: directions below it are copies of others
_MOST_CORRELATION = 0.99999  # 5.4 nats a pair; beyond it the ratio of a Gaussian has no useful digits


@dataclass(frozen=True)
class CanonicalPairs:
    """Directions in which two sides are correlated, the most correlated first; each of variance 1."""

    mean_x: Float[Tensor, "x_dim"]
    mean_y: Float[Tensor, "y_dim"]
    of_x: Float[Tensor, "x_dim pairs"]
    of_y: Float[Tensor, "y_dim pairs"]
    correlations: Float[Tensor, "pairs"]

    @classmethod
    def fitted(cls, x: Float[Tensor, "rows x_dim"], y: Float[Tensor, "rows y_dim"]) -> "CanonicalPairs":
        """Fit on rows in float64, by the singular values of the whitened cross-covariance."""
        mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
        x, y = x - mean_x, y - mean_y
        white_x, white_y = _whitening(x), _whitening(y)
        left, correlations, right = torch.linalg.svd(
            (x @ white_x).T @ (y @ white_y) / len(x), full_matrices=False
        )
        return cls(
            mean_x, mean_y, white_x @ left, white_y @ right.T, correlations.clamp(max=_MOST_CORRELATION)
        )

    def variates_of_x(self, x: Float[Tensor, "rows x_dim"]) -> Float[Tensor, "rows pairs"]:
        """Give the canonical variates of x."""
        return (x - self.mean_x) @ self.of_x

    def variates_of_y(self, y: Float[Tensor, "rows y_dim"]) -> Float[Tensor, "rows pairs"]:
        """Give the canonical variates of y."""
        return (y - self.mean_y) @ self.of_y

    def log_ratios(
        self, x: Float[Tensor, "rows x_dim"], y: Float[Tensor, "columns y_dim"], *, rank: int
    ) -> Float[Tensor, "rows columns"]:
        """Give log p(y_j | x_i) / p(y_j) of the Gaussian that has the first `rank` pairs and no others.

        A pair that is only noise costs held-out nats: of p × q pairs without any, p·q/2n.
        """
        of_x, of_y = self.variates_of_x(x)[:, :rank], self.variates_of_y(y)[:, :rank]
        return gaussian_log_ratios(of_x, of_y, correlations=self.correlations[:rank])


def gaussian_log_ratios(
    of_x: Float[Tensor, "*groups rows pairs"],
    of_y: Float[Tensor, "*groups columns pairs"],
    *,
    correlations: Float[Tensor, "pairs"],
) -> Float[Tensor, "*groups rows columns"]:
    """Give log p(b_j | a_i) / p(b_j) of standard Gaussian variates a, b with these correlations, within each group."""
    left_over = 1 - correlations.square()
    squares = correlations.square() / (2 * left_over)
    cross = (of_x * (correlations / left_over)) @ of_y.transpose(-1, -2)
    own = (of_x.square() @ squares)[..., :, None] + (of_y.square() @ squares)[..., None, :]
    return cross - own - left_over.log().sum() / 2


def _whitening(rows: Float[Tensor, "rows dims"]) -> Float[Tensor, "dims kept"]:
    variances, directions = torch.linalg.eigh(rows.T @ rows / len(rows))
    kept = variances > _LEAST_VARIANCE * variances.max()
    whitening: Tensor = directions[:, kept] / variances[kept].sqrt()
    return whitening
