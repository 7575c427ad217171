"""A job file (one video, how to pack it, where to) → one packed sample; runs in the children of `corpus.pool`.

Pictures are taken on a regular grid from the video's start and kept once each, with the times at which they came up.
What is damaged in a video stays out and is noted as a hole; a video with more than a tenth of holes is refused.
"""

import contextlib
import dataclasses
import io
import json
import math
import secrets
import zlib
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from jaxtyping import Int16

from avmi.corpus.manifest import Video
from avmi.corpus.members import open_bytes
from avmi.decode.choose import choose_decoder
from avmi.decode.clip import Frames, Reader, WholeReader
from avmi.errors import DecodeError
from avmi.store.jpeg import encode_jpeg
from avmi.store.packing import Packing
from avmi.store.sample import (
    SUFFIX_OF,
    Hole,
    PictureFacts,
    SampleFacts,
    SampleWriter,
    SoundFacts,
    key_of,
    summed_up,
    sync,
    wav_header,
)

CANNOT_WRITE = "cannot_write"
UNREADABLE = "unreadable"
# Pictures that are decoded in one go and in memory at a time: 64 of 398 × 224 px are 17 MB.
_PICTURES_AT_A_TIME = 64
# Sound that is decoded in one go; a hole is searched for in seconds.
_PIECE_SECONDS, _SHORT_PIECE_SECONDS = 30, 1
_MOST_HOLES_SHARE = 0.1
_PCM_SCALE = 2**15


@dataclasses.dataclass(frozen=True)
class Job:
    """One video to pack."""

    source: Path  # its file
    corpus: Path | None  # of the manifest that it stands in
    video: Video
    packing: Packing
    part: Path  # file to write: the sample as a piece of a tar

    def write(self, path: Path) -> None:
        """Write the job down for `pack_video`."""
        fields = {
            "source": str(self.source),
            "corpus": None if self.corpus is None else str(self.corpus),
            "video": dataclasses.asdict(self.video),
            "packing": dataclasses.asdict(self.packing),
            "part": str(self.part),
        }
        path.write_text(json.dumps(fields), encoding="utf-8")


def read_job(path: Path) -> Job:
    """Read a job that `Job.write` wrote."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return Job(
        source=Path(found["source"]),
        corpus=None if found["corpus"] is None else Path(found["corpus"]),
        video=video_from_json(found["video"]),
        packing=Packing(**found["packing"]),
        part=Path(found["part"]),
    )


def video_from_json(row: dict[str, Any]) -> Video:
    """Make a row again from JSON, which has lists for tuples."""
    fields: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in row.items()}
    return Video(**fields)


def pack_video(job_path: Path) -> dict[str, Any]:
    """Pack one video; give the size of its sample.

    Raises `DecodeError`: `CANNOT_WRITE` when the part cannot be written, `UNREADABLE` when the source is gone,
    else what is wrong with the video.
    """
    try:
        job = read_job(job_path)
    except OSError as error:
        raise DecodeError(f"{job_path}: {error.strerror or error}", reason=CANNOT_WRITE) from error
    # Of its own: a job that was started anew must not write into the file of one that has not ended yet.
    temporary = job.part.with_suffix(f".{secrets.token_hex(4)}.tmp")
    try:
        with _writing(job.part):
            file = temporary.open("wb")
        try:
            size = _pack(job, _Output(file, job.part))
            with _writing(job.part):
                sync(file)
        finally:
            with _writing(job.part):
                file.close()
        with _writing(job.part):
            temporary.replace(job.part)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    return {"bytes": size}


@contextlib.contextmanager
def _writing(part: Path) -> Iterator[None]:
    """Tell trouble with the output from trouble with the video."""
    try:
        yield
    except OSError as error:
        raise DecodeError(f"{part.parent}: {error.strerror or error}", reason=CANNOT_WRITE) from error


class _Output:
    """The part's file, whose errors are its own."""

    def __init__(self, file: BinaryIO, part: Path) -> None:
        self._file, self._part = file, part

    def write(self, content: bytes, /) -> None:
        with _writing(self._part):
            self._file.write(content)


def _pack(job: Job, file: _Output) -> int:
    writer = SampleWriter(file, key_of(job.video.video_id))
    with _opened(job) as reader:
        sound = _pack_sound(job, reader, writer) if job.video.has_sound else None
        pictures = _pack_pictures(job, reader, writer) if job.video.has_pictures else None
    video = job.video
    writer.finish(
        SampleFacts(
            key=writer.key,
            label=video.label,
            split=video.split,
            video_id=video.video_id,
            source=str(job.source),
            frames_per_second=job.packing.frames_per_second,
            pictures=pictures,
            sound=sound,
            video=dataclasses.asdict(video),
        )
    )
    return writer.size


def _opened(job: Job) -> Reader:
    try:
        with open_bytes(job.source) as file:
            file.read(1)
    except OSError as error:
        raise DecodeError(f"{job.source}: {error.strerror or error}", reason=UNREADABLE) from error
    return choose_decoder("pyav", corpus=job.corpus).open(job.source, video=job.video)


