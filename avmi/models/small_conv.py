"""Pictures or spectrograms → features, for machines of a few CPU cores: four convolutions and a pooling."""

import math
from collections.abc import Collection
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from avmi.models.taps import Tapped, run_steps

Normalization = Literal["group", "batch"]


class ConvStage(nn.Sequential):
    """Convolution, normalization, ReLU.

    Group normalization (Wu & He 2018) looks at one clip at a time: several processes then give what
    one process gives on the joined batch, and no statistics leak between clips. Eight groups, or as
    many as divide the channels.
    """

    def __init__(
        self, channels_in: int, channels: int, *, kernel: int, stride: int, normalization: Normalization
    ) -> None:
        norm: nn.Module
        match normalization:
            case "group":
                norm = nn.GroupNorm(math.gcd(8, channels), channels)
            case "batch":
                norm = nn.BatchNorm2d(channels)
        super().__init__(
            nn.Conv2d(channels_in, channels, kernel, stride=stride, padding=kernel // 2, bias=False),
            norm,
            nn.ReLU(inplace=True),
        )


class MeanMax(nn.Module):
    """Mean and maximum over all places: what is there on the whole, and whatever is there at all."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.feature_dim = 2 * channels

    def forward(self, maps: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch feature"]:
        """Pool a batch of maps."""
        return torch.cat([maps.mean(dim=(2, 3)), maps.amax(dim=(2, 3))], dim=1)


class Places(nn.Module):
    """A coarse grid of the map, flattened: what is there, and where and when.

    A map with fewer places than the grid repeats them, so that the feature has one length for views of any
    size.
    """

    def __init__(self, channels: int, *, grid: tuple[int, int]) -> None:
        super().__init__()
        self.grid = grid
        self.feature_dim = channels * grid[0] * grid[1]

    def forward(self, maps: Float[Tensor, "batch channels rows columns"]) -> Float[Tensor, "batch feature"]:
        """Flatten a batch of maps, channel by channel."""
        return F.adaptive_avg_pool2d(maps, self.grid).flatten(1)


class SmallConv(nn.Module):
    """Four convolution stages and a pooling: of 8 · width channels and `MeanMax` unless others are given."""

    def __init__(
        self,
        channels_in: int,
        *,
        width: int,
        channels: int | None = None,
        grid: tuple[int, int] | None = None,
        normalization: Normalization = "group",
        checkpoints: bool = False,
    ) -> None:
        super().__init__()
        self.checkpoints = checkpoints
        last = 8 * width if channels is None else channels
        kind = normalization
        self.stage1 = ConvStage(channels_in, width, kernel=5, stride=4, normalization=kind)
        self.stage2 = ConvStage(width, 2 * width, kernel=3, stride=2, normalization=kind)
        self.stage3 = ConvStage(2 * width, 4 * width, kernel=3, stride=2, normalization=kind)
        self.stage4 = ConvStage(4 * width, last, kernel=3, stride=1, normalization=kind)
        self.pooling = MeanMax(last) if grid is None else Places(last, grid=grid)
        # Convolutions on CPUs and tensor cores are faster with the channels innermost.
        self.to(memory_format=torch.channels_last)

    @property
    def feature_dim(self) -> int:
        """Length of the feature."""
        return self.pooling.feature_dim

    def tap(self, x: Float[Tensor, "batch channels height width"], layers: Collection[str]) -> Tapped:
        """Embed a batch and keep the maps of the named layers; any height and width from 16 up."""
        x = x.contiguous(memory_format=torch.channels_last)
        stages = [(name, getattr(self, name)) for name in ("stage1", "stage2", "stage3", "stage4")]
        last, maps = run_steps(stages, x, layers, checkpoints=self.checkpoints)
        return Tapped(self.pooling(last), maps)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch feature"]:
        """Embed a batch."""
        return self.tap(x, ()).feature
