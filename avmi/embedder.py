"""A checkpoint → embeddings (or features) of pictures, sounds, videos and whole corpora."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from avmi.checkpoint import Checkpoint, load_checkpoint
from avmi.config.views import AudioView, FrameView
from avmi.corpus.manifest import Manifest, Reject, Video, video_of
from avmi.corpus.plan import ClipSpec, SignalView, evaluation_clips
from avmi.corpus.scan import scan
from avmi.data import Batch, Cutter, FixedClips, Limits, fixed_loader
from avmi.decode.choose import choose_decoder
from avmi.decode.clip import Decoder
from avmi.errors import DecodeError, InputError
from avmi.types import StrPath
from avmi.views.audio import LogMelSpectrogram
from avmi.views.graph import graph_of
from avmi.views.image import image_view
from avmi.views.make import ViewMaker
from avmi.views.picture import Picture, read_picture
from avmi.views.waveform import read_waveform

Output = Literal["embedding", "feature"]
Waveforms = np.ndarray | Tensor | Sequence[np.ndarray | Tensor]
BATCH = 64  # pictures or windows in one forward pass


@dataclass(frozen=True)
class ClipVectors:
    """Image and audio vectors of clips, row by row, and the videos that could not be read."""

    specs: tuple[ClipSpec, ...]
    image: Float[Tensor, "clips image_dim"]
    audio: Float[Tensor, "clips audio_dim"]
    rejects: tuple[Reject, ...] = ()

    @staticmethod
    def join(parts: Iterable["ClipVectors"]) -> "ClipVectors":
        """Join the parts of a stream; raises `InputError` when there is no clip in them."""
        every = list(parts)
        filled = [part for part in every if part.specs]
        if not filled:
            raise InputError(
                "no clip could be embedded: the split is empty, or its videos are too short or unreadable"
            )
        return ClipVectors(
            specs=tuple(spec for part in filled for spec in part.specs),
            image=torch.cat([part.image for part in filled]),
            audio=torch.cat([part.audio for part in filled]),
            rejects=tuple(reject for part in every for reject in part.rejects),
        )


@dataclass(frozen=True)
class ViewVectors:
    """Vectors of one view of clips, row by row, and the videos that could not be read."""

    specs: tuple[ClipSpec, ...]
    vectors: Float[Tensor, "clips dim"]
    rejects: tuple[Reject, ...] = ()


class Embedder:
    """Encoders of a checkpoint with their preprocessing; pictures and sounds in, vectors out."""

    def __init__(self, checkpoint: Checkpoint, *, device: torch.device | str | None = None) -> None:
        default = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(default if device is None else device)
        self.checkpoint, self.config = checkpoint, checkpoint.config
        self.model_hash = checkpoint.model_hash
        self.encoders = checkpoint.encoders.to(self.device).eval()
        self.graph = graph_of(self.config)
        self._log_mel = LogMelSpectrogram(self.config.log_mel)

    @property
    def image_view(self) -> str:
        """Name of the view that pictures are embedded as; `InputError` when the model has none."""
        return self._view(0, FrameView, "picture")

    @property
    def audio_view(self) -> str:
        """Name of the view that sounds are embedded as; `InputError` when the model has none."""
        return self._view(1, AudioView, "sound")

    @property
    def retrieval_views(self) -> tuple[str, str]:
        """Names of the image view and the audio view."""
        return self.image_view, self.audio_view

    def _view(self, side: Literal[0, 1], kind: type[FrameView] | type[AudioView], what: str) -> str:
        """Take the view of the pair that retrieval embeds; of models of one side, the first view."""
        if self.graph.retrieval_views is not None:
            return self.graph.retrieval_views[side]
        names = [name for name, view in self.graph.signals.items() if isinstance(view, kind)]
        if not names:
            raise InputError(
                f"{self.checkpoint.folder} was trained without a view of one {what}: use a checkpoint that has one"
            )
        return names[0]

    @property
    def window_seconds(self) -> float:
        """Length of sound that one audio embedding hears, in seconds."""
        first, last = self.signal(self.audio_view).extent_seconds
        return last - first

    def signal(self, view: str) -> SignalView:
        """Give a frame or audio view by name, without augmentation."""
        settings = self.config.views[view]
        assert isinstance(settings, (FrameView, AudioView))
        return settings.unaugmented

    def embed_images(
        self, images: Sequence[Picture] | np.ndarray, *, output: Output = "embedding"
    ) -> Float[Tensor, "images dim"]:
        """Embed pictures: paths, Pillow images, or uint8 arrays of `height width 3`."""
        _refuse_single(images, "embed_images", "pictures")
        name, view = self.image_view, FrameView(kind="frame")
        settings = self.graph.signals[name]
        if isinstance(settings, FrameView) and settings.frames > 1:
            raise InputError(
                f"the model sees {settings.frames} pictures at a time ({name}), not one: give it videos, or use "
                "a checkpoint whose graph pairs a single picture with a sound"
            )
        tensors = (
            image_view(read_picture(image)[None], view, image=self.config.image, seed=0) for image in images
        )
        return self._run(name, tensors, output=output)

    def embed_audio(
        self, waveforms: Waveforms, *, sample_rate_hz: int, output: Output = "embedding"
    ) -> Float[Tensor, "sounds dim"]:
        """Embed sounds, each `samples` or `channels samples` in [-1, 1]; one or a list of them.

        A sound longer than the model's window is cut into windows whose vectors are averaged (an
        embedding is brought back to unit length). Raises `InputError` for one that is shorter.
        """
        _refuse_single(waveforms, "embed_audio", "waveforms")
        sounds = [waveforms] if isinstance(waveforms, (np.ndarray, Tensor)) else list(waveforms)
        name = self.audio_view
        vectors = []
        for sound in sounds:
            windows = (self._log_mel(w) for w in self._windows(sound, sample_rate_hz))
            mean = self._run(name, windows, output=output).mean(dim=0)
            vectors.append(mean / mean.norm() if output == "embedding" else mean)
        return torch.stack(vectors) if vectors else torch.empty(0, self._dim(name, output))

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
        data = self.config.data
        image, audio = views or self.retrieval_views
        cut = {name: self.signal(name) for name in (image, audio)}
        specs = evaluation_clips(
            manifest,
            cut,
            required=(image, audio),
            hop_seconds=data.evaluation_hop_seconds if hop_seconds is None else hop_seconds,
            most_per_video=data.evaluation_clips_per_video if clips_per_video is None else clips_per_video,
        )
        yield from self.embed_clips(
            manifest, specs, views=(image, audio), output=output, decoder=decoder, workers=workers
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
        image, audio = views
        for batch in self._batches(manifest, specs, views, decoder=decoder, workers=workers):
            yield self._vectors(batch, image=image, audio=audio, output=output)

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
        for batch in self._batches(manifest, specs, (view,), decoder=None, workers=workers):
            vectors = torch.empty(0, self._dim(view, output))
            if batch.specs:
                vectors = self._run(view, batch.views[view], output=output)
            yield ViewVectors(batch.specs, vectors, batch.rejects)

    def _batches(
        self,
        manifest: Manifest,
        specs: Sequence[ClipSpec],
        views: Sequence[str],
        *,
        decoder: Decoder | None,
        workers: int,
    ) -> Iterable[Batch]:
        cut = {name: self.signal(name) for name in views}
        maker = ViewMaker(cut, image=self.config.image, log_mel=self.config.log_mel)
        data = self.config.data
        decoder = decoder or choose_decoder(
            data.decoder, fallback=data.decoder_fallback, corpus=manifest.corpus
        )
        clips = FixedClips(Cutter(manifest, maker, decoder), specs)
        return fixed_loader(clips, workers=workers, limits=Limits.of(data))

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
        _refuse_single(paths, "embed_videos", "paths")
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

    @torch.no_grad()
    def _vectors(self, batch: Batch, *, image: str, audio: str, output: Output) -> ClipVectors:
        if not batch.specs:
            return ClipVectors((), torch.empty(0, 0), torch.empty(0, 0), batch.rejects)
        return ClipVectors(
            specs=batch.specs,
            image=self._run(image, batch.views[image], output=output),
            audio=self._run(audio, batch.views[audio], output=output),
            rejects=batch.rejects,
        )

    @torch.no_grad()  # not inference mode: users train on what comes out
    def _run(self, view: str, tensors: Iterable[Tensor], *, output: Output) -> Float[Tensor, "rows dim"]:
        encoder = self.encoders.encoder(view)
        parts, waiting = [torch.empty(0, self._dim(view, output))], list[Tensor]()

        def flush() -> None:
            joined = torch.stack(waiting).to(self.device)
            out = encoder(joined) if output == "embedding" else encoder.features(joined)
            parts.append(out.float().cpu())
            waiting.clear()

        for tensor in tensors:
            waiting.append(tensor)
            if len(waiting) == BATCH:
                flush()
        if waiting:
            flush()
        return torch.cat(parts)

    def _windows(self, sound: np.ndarray | Tensor, sample_rate_hz: int) -> list[np.ndarray]:
        rate = self.config.log_mel.sample_rate_hz
        mono = read_waveform(sound, sample_rate_hz=sample_rate_hz, target_rate_hz=rate)
        length = round(self.window_seconds * rate)
        if len(mono) < length:
            raise InputError(
                f"the sound lasts {len(mono) / rate:.2f} s, the model hears {self.window_seconds:g} s: "
                "give a longer one"
            )
        return [mono[i : i + length] for i in range(0, len(mono) - length + 1, length)]

    def _dim(self, view: str, output: Output) -> int:
        feature_dim = self.encoders.encoder(view).feature_dim
        return self.config.encoders.head.embedding_dim if output == "embedding" else feature_dim


def load(checkpoint: StrPath, *, device: torch.device | str | None = None) -> Embedder:
    """Load a checkpoint, or the best of a run folder, for embedding."""
    return Embedder(load_checkpoint(checkpoint), device=device)


def _refuse_single(given: object, function: str, what: str) -> None:
    """Refuse one thing in place of a list of them: a path is a sequence, too, of letters."""
    is_array = isinstance(given, np.ndarray) and given.ndim == 3
    if isinstance(given, (str, bytes, PathLike, Image.Image)) or is_array:
        raise InputError(f"{function} takes a list of {what}, got a single {type(given).__name__}: use [...]")


def _measured(path: Path) -> Video | Reject:
    """Measure a file as `avmi prepare` does, but for decord."""
    try:
        facts = scan(path).facts
    except DecodeError as error:
        return Reject(str(path), error.reason, str(error))
    unchecked = {"decord_exact": False, "decord_reason": "not checked"}
    return video_of(dataclasses.asdict(facts) | unchecked, str(path), label="", split="test")
