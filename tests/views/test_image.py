"""Pictures → square views, against slicing and Pillow."""

import numpy as np
import pytest
import torch
from PIL import Image

from avmi.config.parts import ImageInput
from avmi.config.views import FrameView
from avmi.views.image import decode_short_side_px, fitted, image_view

STILL = FrameView(kind="frame")
CROP, SQUASH = ImageInput(size_px=48, fit="crop"), ImageInput(size_px=48, fit="squash")


def smooth(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Draw a picture of soft blobs: what resizers disagree about is noise."""
    small = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def view_of(picture: np.ndarray, image: ImageInput) -> np.ndarray:
    """Make a still and give it back as height, width, channels."""
    made = image_view(picture[None], STILL, image=image, seed=0)
    assert made.dtype == torch.uint8
    return made.permute(1, 2, 0).numpy()


def assert_close(found: np.ndarray, wanted: np.ndarray) -> None:
    difference = np.abs(found.astype(int) - np.asarray(wanted).astype(int))
    assert difference.max() <= 2
    assert difference.mean() < 0.5


@pytest.mark.parametrize(("height", "width"), [(48, 90), (90, 48), (48, 48)])
def test_a_picture_with_the_right_short_side_is_only_cropped(height: int, width: int) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    top, left = (height - 48) // 2, (width - 48) // 2
    np.testing.assert_array_equal(view_of(picture, CROP), picture[top : top + 48, left : left + 48])


@pytest.mark.parametrize(("height", "width"), [(96, 160), (130, 80), (33, 29)])
def test_cropping_scales_the_middle_square_as_pillow_does(height: int, width: int) -> None:
    picture, side = smooth(height, width), min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(picture[top : top + side, left : left + side])
    assert_close(view_of(picture, CROP), square.resize((48, 48), Image.Resampling.BILINEAR))


@pytest.mark.parametrize(("height", "width"), [(120, 64), (37, 90)])
def test_squashing_scales_the_whole_picture_as_pillow_does(height: int, width: int) -> None:
    picture = smooth(height, width)
    wanted = Image.fromarray(picture).resize((48, 48), Image.Resampling.BILINEAR)
    assert_close(view_of(picture, SQUASH), wanted)


@pytest.mark.parametrize("height", [20, 200])
def test_nothing_outside_the_crop_gets_into_it(height: int) -> None:
    picture = smooth(height, 600)
    other = picture.copy()
    other[:, : 300 - height // 2], other[:, 300 + height // 2 :] = 255, 0
    np.testing.assert_array_equal(view_of(picture, CROP), view_of(other, CROP))


@pytest.mark.filterwarnings("error")
def test_pictures_may_be_read_only_or_turned_round() -> None:
    picture = smooth(48, 60).copy()
    picture.setflags(write=False)
    np.testing.assert_array_equal(view_of(picture[:, ::-1], CROP), view_of(picture, CROP)[:, ::-1])


def test_a_stack_lies_along_the_channels_in_its_order() -> None:
    pictures = np.stack([smooth(60, 80, seed=seed) for seed in range(3)])
    view = FrameView(kind="frame", frames=3)
    made = image_view(pictures, view, image=CROP, seed=0)
    assert made.shape == (9, 48, 48)
    for number, picture in enumerate(pictures):
        alone = image_view(picture[None], STILL, image=CROP, seed=0)
        assert torch.equal(made[3 * number : 3 * number + 3], alone)


@pytest.mark.parametrize("augment", ["light", "strong"])
def test_augmentation_is_a_function_of_the_seed(augment: str) -> None:
    view = FrameView(kind="frame", augment=augment)
    made = [image_view(smooth(70, 90)[None], view, image=CROP, seed=seed) for seed in (4, 4, 5, 2**61)]
    assert made[0].shape == (3, 48, 48)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[3])


@pytest.mark.parametrize("augment", ["light", "strong"])
def test_all_pictures_of_a_stack_are_augmented_alike(augment: str) -> None:
    view = FrameView(kind="frame", frames=3, augment=augment)
    made = image_view(np.stack([smooth(70, 90)] * 3), view, image=CROP, seed=9)
    assert torch.equal(made[:3], made[3:6])
    assert torch.equal(made[:3], made[6:])


def test_augmentation_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    image_view(smooth(70, 90)[None], FrameView(kind="frame", augment="strong"), image=CROP, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_about_half_of_the_augmented_pictures_are_flipped() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 96).astype(np.uint8)[None, :, None], (64, 96, 3))
    view = FrameView(kind="frame", augment="light")
    flipped = 0
    for seed in range(40):
        made = image_view(ramp[None], view, image=CROP, seed=seed).float()
        flipped += bool(made[:, :, 0].mean() > made[:, :, -1].mean())
    assert 8 <= flipped <= 32  # outside with a probability below 1e-4


def test_only_strong_augmentation_changes_colours() -> None:
    grey = np.full((1, 64, 80, 3), (180, 60, 90), np.uint8)
    for seed in range(3):
        light = image_view(grey, FrameView(kind="frame", augment="light"), image=CROP, seed=seed)
        assert (light == torch.tensor([180, 60, 90], dtype=torch.uint8)[:, None, None]).all()
        strong = image_view(grey, FrameView(kind="frame", augment="strong"), image=CROP, seed=seed)
        assert (strong[:, 0, 0].int() - torch.tensor([180, 60, 90])).abs().max() > 5


def test_strong_crops_are_smaller_than_light_ones() -> None:
    # Eight stripes over the width: the edges that are left say how wide the crop was, whatever its colours.
    stripes = np.broadcast_to((np.arange(256) // 16 % 2 * 255).astype(np.uint8)[None, :, None], (256, 256, 3))

    def edges(augment: str) -> list[int]:
        view, counts = FrameView(kind="frame", augment=augment), []
        for seed in range(30):
            row = image_view(stripes[None], view, image=CROP, seed=seed).float().mean(dim=(0, 1))
            bright = row > (row.max() + row.min()) / 2
            counts.append(int((bright[1:] != bright[:-1]).sum()))
        return counts

    # Light keeps 0.6 of the area at an aspect ratio of 4:3 at most: √(0.6 · 3/4) = 0.67 of 16 edges.
    assert min(edges("light")) >= 9
    # Strong keeps 0.08 of it at least: √0.08 = 0.28 for a square.
    assert min(edges("strong")) <= 6


def test_pictures_are_decoded_larger_when_crops_are_taken_from_them() -> None:
    plain, augmented = STILL, FrameView(kind="frame", augment="light")
    assert decode_short_side_px([plain], CROP) == 48
    assert decode_short_side_px([plain, augmented], CROP) == 60
    assert decode_short_side_px([], CROP) == 48


def test_fitting_a_batch_is_fitting_each() -> None:
    pictures = torch.from_numpy(np.stack([smooth(50, 70, seed=seed) for seed in range(2)]))
    batch = pictures.permute(0, 3, 1, 2)
    assert torch.equal(fitted(batch, CROP)[1:], fitted(batch[1:], CROP))
