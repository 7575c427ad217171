"""A manifest and views → a stream of visits that depend on (seed, position) alone."""

import dataclasses

import pytest
import torch
from corpora import make_corpus, video_row
from streams_for_tests import (
    PAIRS,
    assert_same,
    clips_of,
    manifest_of,
    paths_of,
    steps,
    stream_of,
)

from avmi.config.parts import ImageInput, LogMel
from avmi.config.views import AudioView, FrameView
from avmi.corpus.manifest import Manifest, Reject, read_manifest
from avmi.corpus.plan import SignalView
from avmi.data import (
    MOST_REPLACEMENTS,
    Cutter,
    StreamBatches,
    TrainingStream,
    training_loader,
)
from avmi.decode.pyav import PyAvDecoder
from avmi.errors import CorpusError, TrainingError
from avmi.views.make import ViewMaker


def test_every_pass_visits_every_video_once_in_an_order_of_its_own() -> None:
    stream = stream_of(manifest_of(7))
    passes = [[paths_of(stream[7 * n + i])[0] for i in range(7)] for n in range(4)]
    for order in passes:
        assert sorted(order) == [f"{number}.mp4" for number in range(7)]
    assert len({tuple(order) for order in passes}) > 1


def test_an_item_does_not_depend_on_what_was_drawn_before() -> None:
    manifest = manifest_of(5)
    forwards = clips_of(stream_of(manifest), range(20))
    backwards = clips_of(stream_of(manifest), range(19, -1, -1))
    assert forwards == backwards[::-1]
    assert clips_of(stream_of(manifest), [13]) == forwards[13:14]


def test_another_seed_draws_other_videos_and_other_anchors() -> None:
    manifest = manifest_of(9)
    first, second = stream_of(manifest, seed=1), stream_of(manifest, seed=2)
    assert clips_of(first, range(9)) != clips_of(second, range(9))
    orders = [[paths_of(stream[i])[0] for i in range(9)] for stream in (first, second)]
    assert orders[0] != orders[1]


def test_anchors_differ_from_visit_to_visit_and_stay_where_the_pair_is_whole() -> None:
    stream = stream_of(manifest_of(1), clips_per_video=3)
    visits = [stream[position] for position in range(30)]
    anchors = [sample.spec.anchor_seconds for visit in visits for sample in visit.samples]
    assert len(set(anchors)) == 90
    # The image is at 0.5 s of four, the sound lasts a second: anchors from 0 to 3.
    assert 0 <= min(anchors) < 0.3
    assert 2.7 < max(anchors) <= 3
    for visit in visits:
        inside = [sample.spec.anchor_seconds for sample in visit.samples]
        assert inside == sorted(inside)


def test_one_visit_opens_the_video_once_for_all_its_clips() -> None:
    stream = stream_of(manifest_of(1), clips_per_video=4)
    assert len(stream[0].samples) == 4
    assert stream.cutter.decoder.opened == {"0.mp4": 1}


def test_intervals_and_copies_of_one_file_count_as_one_video_for_negatives() -> None:
    rows = [
        video_row("0.mp4", video_id="0-first", is_interval=True),
        video_row("1.mp4"),
        video_row("0.mp4", video_id="0-second", is_interval=True, video_start_seconds=2.0),
        video_row("2.mp4", content_hash=video_row("1.mp4").content_hash),
        video_row("3.mp4"),
    ]
    manifest = dataclasses.replace(manifest_of(1), videos=tuple(rows))
    [batch] = steps(stream_of(manifest), first=0, until=1, videos=5)
    numbers: dict[str, set[int]] = {}
    for spec, number in zip(batch.specs, batch.videos.tolist(), strict=True):
        numbers.setdefault(spec.video.path, set()).add(number)
    assert numbers["1.mp4"] == numbers["2.mp4"]
    assert [len(numbers[f"{name}.mp4"]) for name in range(4)] == [1, 1, 1, 1]
    assert len(set().union(*numbers.values())) == 3


def test_a_stream_goes_on_from_a_step_as_if_it_had_never_stopped() -> None:
    manifest = manifest_of(5)
    whole = steps(stream_of(manifest), first=0, until=6, videos=3)
    rest = steps(stream_of(manifest), first=4, until=6, videos=3)
    assert len(rest) == 2
    for one, other in zip(whole[4:], rest, strict=True):
        assert_same(one, other)


@pytest.mark.parametrize("ranks", [2, 3])
def test_the_shares_of_all_ranks_are_the_stream_of_one_process(ranks: int) -> None:
    manifest = manifest_of(7)
    whole = steps(stream_of(manifest), first=1, until=4, videos=2 * ranks)
    shares = [
        steps(stream_of(manifest), first=1, until=4, videos=2, rank=rank, ranks=ranks)
        for rank in range(ranks)
    ]
    for step, batch in enumerate(whole):
        parts = [share[step] for share in shares]
        assert batch.specs == tuple(spec for part in parts for spec in part.specs)
        assert torch.equal(batch.views["image"], torch.cat([part.views["image"] for part in parts]))


