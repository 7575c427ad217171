"""A decoded frame → an upright RGB picture of the size that was asked for."""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8


def scaled_size(width: int, height: int, *, short_side_px: int | None) -> tuple[int, int]:
    """Give the (width, height) with that short side and the old shape."""
    if short_side_px is None:
        return width, height
    scale = short_side_px / min(width, height)
    return round(width * scale), round(height * scale)


def upright_rgb(frame: VideoFrame, *, short_side_px: int | None) -> UInt8[np.ndarray, "height width 3"]:
    """Convert a decoded frame to RGB, scale it, and turn it as the file's display matrix says."""
    return rgb_of(frame, VideoReformatter(), short_side_px=short_side_px, rotation=frame.rotation)


def rgb_of(
    frame: VideoFrame, reformatter: VideoReformatter, *, short_side_px: int | None, rotation: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Do as `upright_rgb` with a reformatter that is kept for frames of one kind, and FFmpeg's turn in degrees."""
    width, height = scaled_size(frame.width, frame.height, short_side_px=short_side_px)
    shrinks = width < frame.width
    rgb = reformatter.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        interpolation="AREA" if shrinks else "BILINEAR",
        threads=1,
    ).to_ndarray()
    quarter_turns = round(rotation / 90) % 4  # counter-clockwise, as numpy turns
    return np.ascontiguousarray(np.rot90(rgb, quarter_turns)) if quarter_turns else rgb
