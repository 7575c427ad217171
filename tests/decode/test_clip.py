"""Specs of one video → clips, and windows cut out of a waveform."""

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from making import frame_number
from rows import video_row
from truth import Recipe, write_truth

from avmi.config.views import AudioView, FrameView
from avmi.corpus.plan import ClipSpec, cut
from avmi.decode.clip import Waveform, decode_clips
from avmi.decode.pyav import PyAvDecoder
from avmi.errors import DecodeError

VIEWS = {
    "image": FrameView(kind="frame"),
    "motion": FrameView(kind="frame", frames=3, spacing_seconds=0.1),
    "sound": AudioView(kind="audio", window_seconds=1.6),
    "sound_late": AudioView(kind="audio", at_seconds=0.7, window_seconds=0.5),
}


class CountingDecoder:
    """PyAV, counting how often a file is opened."""

    name = "counting"

    def __init__(self):
        self.opened = 0

    def open(self, path, *, video):
        self.opened += 1
        return PyAvDecoder().open(path, video=video)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    recipe = Recipe("mp4", size=(96, 64), frames=150)
    truth = write_truth(tmp_path_factory.mktemp("film") / "a.mp4", recipe)
    row = video_row(str(truth.path), video_end_seconds=6.0, last_frame_seconds=5.96, audio_end_seconds=6.0)
    return truth, row


def clips_of(film, specs, decoder=None):
    truth, _ = film
    return decode_clips(
        specs, truth.path, decoder=decoder or PyAvDecoder(), sample_rate_hz=16000, short_side_px=48
    )


def test_clips_come_in_the_order_of_their_specs_with_the_pictures_asked_for(film):
    _, row = film
    specs = [cut(row, VIEWS, anchor) for anchor in (3.01, 0.43, 4.2, 0.45)]
    decoder = CountingDecoder()
    clips = clips_of(film, specs, decoder)
    assert decoder.opened == 1
    assert [clip.spec for clip in clips] == specs
    for clip in clips:
        numbers = [frame_number(pixels) for pixels in clip.frames.pixels]
        assert numbers == [int(seconds * 25 + 1e-9) for seconds in clip.spec.frame_seconds]
        assert clip.frames.times_seconds == pytest.approx(np.array(numbers) / 25)
        assert clip.frames.pixels.shape[1:] == (48, 72, 3)
        begin, end = clip.spec.audio_seconds
        assert (clip.waveform.start_seconds, clip.waveform.sample_rate_hz) == (begin, 16000)
        assert clip.waveform.end_seconds == pytest.approx(end, abs=1 / 16000)


def test_a_clip_does_not_depend_on_the_others_that_are_cut_with_it(film):
    _, row = film
    rng = random.Random(0)
    specs = [cut(row, VIEWS, rng.uniform(0.1, 4.2)) for _ in range(12)]
    together = clips_of(film, specs)
    for spec, clip in zip(specs, together, strict=True):
        (alone,) = clips_of(film, [spec])
        np.testing.assert_array_equal(clip.frames.pixels, alone.frames.pixels)
        np.testing.assert_array_equal(clip.waveform.samples, alone.waveform.samples)


def test_a_spec_may_ask_for_sound_or_pictures_alone(film):
    _, row = film
    sound, picture = clips_of(
        film,
        [
            ClipSpec(row, 1.0, ("sound",), (), (1.0, 1.5)),
            ClipSpec(row, 2.0, ("image",), (2.0,), None),
        ],
    )
    assert (len(sound.frames.pixels), len(sound.waveform.samples)) == (0, 8000)
    assert (len(picture.frames.pixels), picture.waveform) == (1, None)
    (alone,) = clips_of(film, [sound.spec])
    assert len(alone.frames.times_seconds) == 0


def test_no_specs_give_no_clips_and_open_nothing(film):
    decoder = CountingDecoder()
    assert clips_of(film, [], decoder) == []
    assert decoder.opened == 0


def test_specs_of_two_videos_are_a_mistake_of_the_caller(film):
    _, row = film
    other = ClipSpec(video_row("other.mp4"), 1.0, ("image",), (1.0,), None)
    with pytest.raises(ValueError, match="one video"):
        clips_of(film, [ClipSpec(row, 1.0, ("image",), (1.0,), None), other])


def test_every_clip_that_the_plan_allows_can_be_cut_up_to_the_very_ends(film):
    _, row = film
    longer = dataclasses.replace(row, audio_end_seconds=6.0 + 9e-4)  # containers round
    for video, anchor in ((row, 0.1), (row, 4.4), (longer, 4.4 + 9e-4)):
        spec = cut(video, VIEWS, anchor)
        assert spec.views == tuple(VIEWS)
        (clip,) = clips_of(film, [spec])
        clip.waveform.window(anchor, anchor + 1.6)
    last = cut(row, {"image": VIEWS["image"]}, 6.0 - 1e-3)
    (clip,) = clips_of(film, [last])
    assert frame_number(clip.frames.pixels[0]) == 149


@given(
    begin=st.floats(0, 3),
    offset=st.floats(0, 1),
    window=st.floats(0.1, 2),
    rate=st.sampled_from([8000, 16000, 22050, 44100]),
)
def test_every_window_that_lies_within_the_span_can_be_cut(begin, offset, window, rate):
    span = Waveform(
        np.arange(round((offset + window) * rate), dtype=np.float32), sample_rate_hz=rate, start_seconds=begin
    )
    for start in (begin, begin + offset):
        piece = span.window(start, start + window)
        assert len(piece.samples) == round((start + window - start) * rate)
        assert piece.samples[0] == pytest.approx((start - begin) * rate, abs=1)


@pytest.mark.parametrize(("begin", "end"), [(0.9, 1.5), (1.5, 2.1), (0.0, 0.5), (3.0, 3.5), (0.5, 2.5)])
def test_a_window_outside_the_waveform_is_an_error(begin, end):
    with pytest.raises(DecodeError) as error:
        Waveform(np.zeros(8000, np.float32), 8000, 1.0).window(begin, end)
    assert error.value.reason == "audio_short"
