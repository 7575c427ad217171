"""Clips of the train split → mean and standard deviation of their log-mel values, against numpy."""

from pathlib import Path

import corpora
import numpy as np
import pytest

from avmi.config.parts import ImageInput, LogMel
from avmi.config.views import AudioView, FrameView
from avmi.corpus.manifest import read_manifest
from avmi.corpus.plan import SignalView
from avmi.data import Cutter, TrainingStream
from avmi.decode.pyav import PyAvDecoder
from avmi.training.statistics import measure_log_mel
from avmi.views.make import ViewMaker

VIEWS: dict[str, SignalView] = {
    "image": FrameView(kind="frame"),
    "sound": AudioView(kind="audio", window_seconds=0.5),
    "far": AudioView(kind="audio", at_seconds=1.2, window_seconds=0.5),
}


def stream_of(corpus: Path, views: dict[str, SignalView] = VIEWS, *, pair=("image", "sound")):
    maker = ViewMaker(views, image=ImageInput(size_px=32), log_mel=LogMel(mel_bins=16))
    cutter = Cutter(read_manifest(corpus).split("train"), maker, PyAvDecoder())
    return TrainingStream(cutter, pairs=[pair], clips_per_video=2, seed=5)


def test_the_statistics_are_those_of_all_values_of_the_audio_views(tiny_corpus: Path) -> None:
    found = measure_log_mel(stream_of(tiny_corpus), clips=7)
    assert measure_log_mel(stream_of(tiny_corpus), clips=7, workers=2) == found
    stream, values = stream_of(tiny_corpus), []
    for position in range(4):  # seven clips are four visits of two
        for sample in stream[position].samples:
            values += [view.numpy().ravel() for name, view in sample.views.items() if name != "image"]
    joined = np.concatenate(values).astype(np.float64)
    assert len(values) > 8  # the far sound is there in some clips
    assert found.mean == pytest.approx(joined.mean(), rel=1e-6)
    assert found.std == pytest.approx(joined.std(), rel=1e-6)


def test_a_small_corpus_is_not_read_over_and_over(tiny_corpus: Path, monkeypatch) -> None:
    stream, read, turn = stream_of(tiny_corpus), [], TrainingStream.turn
    monkeypatch.setattr(TrainingStream, "turn", lambda self, n: read.append(n) or turn(self, n))
    measure_log_mel(stream, clips=10_000)
    assert read == list(range(4 * 9))


def test_a_corpus_without_sound_views_has_neutral_statistics(tiny_corpus: Path) -> None:
    views: dict[str, SignalView] = {
        "image": FrameView(kind="frame"),
        "late": FrameView(kind="frame", at_seconds=0.5),
    }
    found = measure_log_mel(stream_of(tiny_corpus, views, pair=("image", "late")), clips=4)
    assert (found.mean, found.std) == (0.0, 1.0)


def test_a_silent_corpus_has_a_spread_above_zero(tmp_path: Path, monkeypatch) -> None:
    make = corpora.make_clip
    monkeypatch.setattr(corpora, "make_clip", lambda path, **kw: make(path, **{**kw, "loudness": 0.0}))
    corpus = corpora.make_corpus(tmp_path, labels=["red"], splits=["train"], seconds=1.5)
    found = measure_log_mel(stream_of(corpus), clips=4)
    assert found.mean == pytest.approx(np.log(1e-6), abs=1e-3)
    assert found.std >= 1e-3
