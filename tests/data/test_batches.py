"""Visits → batches, and fixed clips in their order."""

import dataclasses
import hashlib

import pytest
import torch
from streams_for_tests import (
    VIEWS,
    assert_same,
    cutter_of,
    manifest_of,
    specs_at,
)

from avmi.corpus.manifest import Reject
from avmi.corpus.plan import evaluation_clips
from avmi.data import (
    Batch,
    FixedClips,
    Visit,
    collate,
    fixed_loader,
    stable_seed,
)


def test_a_view_that_a_clip_does_not_reach_is_left_out_and_its_rows_are_named() -> None:
    manifest = manifest_of(4)
    # Sound three seconds later is there in the first half second only.
    specs = specs_at(manifest, (1, 2.0), (1, 0.25), (3, 1.0), (3, 0.5), (2, 3.5), (2, 0.0))
    (batch,) = fixed_loader(FixedClips(cutter_of(manifest), specs), workers=0)

    assert batch.specs == tuple(specs)
    assert batch.videos.tolist() == [1, 1, 3, 3, 2, 2]
    rows = {name: row.tolist() for name, row in batch.rows.items()}
    assert rows == {"image": [0, 1, 2, 3, 5], "sound": [0, 1, 2, 3, 5], "far": [1, 3, 5]}
    assert {name: len(tensor) for name, tensor in batch.views.items()} == {"image": 5, "sound": 5, "far": 3}
    # The pictures carry the number of their video and their second.
    assert batch.views["image"][:, 0, 0, 0].tolist() == [10, 10, 30, 30, 20]
    assert batch.views["image"][:, 1, 0, 0].tolist() == [50, 15, 30, 20, 10]


def test_a_view_that_no_clip_reaches_is_not_in_the_batch() -> None:
    manifest = manifest_of(2)
    (batch,) = fixed_loader(FixedClips(cutter_of(manifest), specs_at(manifest, (1, 2.0))), workers=0)
    assert set(batch.views) == set(batch.rows) == {"image", "sound"}


def test_fixed_clips_come_once_and_in_order_with_whole_videos_in_a_batch() -> None:
    manifest = manifest_of(5)
    specs = evaluation_clips(manifest, VIEWS, required=("image", "sound"), hop_seconds=1.0, most_per_video=3)
    batches = list(fixed_loader(FixedClips(cutter_of(manifest), specs), workers=0, videos_per_batch=2))
    assert [len(batch.specs) for batch in batches] == [6, 6, 3]
    assert tuple(spec for batch in batches for spec in batch.specs) == specs
    assert torch.cat([batch.videos for batch in batches]).tolist() == [n for n in range(5) for _ in range(3)]


def test_a_fixed_video_that_cannot_be_read_is_a_reject_and_not_replaced() -> None:
    manifest = manifest_of(3)
    clips = FixedClips(
        cutter_of(manifest, broken=["1.mp4"]), specs_at(manifest, (0, 0.0), (1, 0.0), (2, 0.0))
    )
    (batch,) = fixed_loader(clips, workers=0)
    assert [spec.video.path for spec in batch.specs] == ["0.mp4", "2.mp4"]
    assert batch.rejects == (Reject("1.mp4", "damaged", "/nowhere/1.mp4 is broken"),)


def test_a_batch_of_rejects_alone_is_empty() -> None:
    reject = Reject("1.mp4", "damaged", "")
    batch = collate([Visit((), (reject,)), Visit((), ())])
    assert batch.views == {}
    assert batch.rows == {}
    assert batch.specs == ()
    assert batch.videos.shape == (0,)
    assert batch.rejects == (reject,)


def test_moving_a_batch_keeps_everything() -> None:
    manifest = manifest_of(4)
    clips = FixedClips(
        cutter_of(manifest, broken=["0.mp4"]), specs_at(manifest, (0, 0.0), (1, 2.0), (3, 0.25))
    )
    (batch,) = fixed_loader(clips, workers=0)
    moved = batch.to(torch.device("cpu"))
    assert moved is not batch
    assert_same(moved, batch)
    assert moved.rejects
    assert {field.name for field in dataclasses.fields(Batch)} == {
        "views", "rows", "videos", "seconds", "specs", "rejects"
    }  # fmt: skip
    # Another device than that of the batch shows that every tensor goes along.
    elsewhere = batch.to(torch.device("meta"))
    tensors = [*elsewhere.views.values(), *elsewhere.rows.values(), elsewhere.videos, elsewhere.seconds]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert elsewhere.specs == batch.specs


def test_a_batch_tells_the_second_of_every_clip_in_a_number_that_every_device_has() -> None:
    manifest = manifest_of(4)
    (batch,) = fixed_loader(
        FixedClips(cutter_of(manifest), specs_at(manifest, (1, 2.125), (3, 0.25), (3, 0.1))), workers=0
    )
    assert batch.seconds.dtype == torch.float32  # Apple's GPUs have no float64
    assert batch.seconds.tolist() == pytest.approx([spec.anchor_seconds for spec in batch.specs])
    assert batch.seconds.tolist() == pytest.approx([2.125, 0.25, 0.1])


def test_pinning_a_batch_keeps_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    manifest, pinned = manifest_of(4), []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor.clone())
    clips = FixedClips(cutter_of(manifest, broken=["0.mp4"]), specs_at(manifest, (0, 0.0), (3, 0.25)))
    (batch,) = fixed_loader(clips, workers=0)
    assert_same(batch.pin_memory(), batch)
    assert len(pinned) == 2 * len(batch.views) + 2


def test_seeds_are_the_same_in_every_process_and_every_python() -> None:
    assert (
        stable_seed(7, "order", 3) == int(hashlib.blake2b(b"7/order/3", digest_size=8).hexdigest(), 16) // 4
    )
    assert stable_seed(1, 23) != stable_seed(12, 3)
    assert all(0 <= stable_seed(n) < 2**62 for n in range(100))
