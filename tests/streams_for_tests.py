"""A manifest of files that do not exist, and streams of its clips."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from corpora import video_row
from decoders_for_tests import FakeDecoder

from avmi.config.parts import ImageInput, LogMel
from avmi.config.views import AudioView, FrameView
from avmi.corpus.manifest import Manifest
from avmi.corpus.plan import ClipSpec, SignalView, cut
from avmi.data import (
    Batch,
    Cutter,
    Limits,
    Quarantine,
    StreamBatches,
    TrainingStream,
    Visit,
    training_loader,
)
from avmi.views.make import ViewMaker

VIEWS: dict[str, SignalView] = {
    "image": FrameView(kind="frame", at_seconds=0.5),
    "sound": AudioView(kind="audio", window_seconds=1.0),
    "far": AudioView(kind="audio", at_seconds=3.0, window_seconds=0.5),
}
PAIRS = [("image", "sound")]
QUICK = Limits(time_limit_seconds=0.5)


def manifest_of(videos: int, **changes: object) -> Manifest:
    rows = (video_row(f"{number}.mp4", label=f"label {number % 2}", **changes) for number in range(videos))
    return Manifest(root=Path("/nowhere"), videos=tuple(rows))


def cutter_of(
    manifest: Manifest, *, broken: Sequence[str] = (), moods=None, folder=None, views=VIEWS
) -> Cutter:
    maker = ViewMaker(views, image=ImageInput(size_px=32), log_mel=LogMel(mel_bins=8))
    return Cutter(manifest, maker, FakeDecoder(broken=broken, moods=moods, folder=folder))


def stream_of(
    manifest: Manifest,
    *,
    broken: Sequence[str] = (),
    moods: Mapping[str, str] | None = None,
    folder: Path | None = None,
    clips_per_video: int = 1,
    seed: int = 0,
    quarantine: Quarantine | None = None,
) -> TrainingStream:
    cutter = cutter_of(manifest, broken=broken, moods=moods, folder=folder)
    return TrainingStream(
        cutter, pairs=PAIRS, clips_per_video=clips_per_video, seed=seed, quarantine=quarantine
    )


def paths_of(visit: Visit) -> list[str]:
    return [sample.spec.video.path for sample in visit.samples]


def clips_of(stream: TrainingStream, positions: Sequence[int]) -> list[str]:
    return [sample.spec.clip_id for position in positions for sample in stream[position].samples]


def assert_same(one: Batch, other: Batch) -> None:
    assert one.specs == other.specs
    assert one.rejects == other.rejects
    assert torch.equal(one.videos, other.videos)
    assert torch.equal(one.seconds, other.seconds)
    assert list(one.views) == list(other.views)
    for name, tensor in one.views.items():
        assert torch.equal(tensor, other.views[name])
        assert torch.equal(one.rows[name], other.rows[name])


def steps(
    stream: TrainingStream,
    *,
    first: int,
    until: int,
    videos: int,
    rank: int = 0,
    ranks: int = 1,
    workers: int = 0,
    limits: Limits = QUICK,
) -> list[Batch]:
    batches = StreamBatches(
        first_step=first, steps=until, videos_per_batch=videos, rank=rank, world_size=ranks
    )
    assert len(batches) == until - first
    return list(training_loader(stream, batches, workers=workers, limits=limits))


def specs_at(manifest: Manifest, *anchors: tuple[int, float]) -> list[ClipSpec]:
    return [cut(manifest.videos[number], VIEWS, anchor) for number, anchor in anchors]
