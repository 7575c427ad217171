"""Batches with rejects → counts and lines of the log."""

import pytest

from avmi.corpus.manifest import Reject
from avmi.data import Visit, collate
from avmi.training.watching.rejects import RejectedVideos


def test_rejects_are_named_and_counted_by_reason_from_the_start(caplog: pytest.LogCaptureFixture) -> None:
    rejected = RejectedVideos()
    assert rejected.scalars() == {"rejected_videos": 0.0}
    hung, broken = Reject("a.mp4", "time_limit", "too slow"), Reject("b.mp4", "damaged", "no header")
    rejected.add(collate([Visit((), (hung, broken)), Visit((), (hung,))]))
    rejected.add(collate([Visit((), (hung,))]))
    assert rejected.scalars() == {
        "rejected_videos": 4.0,
        "rejected_videos/damaged": 1.0,
        "rejected_videos/time_limit": 3.0,
    }
    assert caplog.text.count("replaced a.mp4: time_limit (too slow)") == 3
    assert caplog.text.count("replaced b.mp4: damaged (no header)") == 1
