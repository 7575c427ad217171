"""Settings of a head → the layers that every head has, whatever it makes of their output."""

from itertools import pairwise

from torch import nn

from avmi.config.parts import Head


def standardization(feature_dim: int, settings: Head) -> nn.Module:
    """Normalize each value of the feature over the batch, without scale and shift, where the settings ask for it."""
    return nn.BatchNorm1d(feature_dim, affine=False) if settings.standardize else nn.Identity()


def projection(feature_dim: int, settings: Head, *, dim_out: int) -> nn.Sequential:
    """Build the MLP with ReLU between its layers."""
    dims = [feature_dim, *settings.hidden_dims]
    layers: list[nn.Module] = []
    for dim_in, dim in pairwise(dims):
        layers += [nn.Linear(dim_in, dim), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.Linear(dims[-1], dim_out))
