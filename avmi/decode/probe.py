"""A path → everything `prepare` wants to know of the file; runs in the child processes of `corpus.pool`.

The scan comes first and decides whether the video is usable; whether decord is exact for it is one more
fact, and nothing that decord does can make a video unusable.
"""

import base64
import dataclasses
import io
from pathlib import Path
from typing import Any

import av
from PIL import Image

from avmi.corpus.container import open_container
from avmi.corpus.scan import Scan, scan
from avmi.decode.exactness import VideoPackets, decord_exactness
from avmi.decode.pyav import upright_rgb
from avmi.errors import DecodeError

_THUMBNAIL_PX = 120  # short side
# decord decodes ahead into memory, in full size: about 130 pictures were seen to wait there.
_DECORD_LARGEST_PX = 1920 * 1088


def probe(path: Path) -> dict[str, Any]:
    """Scan a file and check decord on it; raises `DecodeError` as `scan` does."""
    found = scan(path)
    return {**dataclasses.asdict(found.facts), **_decord_facts(_decord_reason(path, found))}


def probe_without_decord(path: Path) -> dict[str, Any]:
    """Scan a file on which `probe` hung or crashed, in case that was decord."""
    return {**dataclasses.asdict(scan(path).facts), **_decord_facts("decord hangs or crashes on it")}


def _decord_facts(reason: str) -> dict[str, Any]:
    return {"decord_exact": not reason, "decord_reason": reason}


def _decord_reason(path: Path, found: Scan) -> str:
    facts = found.facts
    if facts.width_px * facts.height_px > _DECORD_LARGEST_PX:
        return "larger than 1080p: decord would decode ahead into gigabytes"
    packets = VideoPackets(
        container=facts.container,
        times_seconds=found.times_seconds,
        key_seconds=found.key_seconds,
        has_discarded=found.has_discarded,
        rotation_degrees=facts.rotation_degrees,
    )
    try:
        return decord_exactness(path, packets=packets)
    except DecodeError as error:
        return error.reason
    except Exception as error:
        return f"decord fails: {type(error).__name__}"


def thumbnail(path: Path) -> dict[str, Any]:
    """Draw a small picture from about the middle of a video, as base64 of a JPEG, for the audit page."""
    with open_container(path) as container:
        stream = container.streams.best("video")
        if stream is None or stream.time_base is None:
            raise DecodeError("no video stream", reason="no_video")
        stream.codec_context.thread_count = 1
        if container.duration:
            container.seek((container.start_time or 0) + container.duration // 2)
        try:
            frame: av.VideoFrame = next(container.decode(stream))
        except (StopIteration, av.FFmpegError) as error:
            raise DecodeError("no picture in the middle") from error
        picture = io.BytesIO()
        Image.fromarray(upright_rgb(frame, short_side_px=_THUMBNAIL_PX)).save(picture, "JPEG", quality=80)
        return {"jpeg": base64.b64encode(picture.getvalue()).decode()}
