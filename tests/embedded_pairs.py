"""Embeddings of two views, temperatures and rules of negatives that the tests of sums and bounds share."""

import torch
from torch import Tensor

from avmi.mi.negatives import NegativeRule

CLIPS, DIM = 37, 5
RULES = ("other videos", "clips missing", "same video")


def rule_of(name: str, clips: int = CLIPS) -> NegativeRule:
    generator = torch.Generator().manual_seed(4)
    present = torch.ones(clips, dtype=torch.bool)
    videos = torch.arange(clips) // 3
    match name:
        case "other videos":
            return NegativeRule(present, videos)
        case "clips missing":
            return NegativeRule(torch.rand(clips, generator=generator) < 0.7, videos)
        case _:
            return NegativeRule(present, videos, 10 * torch.rand(clips, generator=generator), 2.0)


def unit(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=-1).to(dtype).requires_grad_()


def tensors(
    temperature: float, *, places: tuple[int, int] = (1, 1), dtype: torch.dtype = torch.float64
) -> list[Tensor]:
    first, second = (
        unit(CLIPS, places[0], DIM, seed=1, dtype=dtype),
        unit(CLIPS, places[1], DIM, seed=2, dtype=dtype),
    )
    return [first, second, torch.tensor(temperature, dtype=dtype, requires_grad=True)]
