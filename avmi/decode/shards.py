"""A path "<shard>.tar/<key>" → pictures and sound of a packed video, through the contract of `clip.py`.

A packed video is the video with fewer pictures: those on the screen at regular times, each with the time at which
it came up in the original. The rule of `clip.py` is the same: the picture at t is the last one, of those kept, that
had come up by t. It is exact at the regular times, never from the future, and else older than exact by less than
their distance. The sound is all there.
"""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from jaxtyping import Float32, Int16

from avmi.corpus.manifest import Video
from avmi.corpus.plan import EDGE_SECONDS
from avmi.decode.clip import Frames, Waveform, WholeReader
from avmi.decode.on_screen import on_screen
from avmi.decode.rgb import scaled_size
from avmi.errors import DecodeError
from avmi.store.fetch import Fetcher
from avmi.store.jpeg import decode_jpeg
from avmi.store.sample import SampleFacts
from avmi.store.shard import OpenShards, Sample

# Longer than soxr's filter, so that a window is resampled at its edges as in its middle.
_FILTER_SECONDS = 0.02
# FLAC decodes 60 s in some 5 ms.
_WHOLE_SECONDS = 60
_LEAST_SLACK_SECONDS = 1e-9


class ShardReader(WholeReader):
    """One packed video."""

    def __init__(self, sample: Sample, *, video: Video | None) -> None:
        self._sample = sample
        self._row = sample.row
        self._whole: np.ndarray | None = None
        self._facts: SampleFacts | None = sample.facts() if video is None or self._row["has_holes"] else None
        row = self._facts.video if self._facts is not None and video is None else None
        self._end_seconds = row["video_end_seconds"] if row else video.video_end_seconds if video else 0.0

    @property
    def tolerance_seconds(self) -> float:
        """How long before its timestamp a picture counts as on the screen."""
        return float(self._row["tolerance_seconds"])

    def frames(self, at_seconds: Sequence[float], *, short_side_px: int | None) -> Frames:
        """Pictures that had come up by these ascending times; see the head of this file and `Reader.frames`."""
        if list(at_seconds) != sorted(at_seconds):
            raise ValueError(f"times must ascend, got {list(at_seconds)}")
        if not len(at_seconds):
            return Frames(np.zeros((0, 1, 1, 3), np.uint8), np.zeros(0))
        kept = self._kept_times()
        times = np.asarray(at_seconds, dtype=np.float64)
        places = on_screen(
            kept,
            times,
            tolerance_seconds=self.tolerance_seconds + _LEAST_SLACK_SECONDS,
            end_seconds=self._end_seconds,
            where=self._sample.where,
        )
        self._refuse_holes(times)
        return self._decoded(places, kept[places], short_side_px)

    def every_frame(self, *, short_side_px: int | None) -> Frames:
        """All pictures that were kept, in their order; raises `DecodeError` when one is damaged or missing."""
        if self._facts is not None and self._facts.pictures and self._facts.pictures.holes:
            raise DecodeError(f"{self._sample.where}: some pictures are missing", reason="damaged")
        kept = self._kept_times()
        return self._decoded(np.arange(len(kept)), np.array(kept), short_side_px)

    def audio(self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int) -> Waveform:
        """Mono sound of this interval; see `Reader.audio`. Refuses a higher rate than is stored."""
        stored_hz = self._row["sound_rate_hz"]
        if not self._sample.codec:
            raise DecodeError(f"{self._sample.where} has no sound", reason="no_audio")
        if sample_rate_hz > stored_hz:
            raise DecodeError(
                f"{self._sample.where}: its sound is packed at {stored_hz} Hz, asked for were {sample_rate_hz}: "
                f"pack it with --sample-rate {sample_rate_hz}",
                reason="sample_rate",
            )
        self._refuse_silence(start_seconds, end_seconds)
        late = start_seconds - self._row["sound_start_seconds"]
        count = round((end_seconds - start_seconds) * sample_rate_hz)
        if sample_rate_hz == stored_hz:
            samples = self._cut(round(late * stored_hz), count, start_seconds, end_seconds)
            return Waveform(samples, sample_rate_hz, start_seconds)
        lead = round(_FILTER_SECONDS * stored_hz)
        length = round((end_seconds - start_seconds) * stored_hz)
        first = round(late * stored_hz)
        self._require(first, length, start_seconds, end_seconds)
        low, high = max(first - lead, 0), min(first + length + lead, self._row["sound_samples"])
        wide = soxr.resample(self._stored(low, high - low), stored_hz, sample_rate_hz, quality="HQ")
        skip = round((first - low) * sample_rate_hz / stored_hz)
        samples = _of_length(wide[skip : skip + count], count)
        return Waveform(samples.clip(-1, 1), sample_rate_hz, start_seconds)

    def close(self) -> None:
        """Keep the shard mapped for the next video."""

    def _kept_times(self) -> np.ndarray:
        kept = self._sample.frames["seconds"]
        if not len(kept):
            raise DecodeError(f"{self._sample.where} has no pictures", reason="no_video")
        return np.asarray(kept)

    def _decoded(self, places: np.ndarray, times: np.ndarray, short_side_px: int | None) -> Frames:
        stored = self._row["width_px"], self._row["height_px"]
        width, height = scaled_size(*stored, short_side_px=short_side_px)
        pixels = np.empty((len(places), height, width, 3), np.uint8)
        shown = -1
        for i, place in enumerate(places.tolist()):
            if i and place == shown:
                pixels[i] = pixels[i - 1]
                continue
            decode_jpeg(self._sample.jpeg(place), out=pixels[i])
            shown = place
        return Frames(pixels, np.array(times, dtype=np.float64))

    def _refuse_holes(self, times: np.ndarray) -> None:
        pictures = self._facts.pictures if self._facts is not None else None
        for start, end in pictures.holes if pictures else ():
            inside = times[(times >= start) & (times < end)]
            if len(inside):
                raise DecodeError(
                    f"{self._sample.where}: the pictures at {inside[0]:.3f} s are damaged or missing",
                    reason="damaged",
                )

    def _refuse_silence(self, start_seconds: float, end_seconds: float) -> None:
        sound = self._facts.sound if self._facts is not None else None
        if sound and any(start < end_seconds and end > start_seconds for start, end in sound.holes):
            raise DecodeError(
                f"{self._sample.where}: the sound from {start_seconds:.3f} to {end_seconds:.3f} s has a gap",
                reason="audio_gap",
            )

    def _require(self, first: int, count: int, start_seconds: float, end_seconds: float) -> None:
        stored_hz, samples = self._row["sound_rate_hz"], self._row["sound_samples"]
        allowed = round(EDGE_SECONDS * stored_hz) + 1
        if first < -allowed or first + count > samples + allowed or samples < count - 2 * allowed:
            begin = self._row["sound_start_seconds"]
            raise DecodeError(
                f"{self._sample.where}: the sound from {start_seconds:.3f} to {end_seconds:.3f} s is not all "
                f"there: it goes from {begin:.3f} to {begin + samples / stored_hz:.3f} s",
                reason="audio_short",
            )

    def _cut(
        self, first: int, count: int, start_seconds: float, end_seconds: float
    ) -> Float32[np.ndarray, "samples"]:
        """Cut samples; up to `EDGE_SECONDS` may be missing at either end, as the plan allows."""
        self._require(first, count, start_seconds, end_seconds)
        samples = self._row["sound_samples"]
        low, high = max(first, 0), min(first + count, samples)
        piece = self._stored(low, high - low)
        if len(piece) == count:
            return piece
        return np.pad(piece, (low - first, first + count - high))

    def _stored(self, first: int, count: int) -> Float32[np.ndarray, "samples"]:
        stored: np.ndarray
        if self._sample.codec == "pcm":
            stored = self._sample.pcm(first, count)
        else:
            stored = self._from_flac(first, count)
        return np.asarray(np.multiply(stored, np.float32(2**-15), dtype=np.float32))

    def _from_flac(self, first: int, count: int) -> Int16[np.ndarray, "samples"]:
        # A short sound is decoded whole, once for all windows; in a long one a window is sought.
        total = self._row["sound_samples"]
        if total > _WHOLE_SECONDS * self._row["sound_rate_hz"]:
            return self._flac(first, count)
        if self._whole is None:
            self._whole = self._flac(0, total)
        return self._whole[first : first + count]

    def _flac(self, first: int, count: int) -> Int16[np.ndarray, "samples"]:
        try:
            with soundfile.SoundFile(_InPlace(self._sample.flac())) as file:
                file.seek(first)
                samples = file.read(count, dtype="int16")
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise DecodeError(f"{self._sample.where}: {error}", reason="shard_damaged") from error
        if len(samples) != count:
            raise DecodeError(f"{self._sample.where}: its sound ends early", reason="shard_damaged")
        return np.asarray(samples)