def _pack_pictures(job: Job, reader: Reader, writer: SampleWriter) -> PictureFacts:
    video, packing = job.video, job.packing
    step = 1 / packing.frames_per_second
    count = math.ceil((video.video_end_seconds - video.video_start_seconds) / step - 1e-6)
    grid = [video.video_start_seconds + i * step for i in range(max(count, 1))]
    short_side = min(packing.size_px, video.width_px, video.height_px)
    facts = PictureFacts(0, 0, 0.0, [], [], [], [], [])
    shape: tuple[int, ...] | None = None
    for first in range(0, len(grid), _PICTURES_AT_A_TIME):
        times = grid[first : first + _PICTURES_AT_A_TIME]
        for frames in _frames(reader, times, short_side, step, facts.holes, most=len(grid)):
            for pixels, seconds in zip(frames.pixels, frames.times_seconds.tolist(), strict=True):
                if facts.times_seconds and seconds <= facts.times_seconds[-1]:
                    continue  # still the same picture
                if shape is not None and shape != pixels.shape:
                    raise DecodeError(f"{job.source}: pictures change their size", reason="size_changes")
                shape = pixels.shape
                _keep(facts, writer, encode_jpeg(pixels, quality=packing.quality), seconds)
    if shape is None:
        raise DecodeError(f"{job.source}: no picture can be decoded", reason="damaged")
    tolerance = reader.tolerance_seconds if isinstance(reader, WholeReader) else 0.0
    return dataclasses.replace(facts, width_px=shape[1], height_px=shape[0], tolerance_seconds=tolerance)


def _keep(facts: PictureFacts, writer: SampleWriter, jpeg: bytes, seconds: float) -> None:
    facts.offsets.append(writer.add(f"{len(facts.offsets):05d}.jpg", jpeg))
    facts.times_seconds.append(seconds)
    facts.sizes.append(len(jpeg))
    facts.crc32.append(zlib.crc32(jpeg))


def _frames(
    reader: Reader, times: Sequence[float], short_side: int, step: float, holes: list[Hole], *, most: int
) -> Iterator[Frames]:
    """Give the pictures at these times; one by one, and without the damaged, where all at once does not go."""
    try:
        yield reader.frames(times, short_side_px=short_side)
        return
    except DecodeError as error:
        if len(times) == 1 and most == 1:
            raise error
    for seconds in times:
        try:
            yield reader.frames([seconds], short_side_px=short_side)
        except DecodeError:
            holes.append((seconds, seconds + step))
            if len(holes) > _MOST_HOLES_SHARE * most:
                raise


def _pack_sound(job: Job, reader: Reader, writer: SampleWriter) -> SoundFacts:
    video, rate = job.video, job.packing.sample_rate_hz
    samples = math.floor((video.audio_end_seconds - video.audio_start_seconds) * rate + 1e-3)
    holes: list[Hole] = []
    pieces = _pieces(job, reader, samples, holes)
    crc32: list[int] = []
    if job.packing.audio == "pcm":  # an hour is never in memory at once
        sound = summed_up((piece.astype("<i2").tobytes() for piece in pieces), crc32)
        head = wav_header(samples, rate)
        size = len(head) + 2 * samples
        offset = writer.add_pieces(SUFFIX_OF["pcm"], chain((head,), sound), size=size)
    else:
        content = _as_flac(pieces, rate)
        size, crc32 = len(content), [zlib.crc32(content)]
        offset = writer.add(SUFFIX_OF["flac"], content)
    start = video.audio_start_seconds
    return SoundFacts(job.packing.audio, rate, start, samples, offset, size, crc32, holes)


def _as_flac(pieces: Iterator[Int16[np.ndarray, "_"]], rate: int) -> bytes:
    out = io.BytesIO()
    with soundfile.SoundFile(out, "w", rate, 1, subtype="PCM_16", format="FLAC") as file:
        for piece in pieces:
            file.write(piece)
    return out.getvalue()


def _pieces(
    job: Job, reader: Reader, samples: int, holes: list[Hole]
) -> Iterator[Int16[np.ndarray, "samples"]]:
    """Decode the sound piece by piece, as 16-bit samples; what is missing becomes silence and a hole."""
    rate, start = job.packing.sample_rate_hz, job.video.audio_start_seconds
    for first in range(0, samples, _PIECE_SECONDS * rate):
        last = min(first + _PIECE_SECONDS * rate, samples)
        try:
            yield _sound(reader, start, first, last, rate)
            continue
        except DecodeError:
            pass
        for low in range(first, last, _SHORT_PIECE_SECONDS * rate):
            high = min(low + _SHORT_PIECE_SECONDS * rate, last)
            try:
                yield _sound(reader, start, low, high, rate)
            except DecodeError:
                holes.append((start + low / rate, start + high / rate))
                if sum(end - begin for begin, end in holes) > _MOST_HOLES_SHARE * samples / rate:
                    raise
                yield np.zeros(high - low, np.int16)


def _sound(reader: Reader, start: float, first: int, last: int, rate: int) -> Int16[np.ndarray, "samples"]:
    wave = reader.audio(start + first / rate, start + last / rate, sample_rate_hz=rate).samples
    scaled = np.rint(wave * _PCM_SCALE).clip(-_PCM_SCALE, _PCM_SCALE - 1)
    return np.asarray(scaled.astype(np.int16))
