"""Hits of a search and the corpus they come from → the picture and the sound of each hit's moment."""

import io
import wave
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from avmi.corpus.address import read_remote
from avmi.corpus.manifest import Manifest, Video
from avmi.corpus.members import tar_of
from avmi.decode.choose import choose_decoder
from avmi.decode.clip import Reader, Waveform
from avmi.errors import DecodeError
from avmi.index import Hit

THUMBNAIL_PX = 240  # short side: twice what a page shows, for dense screens


@dataclass(frozen=True)
class Moment:
    """What is to be seen and heard at a hit; `problem` says why something is not."""

    picture: UInt8[np.ndarray, "height width 3"] | None = None
    sound: Waveform | None = None  # exactly from the hit's start to its end
    problem: str = ""


def find_videos(hits: Sequence[Hit], manifest: Manifest | None) -> dict[str, Video]:
    """Find the hits' videos that are still on disk, by the path that the hits name them by.

    `manifest` None: the corpus itself is gone.
    """
    wanted = {hit.video for hit in hits}
    if manifest is None:
        return {}
    found: dict[str, Video] = {}
    for video in manifest:
        if video.path in found:
            found[video.path] = _joined(found[video.path], video)
        elif video.path in wanted and _is_there(manifest, video):
            found[video.path] = video
    return found


def _joined(first: Video, second: Video) -> Video:
    """Span two intervals of one file: a hit names the file alone."""
    return replace(
        first,
        video_start_seconds=min(first.video_start_seconds, second.video_start_seconds),
        video_end_seconds=max(first.video_end_seconds, second.video_end_seconds),
        last_frame_seconds=max(first.last_frame_seconds, second.last_frame_seconds),
        audio_start_seconds=min(first.audio_start_seconds, second.audio_start_seconds),
        audio_end_seconds=max(first.audio_end_seconds, second.audio_end_seconds),
    )


def _is_there(manifest: Manifest, video: Video) -> bool:
    path = manifest.path_of(video)
    # A shard of an address is fetched when it is read.
    is_remote = manifest.corpus is not None and read_remote(manifest.corpus) is not None
    return path.is_file() or tar_of(path) is not None or is_remote


def read_moments(
    hits: Sequence[Hit],
    manifest: Manifest | None,
    *,
    videos: Mapping[str, Video],
    most_hz: int | None = None,
    short_side_px: int = THUMBNAIL_PX,
) -> list[Moment]:
    """Decode the picture in the middle of each hit and the sound from its start to its end.

    `videos` are those that `find_videos` found; a hit of another one, or one that cannot be read, has a
    problem instead. The sound has the video's own rate, or `most_hz` when that is lower.
    """
    moments = [Moment(problem="the video is no longer where the corpus has it")] * len(hits)
    by_video: dict[str, list[int]] = {}
    for place, hit in enumerate(hits):
        if hit.video in videos:
            by_video.setdefault(hit.video, []).append(place)
    decoder = choose_decoder(
        "pyav", corpus=manifest.corpus if manifest else None
    )  # exact for every file that prepare takes
    for path, places in by_video.items():
        video = videos[path]
        assert manifest is not None  # there are videos
        try:
            with decoder.open(manifest.path_of(video), video=video) as reader:
                # Sound before pictures: the reader then opens the file only once.
                for place in places:
                    moments[place] = _heard(reader, hits[place], video, most_hz)
                for place in sorted(places, key=lambda place: hits[place].start_seconds):
                    moments[place] = _seen(reader, hits[place], video, moments[place], short_side_px)
        except DecodeError as error:
            for place in places:
                moments[place] = replace(moments[place], problem=str(error))
    return moments


def wav_bytes(waveform: Waveform) -> bytes:
    """Write a sound as a WAV file of 16-bit PCM, mono."""
    pcm = np.round(np.clip(waveform.samples, -1, 1) * 32767).astype("<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(waveform.sample_rate_hz)
        file.writeframes(pcm.tobytes())
    return out.getvalue()


def picture_jpeg(pixels: UInt8[np.ndarray, "height width 3"], *, most_px: int = 480) -> bytes:
    """Write a picture as JPEG, its longer side shrunk to `most_px`."""
    image = Image.fromarray(pixels)
    image.thumbnail((most_px, most_px), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return out.getvalue()


def _heard(reader: Reader, hit: Hit, video: Video, most_hz: int | None) -> Moment:
    if hit.end_seconds <= hit.start_seconds:  # a picture's hit is a point in time
        return Moment()
    if not video.has_sound:
        return Moment(problem="the video has no sound")
    rate = video.sample_rate_hz if most_hz is None else min(most_hz, video.sample_rate_hz)
    try:
        return Moment(sound=reader.audio(hit.start_seconds, hit.end_seconds, sample_rate_hz=rate))
    except DecodeError as error:
        return Moment(problem=str(error))


def _seen(reader: Reader, hit: Hit, video: Video, moment: Moment, short_side_px: int) -> Moment:
    if not video.has_pictures:
        return moment
    middle = (hit.start_seconds + hit.end_seconds) / 2
    # Sound may begin before the first picture, and go on after the last one.
    seconds = min(max(middle, video.video_start_seconds), video.last_frame_seconds)
    try:
        picture = reader.frames([seconds], short_side_px=short_side_px).pixels[0]
    except DecodeError as error:
        return replace(moment, problem=moment.problem or str(error))
    return replace(moment, picture=picture)
