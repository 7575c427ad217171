"""Samples of two views → score matrix F[i, j] = f(x_i, y_j): separable, bilinear and concatenated critics."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn


@runtime_checkable
class Critic(Protocol):
    """What scores every x against every y."""

    def __call__(
        self, x: Float[Tensor, "rows x_dim"], y: Float[Tensor, "columns y_dim"]
    ) -> Float[Tensor, "rows columns"]:
        """Give F[i, j] = f(x_i, y_j)."""
        ...


class SeparableCritic(nn.Module):
    """Inner product of two networks: f(x, y) = ⟨g(x), h(y)⟩ (van den Oord et al. 2018; Poole et al. 2019, section 3).

    A row or a column costs one pass of a network, whatever the number of scores.
    """

    def __init__(self, x_dim: int, y_dim: int, *, hidden_dims: Sequence[int], embedding_dim: int) -> None:
        super().__init__()
        self.of_x = mlp([x_dim, *hidden_dims, embedding_dim])
        self.of_y = mlp([y_dim, *hidden_dims, embedding_dim])

    def forward(
        self, x: Float[Tensor, "rows x_dim"], y: Float[Tensor, "columns y_dim"]
    ) -> Float[Tensor, "rows columns"]:
        """Score all pairs by one matrix product."""
        scores: Tensor = self.of_x(x) @ self.of_y(y).T
        return scores


class BilinearCritic(nn.Module):
    """f(x, y) = xᵀ W y + c, W of any rank (the critic of CPC, van den Oord et al. 2018, eq. 3).

    It begins at 0 everywhere, so that every bound begins where nothing is known.
    """

    def __init__(self, x_dim: int, y_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(x_dim, y_dim))
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(
        self, x: Float[Tensor, "rows x_dim"], y: Float[Tensor, "columns y_dim"]
    ) -> Float[Tensor, "rows columns"]:
        """Score all pairs by two matrix products."""
        return x @ self.weight @ y.T + self.offset


class ConcatenatedCritic(nn.Module):
    """One network of both samples, f(x, y) = g([x, y]): the most general critic, and rows × columns passes.

    The first layer is linear in [x, y], so that it is computed once for each row and once for each column and
    added: W [x, y] = W_x x + W_y y.
    """

    def __init__(self, x_dim: int, y_dim: int, *, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        if not hidden_dims:
            raise ValueError(
                "hidden_dims is empty: a linear critic cannot tell pairs; name at least one width"
            )
        first = hidden_dims[0]
        self.of_x = nn.Linear(x_dim, first)
        self.of_y = nn.Linear(y_dim, first, bias=False)
        self.rest = nn.Sequential(nn.ReLU(), mlp([*hidden_dims, 1]))

    def forward(
        self, x: Float[Tensor, "rows x_dim"], y: Float[Tensor, "columns y_dim"]
    ) -> Float[Tensor, "rows columns"]:
        """Score all pairs; the memory is rows × columns × the widest layer."""
        first = self.of_x(x)[:, None, :] + self.of_y(y)[None, :, :]
        scores: Tensor = self.rest(first).squeeze(-1)
        return scores


def mlp(dims: Sequence[int]) -> nn.Sequential:
    """Build linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for dim_in, dim_out in pairwise(dims):
        layers += [nn.Linear(dim_in, dim_out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
