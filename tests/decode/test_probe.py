import base64
import io
import time

import numpy as np
import pytest
from making import Encoding, make_clip, noise, numbered_picture, write_video
from PIL import Image
from turning import turn

from avmi.corpus.assemble import assemble
from avmi.corpus.pool import Outcome
from avmi.corpus.source import Entry
from avmi.decode import probe as probe_module
from avmi.decode.probe import probe, probe_without_decord, thumbnail
from avmi.errors import DecodeError


def test_what_a_probe_finds_fills_a_row_of_the_manifest(tmp_path):
    facts = probe(make_clip(tmp_path / "a.mp4", seconds=1.5))
    entry = Entry("a.mp4", "label", None, 1, 1)
    (video,) = assemble([(entry, Outcome(facts))], earlier=(), fractions=(1.0, 0.0, 0.0)).videos
    assert (video.video_end_seconds, video.decord_exact, video.split) == (pytest.approx(1.5), True, "train")
    assert video.content_hash.startswith(video.video_id)


def test_the_second_probe_finds_the_same_and_keeps_decord_out(tmp_path):
    path = make_clip(tmp_path / "a.mp4", seconds=1.5)
    first, second = probe(path), probe_without_decord(path)
    unlike = {name for name in first if first[name] != second.get(name)}
    assert unlike == {"decord_exact", "decord_reason", "index_reason", "packets"}
    assert (second["decord_exact"], second["decord_reason"]) == (False, "decord hangs or crashes on it")


def test_whatever_decord_does_the_video_stays_usable(tmp_path, monkeypatch):
    path = make_clip(tmp_path / "a.mp4", seconds=1.5)

    def fails(*_args, **_more):
        raise OverflowError("what nobody thought of")

    monkeypatch.setattr(probe_module, "decord_exactness", fails)
    facts = probe(path)
    assert (facts["decord_exact"], facts["decord_reason"]) == (False, "decord fails: OverflowError")


def test_an_unusable_file_is_refused_before_decord_sees_it(tmp_path, monkeypatch):
    path = make_clip(tmp_path / "a.mp4", tone_hz=None)
    monkeypatch.setattr(probe_module, "decord_exactness", lambda *_a, **_m: pytest.fail("decord was asked"))
    with pytest.raises(DecodeError) as error:
        probe(path)
    assert error.value.reason == "no_audio"


@pytest.mark.parametrize(("clockwise", "size"), [(0, (180, 120)), (90, (120, 180))])
def test_a_thumbnail_is_small_upright_and_from_the_middle(tmp_path, clockwise, size):
    path = tmp_path / "a.mp4"
    levels = np.linspace(0, 240, 48)
    write_video(
        path,
        pictures=(np.full((160, 240, 3), level, np.uint8) for level in levels),
        times_seconds=np.arange(48) / 12,
        frame_rate=12,
        samples=noise(4.0, sample_rate_hz=48000),
        encoding=Encoding(gop=6),
    )
    picture = Image.open(io.BytesIO(base64.b64decode(thumbnail(turn(path, clockwise))["jpeg"])))
    assert picture.size == size
    assert levels[16] < np.asarray(picture).mean() < levels[30]


def test_probing_a_clip_takes_some_hundredths_of_a_second(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(
        path,
        pictures=(numbered_picture(i % 1024, size=(256, 192)) for i in range(200)),
        times_seconds=np.arange(200) / 25,
        samples=noise(8.0, sample_rate_hz=44100),
        sample_rate_hz=44100,
        encoding=Encoding(gop=25),
    )
    probe(path)  # imports
    begun = time.process_time()
    for _ in range(3):
        probe(path)
    assert (time.process_time() - begun) / 3 < 0.25  # measured 0.04: only a gross mistake fails here