class _InPlace(io.RawIOBase):
    """Mapped bytes as a file: an hour of FLAC is not copied for a window of a second."""

    def __init__(self, content: memoryview) -> None:
        self._content, self._at = content, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._content)}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        target = memoryview(buffer).cast("B")
        piece = self._content[self._at : self._at + len(target)]
        target[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)


class ShardDecoder:
    """Opens packed videos of one folder of shards, or of object storage through its local folder."""

    name: str = "shards"

    def __init__(self, shards: Path) -> None:
        self._fetcher = Fetcher(shards)
        # Mapped shards of a cache keep their bytes on the disk even when they were let go: hold few.
        self._open = OpenShards(most=4) if self._fetcher.is_remote else OpenShards()

    def open(self, path: Path, *, video: Video | None) -> ShardReader:
        """Open a packed video; raises `DecodeError` when its shard is damaged or cannot be fetched."""
        if path.parent.suffix != ".tar":
            raise DecodeError(
                f"{path} is no packed video: its path is <shard>.tar/<key>", reason="open_failed"
            )
        self._fetcher.have(path.parent)
        return ShardReader(self._open.get(path.parent).sample(path.name), video=video)


def _of_length(samples: np.ndarray, count: int) -> Float32[np.ndarray, "samples"]:
    piece = np.asarray(samples[:count], dtype=np.float32)
    return np.pad(piece, (0, count - len(piece))) if len(piece) < count else piece
