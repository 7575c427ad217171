"""Where a run goes on: the same corpus, or an error; the same number of processes, or a warning."""

import logging
from pathlib import Path

import pytest
from corpora import tiny_config, video_row
from streams_for_tests import manifest_of, stream_of
from torch import nn

from avmi.data import TrainingStream
from avmi.errors import UsageError
from avmi.models.encoders import Encoders, LogMelStatistics
from avmi.training.optimizer import build_optimizer, build_schedule
from avmi.training.runs.progress import Progress
from avmi.training.runs.resume import resumed
from avmi.training.runs.run_folder import Trained, save


@pytest.fixture
def parts(tmp_path: Path):
    config = tiny_config(tmp_path / "corpus", tmp_path / "run")
    encoders = Encoders(config.views, config.encoders, log_mel=LogMelStatistics(0.0, 1.0))
    optimizer = build_optimizer([encoders], config.optimizer)
    schedule = build_schedule(optimizer, config.optimizer)
    return config, Trained(encoders, nn.Linear(2, 3), optimizer, schedule)


def save_at(parts, progress: Progress) -> None:
    config, trained = parts
    save(config.run, trained, config=config, progress=progress, train_videos=["a"], is_best=True, keep=1)


def stream(videos: int = 5, *, seed: int = 0) -> TrainingStream:
    return stream_of(manifest_of(videos), seed=seed)


def test_a_run_that_has_not_begun_begins(parts) -> None:
    corpus = stream().fingerprint()
    assert resumed(*parts, stream(), processes=3) == Progress(0, 0, 3, corpus)


def test_it_goes_on_where_it_was_in_the_stream_and_says_that_the_batches_differ(
    parts, caplog: pytest.LogCaptureFixture
) -> None:
    save_at(parts, Progress(7, 84, 2, stream().fingerprint(), {"bound_nats": 1.25}))
    with caplog.at_level(logging.WARNING, logger="avmi"):
        found = resumed(*parts, stream(), processes=2)
        assert not caplog.records
        other = resumed(*parts, stream(), processes=5)
    assert (found.step, found.visits, found.processes, found.metrics) == (7, 84, 2, {"bound_nats": 1.25})
    assert (other.step, other.visits, other.processes, other.metrics) == (7, 84, 5, {"bound_nats": 1.25})
    assert [record.getMessage() for record in caplog.records] == [
        "resumed at step 7 with 5 process(es), before with 2: the run goes on where it was in the stream of clips "
        "(84 visits), but the batches differ, and so do their negatives"
    ]


def test_a_corpus_with_other_videos_is_refused(parts) -> None:
    save_at(parts, Progress(7, 84, 1, stream(5).fingerprint()))
    with pytest.raises(UsageError, match="does not hold the training videos, in the same order"):
        resumed(*parts, stream(6), processes=1)


def test_a_fingerprint_is_of_the_videos_and_the_order_in_which_they_come() -> None:
    assert stream(5).fingerprint() == stream(5).fingerprint()
    others = [stream(6), stream(5, seed=1)]
    replaced = (*manifest_of(4).videos, video_row("4.mp4", content_hash=64 * "f"))
    others.append(stream_of(manifest_of(5).__class__(root=Path("/nowhere"), videos=replaced)))
    assert len({stream(5).fingerprint(), *(other.fingerprint() for other in others)}) == 4


def test_a_fingerprint_does_not_depend_on_where_the_stream_stands() -> None:
    moved = stream()
    for position in range(12):  # into the third pass
        moved.video_at(position, 0)
    assert moved.fingerprint() == stream().fingerprint()
    assert [moved.video_at(position, 0) for position in range(10)] == [
        stream().video_at(position, 0) for position in range(10)
    ]
