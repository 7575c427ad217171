"""A path → everything `prepare` wants to know of the file; runs in the child processes of `corpus.pool`.

The scan comes first and decides whether the video is usable; whether decord is exact for it is one more
fact, and nothing that decord does can make a video unusable.
"""

import base64
import dataclasses
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from PIL import Image

from avmi.corpus.container import open_container
from avmi.corpus.journal import PACKETS
from avmi.corpus.members import tar_of
from avmi.corpus.packets import packed
from avmi.corpus.pool import Probe
from avmi.corpus.scan import Scan, scan
from avmi.decode.exactness import VideoPackets, decord_exactness
from avmi.decode.packet_proof import proved
from avmi.decode.rgb import upright_rgb
from avmi.errors import DecodeError
from avmi.types import Needs

_THUMBNAIL_PX = 120  # short side
# decord decodes ahead into memory, in full size: about 130 pictures were seen to wait there.
_DECORD_LARGEST_PX = 1920 * 1088


def probe(path: Path) -> dict[str, Any]:
    """Scan a file and check decord on it; raises `DecodeError` as `scan` does."""
    return _probed(path, needs="both")


def probe_picture(path: Path) -> dict[str, Any]:
    """Do as `probe`, but sound may be missing."""
    return _probed(path, needs="picture")


def probe_sound(path: Path) -> dict[str, Any]:
    """Do as `probe`, but pictures may be missing."""
    return _probed(path, needs="sound")


def probe_without_decord(path: Path) -> dict[str, Any]:
    """Scan a file on which `probe` hung or crashed, in case that was decord."""
    return _probed_without_decord(path, needs="both")


def probe_picture_without_decord(path: Path) -> dict[str, Any]:
    """Do as `probe_without_decord`, but sound may be missing."""
    return _probed_without_decord(path, needs="picture")


def probe_sound_without_decord(path: Path) -> dict[str, Any]:
    """Do as `probe_without_decord`, but pictures may be missing."""
    return _probed_without_decord(path, needs="sound")


def _probed(path: Path, *, needs: Needs) -> dict[str, Any]:
    found = scan(path, needs=needs)
    decord = _decord_facts(decord_reason(path, found))
    return {**dataclasses.asdict(found.facts), **decord, **_packet_facts(path, found)}


def _probed_without_decord(path: Path, *, needs: Needs) -> dict[str, Any]:
    facts = scan(path, needs=needs).facts
    decord = _decord_facts("decord hangs or crashes on it")
    # The proof may have been what it hung on.
    return {**dataclasses.asdict(facts), **decord, "index_reason": "the first probe hangs or crashes on it"}


def _packet_facts(path: Path, found: Scan) -> dict[str, Any]:
    """Give the packet table, as text, when reading by it is exact, else the reason."""
    if found.packets is None:
        return {"index_reason": found.no_packets_reason}
    table, reason = proved(
        path,
        found.packets,
        kept_sound=found.kept_sound,
        kept_pictures=found.kept_pictures,
        end_seconds=found.facts.video_end_seconds,
    )
    if table is None:
        return {"index_reason": reason}
    return {"index_reason": "", PACKETS: base64.b64encode(packed(table)).decode()}


def _decord_facts(reason: str) -> dict[str, Any]:
    return {"decord_exact": not reason, "decord_reason": reason}


def decord_reason(path: Path, found: Scan) -> str:
    """Say why decord is not exact for a file that was scanned; "" when it is."""
    facts = found.facts
    if not found.times_seconds:
        return "no pictures"
    if tar_of(path) is not None:
        return "it lies in a tar, where decord cannot read it"
    if facts.width_px * facts.height_px > _DECORD_LARGEST_PX:
        return "larger than 1080p: decord would decode ahead into gigabytes"
    packets = VideoPackets(
        container=facts.container,
        times_seconds=found.times_seconds,
        key_seconds=found.key_seconds,
        has_discarded=found.has_discarded,
        rotation_degrees=facts.rotation_degrees,
        codec=facts.video_codec,
        pictures=found.kept_pictures,
    )
    try:
        return decord_exactness(path, packets=packets)
    except DecodeError as error:
        return error.reason
    except Exception as error:
        return f"decord fails: {type(error).__name__}"


@dataclass(frozen=True)
class Probes:
    """What is called on every file, in a child process; the second where the first hangs or crashes."""

    first: Probe
    second: Probe
    thumbnail: Probe

    @property
    def chains(self) -> tuple[tuple[Probe, ...], tuple[Probe, ...]]:
        """Give the probes as `ProbePool` takes them."""
        return (self.first, self.second), (self.thumbnail,)


def probes_of(needs: Needs) -> Probes:
    """Choose the probes that accept a file by what it must hold; children import them by their names."""
    match needs:
        case "both":
            return Probes(probe, probe_without_decord, thumbnail)
        case "picture":
            return Probes(probe_picture, probe_picture_without_decord, thumbnail)
        case "sound":
            return Probes(probe_sound, probe_sound_without_decord, thumbnail)


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
