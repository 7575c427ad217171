"""Pixels and log-mel values → what the backbone sees, worked out by hand."""

import pytest
import torch
from torch import Tensor

from avmi.config.parts import Backbone
from avmi.config.views import AudioView, FrameView
from avmi.models.preprocessing import LogMelStatistics, channels_of, constants, encoder_input

PICTURES, VIDEO = Backbone(name="small_conv"), Backbone(name="s3d")
STATISTICS = LogMelStatistics(mean=-4.0, std=2.5)
# torchvision documents these for its weights: ImageNet's, and for video networks those of Kinetics-400.
IMAGENET = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
KINETICS = torch.tensor([0.43216, 0.394666, 0.37645]), torch.tensor([0.22803, 0.22145, 0.216989])


def stack(frames: int) -> Tensor:
    generator = torch.Generator().manual_seed(frames)
    return torch.randint(0, 256, (2, frames, 3, 4, 5), generator=generator, dtype=torch.uint8)


def seen(pixels: Tensor, view: FrameView, backbone: Backbone) -> Tensor:
    """What the encoder is given for pictures `batch frames 3 height width`, in the same order."""
    mean, std = constants(view, backbone, log_mel=STATISTICS)
    return encoder_input(pixels.flatten(1, 2), view, mean=mean, std=std).unflatten(1, (-1, 3))


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
@pytest.mark.parametrize(("backbone", "table"), [(PICTURES, IMAGENET), (VIDEO, KINETICS)])
def test_every_picture_of_a_stack_is_normalized_alike(frames: int, backbone, table) -> None:
    pixels = stack(frames)
    mean, std = (values[:, None, None] for values in table)
    wanted = (pixels / 255 - mean) / std
    torch.testing.assert_close(seen(pixels, FrameView(kind="frame", frames=frames), backbone), wanted)


@pytest.mark.parametrize(("frames", "middle"), [(2, 1), (3, 1), (4, 2), (5, 2)])
def test_differences_follow_the_middle_picture_in_grey_and_in_time_order(frames: int, middle: int) -> None:
    pixels = stack(frames)
    view = FrameView(kind="frame", frames=frames, motion="differences")
    mean, std = (values[:, None, None] for values in IMAGENET)
    flat = pixels.flatten(1, 2)
    found = encoder_input(
        flat, view, mean=mean.repeat(frames, 1, 1)[None], std=std.repeat(frames, 1, 1)[None]
    )
    assert found.shape[1] == channels_of(view) == 3 + frames - 1
    torch.testing.assert_close(found[:, :3], (pixels[:, middle] / 255 - mean) / std)
    grey = torch.einsum("nfchw,c->nfhw", pixels.double(), torch.tensor([0.299, 0.587, 0.114]).double())
    for change in range(frames - 1):
        wanted = ((grey[:, change + 1] - grey[:, change]) / 25.5).float()
        torch.testing.assert_close(found[:, 3 + change], wanted, atol=1e-5, rtol=1e-4)


def test_a_scene_at_rest_has_no_differences() -> None:
    still = stack(1).expand(-1, 5, -1, -1, -1)
    view = FrameView(kind="frame", frames=5, motion="differences")
    found = encoder_input(
        still.flatten(1, 2), view, mean=torch.zeros(1, 15, 1, 1), std=torch.ones(1, 15, 1, 1)
    )
    assert found[:, 3:].abs().max() == 0
    assert found[:, :3].abs().max() > 0


def test_a_still_has_nothing_to_differ_from() -> None:
    pixels = stack(1)
    plain, differences = FrameView(kind="frame"), FrameView(kind="frame", motion="differences")
    assert torch.equal(seen(pixels, differences, PICTURES), seen(pixels, plain, PICTURES))


def test_sounds_are_brought_to_zero_mean_and_unit_spread_of_the_corpus() -> None:
    view = AudioView(kind="audio")
    mean, std = constants(view, PICTURES, log_mel=STATISTICS)
    levels = torch.tensor([-9.0, -4.0, 1.0]).view(3, 1, 1, 1).expand(-1, 1, 16, 7)
    torch.testing.assert_close(encoder_input(levels, view, mean=mean, std=std), (levels + 4.0) / 2.5)


@pytest.mark.parametrize("x", [stack(2).flatten(1, 2), stack(2).flatten(1, 2) / 200])
def test_what_is_given_stays_as_it_was(x: Tensor) -> None:
    before, view = x.clone(), FrameView(kind="frame", frames=2)
    mean, std = constants(view, PICTURES, log_mel=STATISTICS)
    found = encoder_input(x, view, mean=mean, std=std)
    assert torch.equal(x, before)
    assert torch.equal(found, (before.float() / (255.0 if x.dtype == torch.uint8 else 1.0) - mean) / std)
