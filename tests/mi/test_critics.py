"""Critics: the whole matrix at once equals one pair at a time."""

import pytest
import torch
from torch import Tensor

from avmi.mi.bounds import info_nce
from avmi.mi.critics import BilinearCritic, ConcatenatedCritic, Critic, SeparableCritic

X_DIM, Y_DIM = 3, 5


def critics() -> dict[str, Critic]:
    torch.manual_seed(0)
    bilinear = BilinearCritic(X_DIM, Y_DIM)
    torch.nn.init.normal_(bilinear.weight)
    return {
        "separable": SeparableCritic(X_DIM, Y_DIM, hidden_dims=(16, 8), embedding_dim=4),
        "bilinear": bilinear,
        "concatenated": ConcatenatedCritic(X_DIM, Y_DIM, hidden_dims=(16, 8)),
    }


def samples(rows: int, columns: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, X_DIM, generator=generator), torch.randn(columns, Y_DIM, generator=generator)


@pytest.mark.parametrize("name", ["separable", "bilinear", "concatenated"])
def test_the_matrix_holds_the_score_of_every_pair_alone(name: str) -> None:
    critic = critics()[name]
    x, y = samples(4, 6)
    scores = critic(x, y)
    assert scores.shape == (4, 6)
    for i in range(4):
        for j in range(6):
            assert scores[i, j].item() == pytest.approx(critic(x[i : i + 1], y[j : j + 1]).item(), abs=1e-5)


def test_the_concatenated_critic_is_one_network_on_both_samples_side_by_side() -> None:
    critic = critics()["concatenated"]
    assert isinstance(critic, ConcatenatedCritic)
    x, y = samples(2, 3)
    both = torch.cat([x[1], y[2]])
    weight = torch.cat([critic.of_x.weight, critic.of_y.weight], dim=1)
    expected = critic.rest(weight @ both + critic.of_x.bias)
    assert critic(x, y)[1, 2].item() == pytest.approx(expected.item(), abs=1e-6)


def test_a_bilinear_critic_begins_where_nothing_is_known() -> None:
    x, y = samples(6, 6)
    assert info_nce(BilinearCritic(X_DIM, Y_DIM)(x, y)).value_nats.item() == pytest.approx(0.0, abs=1e-6)


def test_a_concatenated_critic_without_a_hidden_layer_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one width"):
        ConcatenatedCritic(X_DIM, Y_DIM, hidden_dims=())
