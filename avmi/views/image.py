"""Pictures of a clip → one image view: a square uint8 tensor with the stack along its channels."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from einops import rearrange
from jaxtyping import UInt8
from torch import Tensor
from torchvision.transforms import v2

from avmi.config.parts import ImageInput
from avmi.config.views import Augmentation, FrameView

# Augmented views crop from a picture this much larger than they end up, so that a crop stays sharp.
AUGMENT_MARGIN = 1.25

Pictures = UInt8[Tensor, "frames 3 height width"]
Squares = UInt8[Tensor, "frames 3 size size"]


def decode_short_side_px(views: Sequence[FrameView], image: ImageInput) -> int:
    """Short side, in pixels, at which pictures are best decoded for these views."""
    augmented = any(view.augment != "none" for view in views)
    return round(image.size_px * AUGMENT_MARGIN) if augmented else image.size_px


def image_view(
    pixels: UInt8[np.ndarray, "frames height width 3"],
    view: FrameView,
    *,
    image: ImageInput,
    seed: int,
) -> UInt8[Tensor, "channels size size"]:
    """Fit and augment pictures, all of a stack alike, and stack them along the channels.

    `seed` decides the augmentation; without one ("none") it has no effect.
    """
    pictures = torch.from_numpy(np.require(pixels, requirements=["C", "W"])).permute(0, 3, 1, 2)
    if view.augment == "none":
        pictures = fitted(pictures, image)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pictures = augmentation(view.augment, image.size_px)(pictures)
    return rearrange(pictures, "frames channels height width -> (frames channels) height width")


def fitted(pictures: Pictures, image: ImageInput) -> Squares:
    """Bring pictures to the square that encoders take, by cropping the middle or by squashing."""
    size = image.size_px
    if image.fit == "squash":
        squashed: Tensor = v2.functional.resize(pictures, [size, size], antialias=True)
        return squashed
    # The crop comes first: a strip of 20 × 20,000 px would otherwise be scaled up whole.
    side = min(pictures.shape[-2:])
    square: Tensor = v2.functional.center_crop(pictures, [side, side])
    if side != size:
        square = v2.functional.resize(square, [size, size], antialias=True)
    return square


def augmentation(name: Augmentation, size_px: int) -> Callable[[Tensor], Tensor]:
    """Build a named augmentation; `strong` is the recipe of SimCLR as AVID uses it, without blur."""
    steps: list[Callable[[Tensor], Tensor]]
    match name:
        case "none":
            steps = [v2.Identity()]
        case "light":
            steps = [
                v2.RandomResizedCrop(size_px, scale=(0.6, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
            ]
        case "strong":
            steps = [
                v2.RandomResizedCrop(size_px, scale=(0.08, 1.0), antialias=True),
                v2.RandomHorizontalFlip(),
                v2.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2),
            ]
    augment: Callable[[Tensor], Tensor] = v2.Compose(steps)
    return augment
