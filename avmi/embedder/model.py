"""A checkpoint → embeddings (or features) of pictures, sounds, videos and whole corpora."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from avmi.checkpoint import Checkpoint, load_checkpoint
from avmi.corpus.manifest import Manifest, Reject, Video, video_of
from avmi.corpus.plan import ClipSpec, SignalView
from avmi.corpus.scan import scan
from avmi.decode.choose import choose_decoder
from avmi.decode.clip import Decoder
from avmi.embedder.clips import batch_vectors, clip_vectors, spread_clips, view_vectors
from avmi.embedder.encoding import Encoding
from avmi.embedder.singles import Waveforms, picture_vectors, refuse_single, sound_vectors, window_seconds
from avmi.embedder.vectors import BatchVectors, ClipVectors, Output, ViewVectors
from avmi.errors import DecodeError, InputError
from avmi.types import StrPath
from avmi.views.picture import Picture


class Embedder:
    """Encoders of a checkpoint with their preprocessing; pictures and sounds in, vectors out."""

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device | str | None = None) -> None:
        self._encoding = Encoding(checkpoint, device=device)
        self.device = self._encoding.device
        self.checkpoint, self.config = checkpoint, checkpoint.config
        self.model_hash = checkpoint.model_hash
        self.encoders, self.graph = self._encoding.encoders, self._encoding.graph

    @property
    def image_view(self) -> str:
        """Name of the view that pictures are embedded as; `InputError` when the model has none."""
        return self._encoding.image_view

    @property
    def audio_view(self) -> str:
        """Name of the view that sounds are embedded as; `InputError` when the model has none."""
        return self._encoding.audio_view

    @property
    def retrieval_views(self) -> tuple[str, str]:
        """Names of the image view and the audio view."""
        return self._encoding.retrieval_views

    @property
    def window_seconds(self) -> float:
        """Length of sound that one audio embedding hears, in seconds."""
        return window_seconds(self._encoding)

    def signal(self, view: str) -> SignalView:
        """Give a frame or audio view by name, without augmentation."""
        return self._encoding.signal(view)

    def embed_images(
        self, images: Sequence[Picture] | np.ndarray, *, output: Output = "embedding"
    ) -> Float[Tensor, "images dim"]:
        """Embed pictures: paths, Pillow images, or uint8 arrays of `height width 3`."""
        refuse_single(images, "embed_images", "pictures")
        return picture_vectors(self._encoding, images, output=output)

    def embed_audio(
        self, waveforms: Waveforms, *, sample_rate_hz: int, output: Output = "embedding"
    ) -> Float[Tensor, "sounds dim"]:
        """Embed sounds, each `samples` or `channels samples` in [-1, 1]; one or a list of them.

        A sound longer than the model's window is cut into windows whose vectors are averaged (an
        embedding is brought back to unit length). Raises `InputError` for one that is shorter.
        """
        refuse_single(waveforms, "embed_audio", "waveforms")
        return sound_vectors(self._encoding, waveforms, sample_rate_hz=sample_rate_hz, output=output)

    def embed_manifest(
        self,
        manifest: Manifest,
        *,
        hop_seconds: float | None = None,
        clips_per_video: int | None = None,
        views: tuple[str, str] | None = None,
        output: Output = "embedding",
        decoder: Decoder | None = None,
        workers: int = 0,
    ) -> Iterator[ClipVectors]:
        """Embed picture and sound of evenly spread clips of every video, a few videos at a time.

        Hop, number of clips and the two views are those of the checkpoint's config unless given.
        """
        views = views or self.retrieval_views
        specs = spread_clips(
            self._encoding, manifest, views=views, hop_seconds=hop_seconds, clips_per_video=clips_per_video
        )
        yield from self.embed_clips(
            manifest, specs, views=views, output=output, decoder=decoder, workers=workers
        )

    def embed_clips(
        self,
        manifest: Manifest,
        specs: Sequence[ClipSpec],
        *,
        views: tuple[str, str],
        output: Output = "embedding",
        decoder: Decoder | None = None,
        workers: int = 0,
    ) -> Iterator[ClipVectors]:
        """Embed a picture view and a sound view of given clips of a manifest's videos, a few videos at a time."""
        return clip_vectors(
            self._encoding, manifest, specs, views=views, output=output, decoder=decoder, workers=workers
        )

    def embed_view(
        self,
        manifest: Manifest,
        specs: Sequence[ClipSpec],
        *,
        view: str,
        output: Output = "embedding",
        workers: int = 0,
    ) -> Iterator[ViewVectors]:
        """Embed one view of given clips, a few videos at a time; the clips need nothing else."""
        return view_vectors(self._encoding, manifest, specs, view=view, output=output, workers=workers)

    def embed_batches(
        self,
        manifest: Manifest,
        batches: Sequence[Sequence[ClipSpec]],
        *,
        views: Sequence[str],
        workers: int = 0,
    ) -> Iterator[BatchVectors]:
        """Embed views of given clips, batch by batch.

        All clips of a batch have the same views, and all clips of a video are in one batch, together.
        """
        return batch_vectors(self._encoding, manifest, batches, views=views, workers=workers)

    def embed_videos(
        self,
        paths: Sequence[StrPath],
        *,
        hop_seconds: float | None = None,
        clips_per_video: int | None = None,
        output: Output = "embedding",
    ) -> ClipVectors:
        """Embed picture and sound of evenly spread clips of video files, as `embed_manifest` does.

        A file that cannot be used is among the rejects, with its reason. Files are read by pyav, which is
        exact without the proofs of `avmi prepare`. Raises `InputError` when no file can be used.
        """
        refuse_single(paths, "embed_videos", "paths")
        measured = [_measured(Path(path)) for path in paths]
        videos = tuple(found for found in measured if isinstance(found, Video))
        parts = list(
            self.embed_manifest(
                Manifest(Path(), videos),
                hop_seconds=hop_seconds,
                clips_per_video=clips_per_video,
                output=output,
                decoder=choose_decoder("pyav"),
            )
        )
        rejects = [found for found in measured if isinstance(found, Reject)]
        rejects += [reject for part in parts for reject in part.rejects]
        embedded = {spec.video.path for part in parts for spec in part.specs}
        seen = embedded | {reject.path for reject in rejects}
        rejects += [self._too_short(video) for video in videos if video.path not in seen]
        if rejects and not embedded:
            raise InputError(f"no video can be embedded; {rejects[0].path}: {rejects[0].detail}")
        return dataclasses.replace(ClipVectors.join(parts), rejects=tuple(rejects))

    def _too_short(self, video: Video) -> Reject:
        views = " and ".join(self.retrieval_views)
        detail = f"{video.duration_seconds:.2f} s of picture and sound are too short for the views {views}"
        return Reject(video.path, "too_short", detail)


def load(checkpoint: StrPath, *, device: torch.device | str | None = None) -> Embedder:
    """Load a checkpoint, or the best of a run folder, for embedding."""
    return Embedder(load_checkpoint(checkpoint), device=device)


def _measured(path: Path) -> Video | Reject:
    """Measure a file as `avmi prepare` does, but for decord."""
    try:
        facts = scan(path).facts
    except DecodeError as error:
        return Reject(str(path), error.reason, str(error))
    unchecked = {"decord_exact": False, "decord_reason": "not checked"}
    return video_of(dataclasses.asdict(facts) | unchecked, str(path), label="", split="test")
