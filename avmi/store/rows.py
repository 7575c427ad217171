"""A video's row in the corpus that was packed, and its place in a shard → its row in the manifest of the shards."""

import dataclasses

from avmi.corpus.manifest import Video
from avmi.store.index import CODECS, ShardIndex
from avmi.store.packing import Packing

CONTAINER = "tar"
_PICTURE_CODEC = "mjpeg"
_SOUND_CODECS = {"": "", "pcm": "pcm_s16le", "flac": "flac"}


def packed_row(video: Video, index: ShardIndex, *, key: str, shard: str, packing: Packing) -> Video:
    """Say what is stored of a video. Its clock, extents, identity, label and split stay those of the original."""
    row = index.find(key)
    assert row is not None
    has_pictures = bool(row["frames"])
    last = index.frames[int(row["first_frame"]) + int(row["frames"]) - 1]["seconds"] if has_pictures else 0.0
    rate = min(packing.frames_per_second, video.frame_rate) if has_pictures else video.frame_rate
    return dataclasses.replace(
        video,
        path=f"{shard}/{key}",
        last_frame_seconds=float(last),
        frame_rate=rate,
        width_px=int(row["width_px"]),
        height_px=int(row["height_px"]),
        rotation_degrees=0,
        container=CONTAINER,
        video_codec=_PICTURE_CODEC if has_pictures else "",
        audio_codec=_SOUND_CODECS[CODECS[row["codec"]]],
        sample_rate_hz=int(row["sound_rate_hz"]),
        channels=1 if row["codec"] else 0,
        decord_exact=False,
        decord_reason="packed: read from its shard",
        size_bytes=int(row["size"]),
    )
