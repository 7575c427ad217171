"""A picture file (or array, or Pillow image) of a user → upright RGB pixels."""

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from avmi.errors import InputError

Picture = str | Path | Image.Image | np.ndarray


def read_picture(picture: Picture) -> UInt8[np.ndarray, "height width 3"]:
    """Read a picture as upright RGB: EXIF rotation applied, transparency on black, first of several.

    An array must be `height width 3` of uint8. Raises `InputError` for what is no picture, is
    damaged, or is larger than Pillow's limit against decompression bombs.
    """
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
            raise InputError(
                f"a picture array must be uint8 of shape (height, width, 3), got {picture.dtype} {picture.shape}"
            )
        return picture
    if isinstance(picture, Image.Image):
        try:
            return _upright_rgb(picture)  # Pillow may not have read its file yet
        except (OSError, SyntaxError, ValueError) as error:
            raise InputError(f"the Pillow image is a damaged picture ({error})") from error
    path = Path(picture)
    if not path.is_file():
        raise InputError(f"{path}: no such picture file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _upright_rgb(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise InputError(
            f"{path} claims more than {Image.MAX_IMAGE_PIXELS} pixels: make it smaller"
        ) from error
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture: give a JPEG, PNG, WebP or similar file") from error
    except PermissionError as error:
        raise InputError(f"{path} must not be read by this user: change its permissions") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} is a damaged picture ({error})") from error


def _upright_rgb(image: Image.Image) -> UInt8[np.ndarray, "height width 3"]:
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith(("I", "F")):  # 16 or 32 bits: bring the range that is used to 8 bits
        values = np.asarray(upright, dtype=np.float64)
        top = 65535.0 if upright.mode.startswith("I") else max(1e-12, float(values.max()))
        grey = np.clip(values / top * 255.0, 0, 255).astype(np.uint8)
        upright = Image.fromarray(grey)
    if upright.mode in ("RGBA", "LA", "PA", "P"):
        upright = Image.alpha_composite(
            Image.new("RGBA", upright.size, (0, 0, 0, 255)), upright.convert("RGBA")
        )
    return np.array(upright.convert("RGB"), dtype=np.uint8)
