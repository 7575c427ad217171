"""An embedder and a corpus → rows of the embedding table, streamed with progress."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from tqdm import tqdm

from avmi.corpus.manifest import Manifest, Reject, Video
from avmi.corpus.plan import ClipSpec, SignalView, evaluation_clips
from avmi.embedder import ClipVectors, Embedder
from avmi.errors import CorpusError
from avmi.index.table import EmbeddingBatch, EmbeddingRow, Provenance
from avmi.types import Split


@dataclass
class EmbeddingRows:
    """Embeds clips of a split as it is iterated over: a picture and a sound of each clip.

    Of videos that lack pictures or sound, it embeds what they have.
    `rejects` holds, afterwards, the videos that could not be read.
    """

    model: Embedder
    manifest: Manifest
    split: Split | Literal["all"]
    workers: int = 0
    rejects: list[Reject] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.chosen = self.manifest if self.split == "all" else self.manifest.split(self.split)
        if not len(self.chosen):
            raise CorpusError(f"{self.manifest.corpus}: no video is in the {self.split} split")

    @property
    def provenance(self) -> Provenance:
        """Say which model makes the rows, and of which corpus."""
        corpus = self.manifest.corpus
        return Provenance(
            model_hash=self.model.model_hash,
            checkpoint=str(self.model.checkpoint.folder.resolve()),
            corpus="" if corpus is None else str(corpus.resolve()),
            views=self.model.retrieval_views,
        )

    def __iter__(self) -> Iterator[EmbeddingBatch]:
        image, audio = (self.model.signal(name) for name in self.model.retrieval_views)
        with tqdm(total=len(self.chosen), desc="embed", unit="video") as bar:
            for part in self.model.embed_manifest(self.chosen, workers=self.workers):
                self.rejects.extend(part.rejects)
                yield _rows(part, image), part.image
                yield _rows(part, audio), part.audio
                bar.update(len({spec.video.video_id for spec in part.specs}) + len(part.rejects))
            for view, lone in ((image, self._without("sound")), (audio, self._without("pictures"))):
                name = self.model.image_view if view is image else self.model.audio_view
                for one in self.model.embed_view(
                    self.chosen, self._specs(lone, name, view), view=name, workers=self.workers
                ):
                    self.rejects.extend(one.rejects)
                    yield [_row(spec, view) for spec in one.specs], one.vectors
                    bar.update(len({spec.video.video_id for spec in one.specs}) + len(one.rejects))

    def _without(self, what: Literal["pictures", "sound"]) -> list[Video]:
        if what == "sound":
            return [video for video in self.chosen if not video.has_sound]
        return [video for video in self.chosen if not video.has_pictures]

    def _specs(self, videos: list[Video], name: str, view: SignalView) -> tuple[ClipSpec, ...]:
        data = self.model.config.data
        return evaluation_clips(
            videos,
            {name: view},
            required=(name,),
            hop_seconds=data.evaluation_hop_seconds,
            most_per_video=data.evaluation_clips_per_video,
        )


def _rows(part: ClipVectors, view: SignalView) -> list[EmbeddingRow]:
    return [_row(spec, view) for spec in part.specs]


def _row(spec: ClipSpec, view: SignalView) -> EmbeddingRow:
    first, last = view.extent_seconds
    return EmbeddingRow(
        clip_id=spec.clip_id,
        video=spec.video.path,
        start_seconds=round(spec.anchor_seconds + first, 6),
        end_seconds=round(spec.anchor_seconds + last, 6),
        split=spec.video.split,
        label=spec.video.label,
        kind=view.modality,
    )
