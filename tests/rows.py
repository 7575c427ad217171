"""The few facts that a test cares about → whole rows of a manifest, entries and outcomes of probing."""

import dataclasses
import hashlib
from typing import Any

from avmi.corpus.manifest import Video
from avmi.corpus.pool import Outcome
from avmi.corpus.source import Entry
from avmi.types import Split


def content(name: str) -> str:
    """Give the content hash that a file of this name would have."""
    return hashlib.blake2b(name.encode(), digest_size=32).hexdigest()


def video_row(path: str = "a.mp4", **changes: Any) -> Video:
    """Make a row of a sound video of 4 s; `changes` are fields of `Video`."""
    fields: dict[str, Any] = {
        "path": path,
        "video_id": content(path)[:16],
        "label": "",
        "split": "train",
        "video_start_seconds": 0.0,
        "video_end_seconds": 4.0,
        "last_frame_seconds": 3.96,
        "audio_start_seconds": 0.0,
        "audio_end_seconds": 4.0,
        "frame_rate": 25.0,
        "is_variable_frame_rate": False,
        "width_px": 320,
        "height_px": 240,
        "rotation_degrees": 0,
        "container": "mov",
        "video_codec": "h264",
        "audio_codec": "aac",
        "sample_rate_hz": 44100,
        "channels": 2,
        "loudness_dbfs": -22.0,
        "is_silent": False,
        "is_still": False,
        "decord_exact": True,
        "decord_reason": "",
        "content_hash": content(path),
        "size_bytes": 1000,
        "further_labels": (),
        "is_interval": False,
    }
    return Video(**{**fields, **changes})


def entry(path: str, *, label: str = "", split: Split | None = None) -> Entry:
    """Make an entry of a source."""
    return Entry(path, label, split, 1000, 1)


def usable(path: str, *, of: str | None = None) -> Outcome:
    """Make the outcome of a usable file, with the content of the file `of`."""
    row = dataclasses.asdict(video_row(path, content_hash=content(of or path)))
    for name in ("path", "video_id", "label", "split", "further_labels", "is_interval"):
        del row[name]
    return Outcome(row)
