"""Decoded pictures of full size → pictures with the short side that was asked for."""

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avmi.decode.rgb import scaled_size


def scale_pixels(
    pixels: UInt8[np.ndarray, "frames height width 3"], *, short_side_px: int | None
) -> UInt8[np.ndarray, "frames new_height new_width 3"]:
    """Scale pictures down by averaging areas, as the default backend does, or up linearly."""
    height, width = pixels.shape[1:3]
    size = scaled_size(width, height, short_side_px=short_side_px)
    if size == (width, height):
        return np.asarray(pixels, dtype=np.uint8)
    way = Image.Resampling.BOX if size[0] < width else Image.Resampling.BILINEAR
    return np.stack([np.asarray(Image.fromarray(picture).resize(size, way)) for picture in pixels])