def test_videos_too_short_for_every_pair_are_not_drawn() -> None:
    short = video_row("8.mp4", audio_end_seconds=0.9)
    manifest = dataclasses.replace(manifest_of(2), videos=(*manifest_of(2).videos, short))
    stream = stream_of(manifest)
    assert {paths_of(stream[i])[0] for i in range(12)} == {"0.mp4", "1.mp4"}


def test_a_corpus_too_short_for_every_pair_is_refused() -> None:
    with pytest.raises(CorpusError, match="no video of the 3 is long enough for any view pair"):
        stream_of(manifest_of(3, audio_end_seconds=0.5))


def test_a_video_that_cannot_be_read_is_replaced_and_reported() -> None:
    stream = stream_of(manifest_of(5), broken=["3.mp4"], clips_per_video=2)
    order = [paths_of(stream_of(manifest_of(5))[i])[0] for i in range(5)]
    for position in range(5):
        visit = stream[position]
        assert len(visit.samples) == 2
        assert "3.mp4" not in paths_of(visit)
        if order[position] == "3.mp4":
            assert visit.rejects[0] == Reject("3.mp4", "damaged", "/nowhere/3.mp4 is broken")
        else:
            assert visit.rejects == ()
            assert paths_of(visit) == [order[position]] * 2


def test_the_replacement_depends_on_the_position_alone() -> None:
    broken = ["0.mp4", "1.mp4", "3.mp4"]
    forwards = clips_of(stream_of(manifest_of(6), broken=broken), range(12))
    backwards = clips_of(stream_of(manifest_of(6), broken=broken), range(11, -1, -1))
    assert len(forwards) == 12
    assert forwards == backwards[::-1]


def test_twenty_failures_in_a_row_stop_the_run_and_name_the_last_file() -> None:
    stream = stream_of(manifest_of(3), broken=["0.mp4", "1.mp4", "2.mp4"])
    with pytest.raises(TrainingError, match=r"20 videos in a row .* /nowhere/\d\.mp4 .*is broken.*disk"):
        stream[0]
    assert sum(stream.cutter.decoder.opened.values()) == MOST_REPLACEMENTS == 20


@pytest.fixture(scope="module")
def damaged_corpus(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Give four videos of 2 s; after preparing, one was deleted, one cut to a third of its bytes."""
    folder = tmp_path_factory.mktemp("damaged")
    corpus = make_corpus(folder, labels=["blue", "red"], splits=["train", "train"], seconds=2.0)
    manifest = read_manifest(corpus)
    manifest.path_of(manifest.videos[0]).unlink()
    cut_off = manifest.path_of(manifest.videos[2])
    cut_off.write_bytes(cut_off.read_bytes()[: cut_off.stat().st_size // 3])
    return manifest


def real_stream(manifest: Manifest) -> TrainingStream:
    views: dict[str, SignalView] = {
        "image": FrameView(kind="frame", at_seconds=0.5, augment="strong"),
        "sound": AudioView(kind="audio", window_seconds=1.0, augment="strong"),
    }
    maker = ViewMaker(views, image=ImageInput(size_px=32), log_mel=LogMel(mel_bins=8))
    cutter = Cutter(manifest, maker, PyAvDecoder())
    return TrainingStream(cutter, pairs=PAIRS, clips_per_video=2, seed=3)


def test_deleted_and_truncated_files_are_replaced_by_whole_ones(damaged_corpus: Manifest) -> None:
    deleted, _, cut_off, _ = (video.path for video in damaged_corpus)
    stream = real_stream(damaged_corpus)
    visits = [stream[position] for position in range(4)]
    assert {path for visit in visits for path in paths_of(visit)}.isdisjoint({deleted, cut_off})
    rejects = {reject.path: reject for visit in visits for reject in visit.rejects}
    assert set(rejects) == {deleted, cut_off}
    assert all(reject.reason and path in reject.detail for path, reject in rejects.items())


def test_workers_change_nothing(damaged_corpus: Manifest) -> None:
    batches = StreamBatches(first_step=0, steps=4, videos_per_batch=3, rank=0, world_size=1)
    alone = list(training_loader(real_stream(damaged_corpus), batches, workers=0))
    helped = list(training_loader(real_stream(damaged_corpus), batches, workers=2))
    assert len(alone) == len(helped) == 4
    assert any(batch.rejects for batch in alone)
    for one, other in zip(alone, helped, strict=True):
        assert_same(one, other)
