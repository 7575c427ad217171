"""A corpus, views and data settings → what a training run reads: an endless stream, and fixed clips."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from avmi.config.data import Data
from avmi.config.parts import ImageInput, LogMel, Optimizer
from avmi.corpus.address import local_folder, read_remote
from avmi.corpus.manifest import Manifest, read_manifest
from avmi.corpus.plan import SignalView, evaluation_clips
from avmi.data import (
    Cutter,
    FixedClips,
    Limits,
    Loader,
    PassOrder,
    Quarantine,
    StreamBatches,
    TrainingStream,
    fixed_loader,
    shuffled,
    training_loader,
)
from avmi.decode.choose import choose_decoder
from avmi.decode.memory import RememberingDecoder
from avmi.distributed import rank, world_size
from avmi.errors import CorpusError
from avmi.store.order import ShardOrder
from avmi.training.runs.progress import Progress
from avmi.types import Split, StrPath
from avmi.views.make import ViewMaker


def open_corpus(corpus: StrPath, data: Data) -> Manifest:
    """Read a corpus without the videos that the settings leave out.

    What an address needs goes into the cache that they name. Raises `CorpusError` when nothing is left.
    """
    folder = local_folder(corpus, cache=data.shard_cache, cache_gigabytes=data.shard_cache_gigabytes)
    manifest = read_manifest(folder)
    kept = manifest.without(*data.exclude)
    if data.exclude and not len(kept):
        raise CorpusError(
            f"{corpus}: data.exclude ({', '.join(data.exclude)}) leaves out all {len(manifest):,} videos: "
            "name fewer findings"
        )
    return kept


@dataclass(frozen=True)
class Feed:
    """Clips of a corpus, cut into views as the settings say; every process takes its share."""

    manifest: Manifest
    views: Mapping[str, SignalView]
    image: ImageInput
    log_mel: LogMel
    data: Data

    def stream(
        self,
        *,
        pairs: Sequence[tuple[str, str]],
        seed: int,
        split: Split = "train",
        quarantine: Quarantine | None = None,
    ) -> TrainingStream:
        """Draw clips of a split without end; raises `CorpusError` when none is long enough.

        Videos that hang or crash are remembered in `quarantine`, without one for as long as the stream lives.
        """
        most_bytes = round(self.data.memory_gigabytes * 1e9)
        cutter = self._cutter(self.manifest.split(split))
        if most_bytes:
            remembering = RememberingDecoder(cutter.decoder, most_bytes=most_bytes)
            cutter = dataclasses.replace(cutter, decoder=remembering)
        return TrainingStream(
            cutter,
            pairs=pairs,
            clips_per_video=self.data.clips_per_video,
            seed=seed,
            quarantine=quarantine,
            order=self._order(cutter.manifest),
        )

    def batches(
        self,
        stream: TrainingStream,
        optimizer: Optimizer,
        *,
        begun: Progress,
        device: torch.device,
    ) -> Loader:
        """Load this process's batches of the stream from where the run stands."""
        positions = StreamBatches(
            first_step=begun.step * optimizer.accumulation_steps,
            first_position=begun.visits,
            steps=optimizer.steps * optimizer.accumulation_steps,
            videos_per_batch=self.data.batch_clips // self.data.clips_per_video,
            rank=rank(),
            world_size=world_size(),
        )
        pin = device.type == "cuda"
        return training_loader(
            stream, positions, workers=self.data.workers, limits=Limits.of(self.data), pin_memory=pin
        )

    def fixed(self, split: Split, *, required: Sequence[str], most: int | None = None) -> FixedClips:
        """Choose this process's share of evenly spread clips of a split, at most `most` for all."""
        cutter = self._cutter(self.manifest.split(split))
        specs = evaluation_clips(
            cutter.manifest,
            self.views,
            required=required,
            hop_seconds=self.data.evaluation_hop_seconds,
            most_per_video=self.data.evaluation_clips_per_video,
        )
        if most is not None and len(specs) > most:
            specs = specs[:: -(-len(specs) // most)]
        return FixedClips(cutter, specs[rank() :: world_size()])

    def fixed_batches(self, clips: FixedClips) -> Loader:
        """Load fixed clips once, in order, with the workers of training."""
        return fixed_loader(clips, workers=self.data.workers, limits=Limits.of(self.data))

    def _order(self, manifest: Manifest) -> PassOrder:
        """Visit the shards of an address a few at a time, so that each is fetched once a pass."""
        if manifest.corpus is None or read_remote(manifest.corpus) is None:
            return shuffled
        return ShardOrder(manifest, self.data.shards_at_a_time)

    def _cutter(self, manifest: Manifest) -> Cutter:
        maker = ViewMaker(self.views, image=self.image, log_mel=self.log_mel)
        decoder = choose_decoder(
            self.data.decoder, fallback=self.data.decoder_fallback, corpus=manifest.corpus
        )
        return Cutter(manifest, maker, decoder)
