"""Embeddings of some of a batch's clips → all clips in order, views without a clip included."""

import torch
from torch import Tensor

from avmi.objective.joined import Joined, ViewRows, join

DIM = 3


def random(*shape: int, seed: int, **settings: torch.dtype) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(**settings)


def joined(views: dict[str, ViewRows], *, batch: int = 5, **facts: Tensor) -> Joined:
    return join(
        views,
        batch=batch,
        like=torch.zeros(1, DIM),
        videos=facts.get("videos"),
        seconds=facts.get("seconds"),
    )


def test_embeddings_stand_in_the_rows_of_their_clips_and_zeros_elsewhere() -> None:
    whole, part, rows = random(5, DIM, seed=0), random(3, 2, 4, DIM, seed=1), torch.tensor([4, 0, 2])
    found = joined(
        {
            "whole": ViewRows(whole, None, ()),
            "part": ViewRows(part, rows, (2, 4)),
            "gone": ViewRows(None, None, (3,)),
        }
    )
    assert torch.equal(found.embeddings["whole"], whole[:, None])
    assert found.embeddings["part"].shape == (5, 8, DIM)
    assert torch.equal(found.embeddings["part"][rows], part.flatten(1, 2))
    assert float(found.embeddings["part"][[1, 3]].abs().max()) == 0
    assert found.embeddings["gone"].shape == (5, 3, DIM)
    assert found.present["whole"].tolist() == [True] * 5
    assert found.present["part"].tolist() == [True, False, True, False, True]
    assert found.present["gone"].tolist() == [False] * 5
    assert (found.videos, found.seconds) == (None, None)


def test_facts_stay_with_their_clips_and_seconds_are_told_to_a_millisecond() -> None:
    videos, seconds = torch.tensor([7, 7, 2, 0, 2]), torch.tensor([0.1234, 50.0006, -2.5, 0.0, 3600.25])
    both = joined({"a": ViewRows(random(5, DIM, seed=0), None, ())}, videos=videos, seconds=seconds)
    assert both.videos is not None
    assert both.videos.tolist() == [7, 7, 2, 0, 2]
    assert both.seconds is not None
    torch.testing.assert_close(
        both.seconds, torch.tensor([0.123, 50.001, -2.5, 0.0, 3600.25]), atol=1e-6, rtol=0
    )
    alone = joined({"a": ViewRows(random(5, DIM, seed=0), None, ())}, seconds=seconds)
    assert alone.videos is None
    torch.testing.assert_close(alone.seconds, both.seconds)


def test_gradients_go_back_to_the_clips_that_there_are() -> None:
    part = random(2, 4, DIM, seed=0).requires_grad_()
    found = joined({"part": ViewRows(part, torch.tensor([3, 1]), (4,)), "gone": ViewRows(None, None, ())})
    weights = random(5, 4, DIM, seed=1)
    (found.embeddings["part"] * weights).sum().backward()
    assert torch.equal(part.grad, weights[[3, 1]])


def test_embeddings_of_lower_precision_are_joined_in_float32() -> None:
    half = random(5, DIM, seed=0, dtype=torch.bfloat16)
    found = joined(
        {"a": ViewRows(half, torch.arange(5), ()), "b": ViewRows(random(5, DIM, seed=1), None, ())}
    )
    assert found.embeddings["a"].dtype == torch.float32
    assert torch.equal(found.embeddings["a"][:, 0], half.float())


def test_moving_keeps_everything() -> None:
    videos, seconds = torch.tensor([1, 2]), torch.tensor([0.5, 1.5])
    one = joined({"a": ViewRows(random(2, DIM, seed=0), None, ())}, batch=2, videos=videos, seconds=seconds)
    other = one.to(torch.device("cpu"))
    assert torch.equal(other.embeddings["a"], one.embeddings["a"])
    assert torch.equal(other.present["a"], one.present["a"])
    assert other.videos is not None
    assert other.seconds is not None
    assert (other.videos.tolist(), other.seconds.tolist()) == ([1, 2], [0.5, 1.5])
