"""Feature vectors → Gaussian posteriors."""

import pytest
import torch

from avmi.config.parts import Head
from avmi.mi.posterior import clamp_log_sigma
from avmi.models.gaussian import FIRST_LOG_SIGMA, GaussianHead
from avmi.models.heads import ProjectionHead


@pytest.mark.parametrize("hidden_dims", [(), (9,), (9, 4)])
def test_mean_and_log_sigma_are_the_halves_of_an_mlp(hidden_dims: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    head = GaussianHead(5, Head(hidden_dims=hidden_dims, embedding_dim=3)).eval()
    x = torch.randn(7, 5)
    values, parameters = x, list(head.parameters())
    for layer in range(len(hidden_dims) + 1):
        values = values @ parameters[2 * layer].T + parameters[2 * layer + 1]
        if layer < len(hidden_dims):
            values = values.clamp(min=0)
    posterior = head(x)
    torch.testing.assert_close(posterior.mean, values[:, :3])
    torch.testing.assert_close(posterior.log_sigma, clamp_log_sigma(values[:, 3:]))


def test_the_options_and_the_names_of_weights_are_those_of_the_projection_head() -> None:
    settings = Head(hidden_dims=(9,), embedding_dim=3, standardize=True, dropout=0.2)
    gaussian, projection = GaussianHead(5, settings), ProjectionHead(5, settings)
    assert list(gaussian.state_dict()) == list(projection.state_dict())


def test_a_sample_is_a_draw_while_training_and_the_mean_afterwards() -> None:
    torch.manual_seed(4)
    head = GaussianHead(5, Head(hidden_dims=(), embedding_dim=3))
    x = torch.randn(1, 5).expand(20_000, 5)
    posterior = head(x)
    torch.testing.assert_close(posterior.sample.mean(dim=0), posterior.mean[0], atol=0.02, rtol=0)
    torch.testing.assert_close(posterior.sample.std(dim=0), posterior.log_sigma[0].exp(), atol=0.02, rtol=0)
    evaluated = head.eval()(x)
    assert torch.equal(evaluated.sample, evaluated.mean)


def test_a_generator_repeats_the_draw_and_gradients_reach_mean_and_sigma() -> None:
    head = GaussianHead(5, Head(hidden_dims=(9,), embedding_dim=3))
    x = torch.randn(7, 5)
    first, second = (head(x, generator=torch.Generator().manual_seed(8)) for _ in range(2))
    assert torch.equal(first.sample, second.sample)
    first.sample.square().sum().backward()
    weight = list(head.parameters())[-2].grad
    assert weight is not None
    assert bool((weight.abs().sum(dim=1) > 0).all())  # 3 rows of the mean, 3 of log σ


def test_an_untrained_head_starts_near_its_first_sigma() -> None:
    torch.manual_seed(1)
    head = GaussianHead(64, Head(hidden_dims=(32,), embedding_dim=16))
    assert abs(head(torch.randn(50, 64)).log_sigma.mean().item() - FIRST_LOG_SIGMA) < 0.15


def test_under_autocast_posteriors_are_float32() -> None:
    head = GaussianHead(64, Head(hidden_dims=(32,), embedding_dim=16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert {part.dtype for part in head(torch.randn(6, 64))} == {torch.float32}
