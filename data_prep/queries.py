"""A corpus's test split → query pictures as PNG files: frames of videos that training never saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avmi.corpus.manifest import Manifest, Video
from avmi.decode.choose import choose_decoder
from avmi.errors import DecodeError


@dataclass(frozen=True)
class QueryPicture:
    """A picture to search with, and where it comes from."""

    path: Path
    pixels: UInt8[np.ndarray, "height width 3"]
    label: str
    video: str


def write_queries(manifest: Manifest, folder: Path, *, most: int = 8) -> tuple[QueryPicture, ...]:
    """Write one picture of each label (or of as many videos when there are none), `most` at most.

    Pictures of an earlier call go. A video that cannot be read is passed over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    queries: list[QueryPicture] = []
    for videos in _candidates(manifest.split("test").videos, most=most):
        found = _first_picture(manifest, videos)
        if found is None:
            continue
        video, pixels = found
        path = folder / f"{len(queries) + 1:02}.png"
        Image.fromarray(pixels).save(path)
        queries.append(QueryPicture(path, pixels, video.label, video.path))
    kept = {query.path for query in queries}
    for old in set(folder.glob("[0-9][0-9].png")) - kept:
        old.unlink()
    return tuple(queries)


def _candidates(videos: Sequence[Video], *, most: int) -> list[list[Video]]:
    """Group by label, or each video by itself without labels; of more than `most`, spread over them."""
    by_label: dict[str, list[Video]] = {}
    for video in sorted(videos, key=lambda video: video.path):
        by_label.setdefault(video.label, []).append(video)
    groups = [group for label, group in sorted(by_label.items()) if label] or [
        [video] for video in by_label.get("", [])
    ]
    if len(groups) <= most:
        return groups
    return [groups[round(place * (len(groups) - 1) / (most - 1))] for place in range(most)]


def _first_picture(
    manifest: Manifest, videos: Sequence[Video]
) -> tuple[Video, UInt8[np.ndarray, "height width 3"]] | None:
    for video in videos:
        middle = (video.video_start_seconds + video.last_frame_seconds) / 2
        try:
            with choose_decoder("pyav", corpus=manifest.corpus).open(
                manifest.path_of(video), video=video
            ) as reader:
                return video, reader.frames([middle], short_side_px=None).pixels[0]
        except DecodeError:
            continue
    return None
