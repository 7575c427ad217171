"""PyAV pictures found by seeking, against a plain decode of the whole file; damage; odd formats."""

import random
from itertools import pairwise

import av
import numpy as np
import pytest
from making import Encoding, frame_number, make_clip, noise, numbered_picture, write_video
from rows import video_row
from truth import PCM_AVI, Recipe, write_truth

from avmi.decode.picture_run import PictureRun
from avmi.decode.pyav import PyAvDecoder
from avmi.decode.rgb import upright_rgb
from avmi.errors import DecodeError

# Small ones of many kinds: TS and FLV, H.264 with reordering, HEVC, AV1, VP9, H.263, MPEG-4 and Xvid in AVI.
EDGE_FILES = (
    "*sd-hls0000000000.ts",
    "*flv_sample-with-key-frame-index.flv",
    "*h265_bframes.mp4",
    "*captions_h265.mp4",
    "*mp4_sample_av1.mp4",
    "*transparent.webm",
    "*h263.3gp",
    "*unflagged-audio-keyframes.avi",
    "*with-large-length.avi",
    "*sample_with_chapters.mkv",
    "*bt601.mp4",
    "*android_slow_motion.mp4",
)


def plain_decode(path):
    """Every picture with its time, by one decode from the start."""
    shown = []
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        zero = container.start_time / 1e6 if container.format.flags & 0x200 else 0.0
        reorders = stream.codec_context.has_b_frames
        for frame in container.decode(stream):
            if len(shown) == 120:  # of the long ones the beginning is enough
                break
            shown.append((float(frame.pts * stream.time_base) - zero, frame))
        if container.format.name == "avi" and reorders:  # one chunk a picture, in order
            shown = [(i * float(stream.time_base), frame) for i, (_, frame) in enumerate(shown)]
    return shown


@pytest.mark.parametrize("pattern", EDGE_FILES)
def test_pictures_found_by_seeking_are_bit_for_bit_those_of_a_plain_decode(pattern, real_clips):
    (path,) = (real_clips / "edge").glob(pattern)
    shown = plain_decode(path)
    rng = random.Random(3)
    with PyAvDecoder().open(path, video=None) as reader:
        last = len(shown) - 2
        for count in (0, 1, 1, 3, 1, 5):
            places = sorted(rng.sample(range(last + 1), count)) or [last]
            times = []
            for place in places:
                (begin, _), (end, _) = shown[place : place + 2]
                times.append(begin + rng.choice([0.0, 0.4]) * (end - begin))
            frames = reader.frames(times, short_side_px=None)
            for place, pixels, seconds in zip(places, frames.pixels, frames.times_seconds, strict=True):
                assert seconds == pytest.approx(shown[place][0], abs=1e-6)
                np.testing.assert_array_equal(pixels, upright_rgb(shown[place][1], short_side_px=None))


def test_skipping_pictures_that_nobody_needs_changes_nothing(tmp_path, monkeypatch):
    long = Encoding(gop=500, b_frames=3)
    truth = write_truth(tmp_path / "a.mp4", Recipe("mp4", frames=150, encoding=long))
    decoded = []
    real = PictureRun.next_picture

    def counting(self, **more):
        picture = real(self, **more)
        decoded.append(picture)
        return picture

    monkeypatch.setattr(PictureRun, "next_picture", counting)
    with PyAvDecoder().open(truth.path, video=None) as reader:
        for place in (149, 97, 140):
            frames = reader.frames([truth.times_seconds[place] + 0.02], short_side_px=None)
            assert frame_number(frames.pixels[0]) == place
    assert len(decoded) < 250  # 388 without skipping


