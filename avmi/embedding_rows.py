"""An embedder and a corpus → rows of the embedding table, a few videos at a time."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from tqdm import tqdm

from avmi.corpus.manifest import Manifest, Reject, Video
from avmi.corpus.plan import ClipSpec, SignalView, evaluation_clips
from avmi.embedder import BatchVectors, Embedder
from avmi.errors import CorpusError
from avmi.index.table import EmbeddingRow, Provenance
from avmi.index.write import EmbeddingBatch
from avmi.types import Split

# Clips of so many videos are planned at a time: memory does not grow with the corpus.
_VIDEOS_AT_A_TIME = 1024
_VIDEOS_PER_BATCH = 8


@dataclass(frozen=True)
class EmbeddedVideos:
    """What a few videos gave: a batch of each kind, and those of them that could not be read."""

    batches: tuple[EmbeddingBatch, ...]
    rejects: tuple[Reject, ...]
    videos: int


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
        self.chosen = videos_of_split(self.manifest, self.split)

    @property
    def provenance(self) -> Provenance:
        """Say which model makes the rows, and of which corpus."""
        return provenance_of(self.model, self.manifest)

    def __iter__(self) -> Iterator[EmbeddingBatch]:
        with tqdm(total=len(self.chosen), desc="embed", unit="video") as bar:
            videos = self.chosen.videos
            for at in range(0, len(videos), _VIDEOS_AT_A_TIME):
                some = [videos[at : at + _VIDEOS_AT_A_TIME]]
                for found in itertools.chain.from_iterable(
                    embedded_units(self.model, self.manifest, some, workers=self.workers)
                ):
                    self.rejects.extend(found.rejects)
                    yield from found.batches
                    bar.update(found.videos)


def videos_of_split(manifest: Manifest, split: Split | Literal["all"]) -> Manifest:
    """Choose the videos of a split; raises `CorpusError` when there is none."""
    chosen = manifest if split == "all" else manifest.split(split)
    if not len(chosen):
        raise CorpusError(f"{manifest.corpus}: no video is in the {split} split")
    return chosen


def provenance_of(model: Embedder, manifest: Manifest) -> Provenance:
    """Say which model makes embeddings, and of which corpus."""
    corpus = manifest.corpus
    return Provenance(
        model_hash=model.model_hash,
        checkpoint=str(model.checkpoint.folder.resolve()),
        corpus="" if corpus is None else str(corpus.resolve()),
        views=model.retrieval_views,
    )


def embedded_units(
    model: Embedder, manifest: Manifest, units: Sequence[Sequence[Video]], *, workers: int
) -> Iterator[Iterator[EmbeddedVideos]]:
    """Embed units of a manifest's videos: what their batches give, which never hold videos of two units.

    A unit must be taken whole before the next one is. Videos that lack pictures or sound give what they have.
    """
    plans = [_batches(model, unit) for unit in units]
    videos = tuple(video for unit in units for video in unit)
    found = model.embed_batches(
        Manifest(manifest.root, videos, manifest.corpus),
        [batch for plan in plans for batch in plan],
        views=model.retrieval_views,
        workers=workers,
    )
    for plan in plans:
        yield (_embedded(model, vectors) for vectors in itertools.islice(found, len(plan)))


def _batches(model: Embedder, videos: Sequence[Video]) -> list[tuple[ClipSpec, ...]]:
    """List the clips of each batch: first of videos with pictures and sound, then of those with one of them."""
    image, audio = model.retrieval_views
    groups = {
        (image, audio): videos,
        (image,): [video for video in videos if not video.has_sound],
        (audio,): [video for video in videos if not video.has_pictures],
    }
    batches: list[tuple[ClipSpec, ...]] = []
    for views, group in groups.items():
        clips = [
            evaluation_clips(
                [video],
                {name: model.signal(name) for name in views},
                required=views,
                hop_seconds=model.config.data.evaluation_hop_seconds,
                most_per_video=model.config.data.evaluation_clips_per_video,
            )
            for video in group
        ]
        filled = [specs for specs in clips if specs]
        batches += [
            tuple(itertools.chain.from_iterable(filled[at : at + _VIDEOS_PER_BATCH]))
            for at in range(0, len(filled), _VIDEOS_PER_BATCH)
        ]
    return batches


def _embedded(model: Embedder, found: BatchVectors) -> EmbeddedVideos:
    batches = tuple(
        (_rows(found.specs, model.signal(name)), found.vectors[name])
        for name in model.retrieval_views
        if name in found.vectors
    )
    videos = len({spec.video.row_id for spec in found.specs}) + len(found.rejects)
    return EmbeddedVideos(batches, found.rejects, videos)


def _rows(specs: tuple[ClipSpec, ...], view: SignalView) -> list[EmbeddingRow]:
    first, last = view.extent_seconds
    return [
        EmbeddingRow(
            clip_id=spec.clip_id,
            video=spec.video.path,
            start_seconds=round(spec.anchor_seconds + first, 6),
            end_seconds=round(spec.anchor_seconds + last, 6),
            split=spec.video.split,
            label=spec.video.label,
            kind=view.modality,
        )
        for spec in specs
    ]
