"""Feature vectors → unit-length embeddings, against numpy."""

import numpy as np
import pytest
import torch

from avmi.config.parts import Head
from avmi.models.heads import ProjectionHead


@pytest.mark.parametrize("hidden_dims", [(), (9,), (9, 4)])
def test_the_head_is_an_mlp_with_relu_and_a_division_by_the_length(hidden_dims: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    head = ProjectionHead(5, Head(hidden_dims=hidden_dims, embedding_dim=3))
    x = torch.randn(7, 5)

    values = x.numpy().astype(np.float64)
    parameters = [p.detach().numpy().astype(np.float64) for p in head.parameters()]
    assert len(parameters) == 2 * (len(hidden_dims) + 1)
    for layer in range(len(hidden_dims) + 1):
        values = values @ parameters[2 * layer].T + parameters[2 * layer + 1]
        if layer < len(hidden_dims):
            values = np.maximum(values, 0)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    np.testing.assert_allclose(head(x).detach().numpy(), values, atol=1e-6)


def test_under_autocast_embeddings_are_float32_of_unit_length() -> None:
    head = ProjectionHead(64, Head(hidden_dims=(32,), embedding_dim=16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        embeddings = head(torch.randn(6, 64))
    assert embeddings.dtype == torch.float32
    torch.testing.assert_close(embeddings.norm(dim=1), torch.ones(6), atol=1e-6, rtol=0)