def test_a_picture_that_stands_long_after_a_skipped_one_is_found(tmp_path):
    # The last B-frame before the pause is needed by no other picture, and is what stands on the screen.
    times = np.concatenate([np.arange(40) * 0.04, 5 + np.arange(10) * 0.04])
    path = write_video(
        tmp_path / "a.mp4",
        pictures=(numbered_picture(i) for i in range(50)),
        times_seconds=times,
        encoding=Encoding(gop=500, b_frames=3, video_options={"x264-params": "b-adapt=0:b-pyramid=none"}),
    )
    with PyAvDecoder().open(path, video=None) as reader:
        frames = reader.frames([4.9, 5.3], short_side_px=None)
    assert [frame_number(pixels) for pixels in frames.pixels] == [39, 47]


@pytest.mark.parametrize("fill", ["noise", "zeros"])
def test_a_damaged_stretch_is_an_error_until_the_next_keyframe_and_never_a_wrong_picture(tmp_path, fill):
    truth = write_truth(tmp_path / "a.mp4", Recipe("mp4", size=(192, 128), frames=72))
    file = bytearray(truth.path.read_bytes())
    with av.open(str(truth.path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        position, size = packets[29].pos, packets[29].size
    file[position + 8 : position + size] = (
        np.random.default_rng(0).bytes(size - 8) if fill == "noise" else bytes(size - 8)
    )
    truth.path.write_bytes(file)
    with PyAvDecoder().open(truth.path, video=None) as reader:
        for place in np.random.default_rng(1).permutation(72):
            seconds = [truth.times_seconds[place] + 0.01]
            if 29 <= place < 36:
                with pytest.raises(DecodeError) as error:
                    reader.frames(seconds, short_side_px=None)
                assert error.value.reason == "damaged"
            else:
                assert frame_number(reader.frames(seconds, short_side_px=None).pixels[0]) == place


def test_a_file_that_breaks_off_gives_true_pictures_and_then_errors(tmp_path):
    recipe = Recipe("mp4", frames=100, encoding=Encoding(container_options={"movflags": "faststart"}))
    truth = write_truth(tmp_path / "a.mp4", recipe)
    whole = truth.path.read_bytes()
    truth.path.write_bytes(whole[: len(whole) * 6 // 10])
    row = video_row(video_end_seconds=4.0, last_frame_seconds=3.96)
    for video in (None, row):
        right, errors = [], set()
        for place in range(0, 100, 7):
            with PyAvDecoder().open(truth.path, video=video) as reader:
                try:
                    frames = reader.frames([truth.times_seconds[place] + 0.01], short_side_px=None)
                except DecodeError as error:
                    errors.add(error.reason)
                    continue
            assert frame_number(frames.pixels[0]) == place
            right.append(place)
        assert 5 <= len(right) <= 10
        assert errors <= ({"damaged"} if video else {"damaged", "past_end"})
        with PyAvDecoder().open(truth.path, video=video) as reader, pytest.raises(DecodeError) as error:
            reader.audio(3.0, 3.9, sample_rate_hz=16000)
        assert error.value.reason == "audio_short"


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "suffix"),
    [
        ("ffv1", "bgra", "mkv"),
        ("ffv1", "yuva420p", "mkv"),
        ("ffv1", "gray", "mkv"),
        ("ffv1", "yuv444p10le", "mkv"),
        ("libx264", "yuv420p10le", "mp4"),
        ("libx264", "yuv422p", "mp4"),
        ("mjpeg", "yuvj420p", "mov"),
        ("png", "rgb24", "mov"),
    ],
)
def test_every_pixel_format_becomes_rgb(tmp_path, codec, pix_fmt, suffix):
    level = np.zeros((48, 80, 3), np.uint8)
    level[:, :40], level[:, 40:] = (200, 200, 200), (60, 60, 60)
    path = write_video(
        tmp_path / f"a.{suffix}",
        pictures=[level] * 5,
        times_seconds=np.arange(5) / 25,
        encoding=Encoding(video_codec=codec, pix_fmt=pix_fmt),
    )
    with PyAvDecoder().open(path, video=None) as reader:
        pixels = reader.frames([0.1], short_side_px=None).pixels
    assert pixels.shape == (1, 48, 80, 3)
    assert pixels.dtype == np.uint8
    assert pixels[0, :, :36].mean() == pytest.approx(200, abs=6)
    assert pixels[0, :, 44:].mean() == pytest.approx(60, abs=6)


@pytest.mark.parametrize(
    ("size", "short_side_px", "shape"),
    [
        ((96, 64), 32, (32, 48)),
        ((64, 96), 40, (60, 40)),
        ((96, 64), 128, (128, 192)),
        ((98, 50), 33, (33, 65)),
    ],
)
def test_scaling_gives_the_short_side_asked_for_and_keeps_the_shape(tmp_path, size, short_side_px, shape):
    path = make_clip(tmp_path / "a.mp4", size=size, seconds=0.5)
    with PyAvDecoder().open(path, video=None) as reader:
        assert reader.frames([0.2], short_side_px=short_side_px).pixels.shape == (1, *shape, 3)


def test_files_that_lack_a_stream_say_so(tmp_path):
    silent, blind = make_clip(tmp_path / "a.mp4", tone_hz=None), make_clip(tmp_path / "b.mp4", colour=None)
    with PyAvDecoder().open(silent, video=None) as reader:
        assert len(reader.frames([1.0], short_side_px=None).pixels) == 1
        with pytest.raises(DecodeError) as error:
            reader.audio(0.5, 1.0, sample_rate_hz=16000)
    assert error.value.reason == "no_audio"
    with PyAvDecoder().open(blind, video=None) as reader:
        assert len(reader.audio(0.5, 1.0, sample_rate_hz=8000).samples) == 4000
        with pytest.raises(DecodeError) as error:
            reader.frames([1.0], short_side_px=None)
    assert error.value.reason == "no_video"


@pytest.mark.parametrize("content", [b"", b"no video\n" * 400, None])
def test_a_file_that_is_no_video_is_an_error_with_its_name(tmp_path, content):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DecodeError) as error:
        PyAvDecoder().open(path, video=None)
    assert error.value.reason == "open_failed"
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", ["-dash.mp4", "a:b.mp4", "two words'\".mp4", "птица 鳥.mp4", "100%d.mp4"])
def test_odd_file_names_are_files(tmp_path, monkeypatch, name):
    make_clip(tmp_path / "a.mp4", seconds=0.5).rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    with PyAvDecoder().open(tmp_path.relative_to(tmp_path) / name, video=None) as reader:
        assert len(reader.frames([0.2], short_side_px=None).pixels) == 1


def test_times_that_do_not_ascend_are_a_mistake_of_the_caller(tmp_path):
    path = make_clip(tmp_path / "a.mp4", seconds=1.0)
    with PyAvDecoder().open(path, video=None) as reader, pytest.raises(ValueError, match="ascend"):
        reader.frames([0.5, 0.2], short_side_px=None)


def test_uncoded_avi_chunks_keep_the_last_picture_on_the_screen(tmp_path):
    # An AVI that holds a picture back writes empty chunks: time goes on, no picture comes.
    times = np.array([0, 1, 2, 5, 6, 9]) / 25
    path = write_video(
        tmp_path / "a.avi",
        pictures=(numbered_picture(i) for i in range(6)),
        times_seconds=times,
        samples=noise(0.4, sample_rate_hz=16000),
        sample_rate_hz=16000,
        encoding=PCM_AVI,
    )
    with PyAvDecoder().open(path, video=None) as reader:
        for place, (begin, end) in enumerate(pairwise(times)):
            frames = reader.frames([begin, end - 0.001], short_side_px=None)
            assert [frame_number(pixels) for pixels in frames.pixels] == [place, place]
            assert frames.times_seconds == pytest.approx([begin, begin])


def test_one_decoder_uses_one_thread(tmp_path):
    with PyAvDecoder().open(make_clip(tmp_path / "a.mp4"), video=None) as reader:
        streams = (reader._file.video, reader._file.audio)
        assert [stream.codec_context.thread_count for stream in streams] == [1, 1]
