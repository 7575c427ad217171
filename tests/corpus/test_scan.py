from pathlib import Path

import av
import numpy as np
import pytest
from making import Encoding, make_clip, noise, numbered_picture, write_video
from PIL import Image
from turning import turn

from avmi.corpus.scan import Scan, scan
from avmi.errors import DecodeError


def numbered(path: Path, times, *, seconds: float, encoding: Encoding | None = None, **sound) -> Scan:
    write_video(
        path,
        pictures=(numbered_picture(i) for i in range(len(times))),
        times_seconds=times,
        samples=noise(seconds, sample_rate_hz=48000),
        encoding=encoding or Encoding(),
        **sound,
    )
    return scan(path)


def reason_of(path: Path) -> str:
    with pytest.raises(DecodeError) as error:
        scan(path)
    return error.value.reason


@pytest.mark.parametrize(
    ("suffix", "container", "video", "audio", "rate"),
    [
        ("mp4", "mov", "h264", "aac", 16000),
        ("mkv", "matroska", "h264", "aac", 16000),
        ("webm", "matroska", "vp9", "opus", 48000),
        ("avi", "avi", "mpeg4", "pcm_s16le", 16000),
        ("flv", "flv", "h264", "aac", 16000),
        ("ts", "mpegts", "h264", "aac", 16000),
    ],
)
def test_every_container_gives_its_facts(tmp_path, suffix, container, video, audio, rate):
    path = make_clip(tmp_path / f"a.{suffix}", seconds=2.5, frame_rate=12, size=(96, 64))
    facts = scan(path).facts
    assert (facts.container, facts.video_codec, facts.audio_codec) == (container, video, audio)
    assert (facts.width_px, facts.height_px, facts.rotation_degrees) == (96, 64, 0)
    assert (facts.sample_rate_hz, facts.channels) == (rate, 1)
    assert facts.frame_rate == pytest.approx(12, rel=1e-3)
    assert not facts.is_variable_frame_rate
    # TS and FLV begin with the encoder's priming of 64 ms
    late = 0.064 if suffix in ("ts", "flv") else 0.0
    assert facts.video_start_seconds == pytest.approx(late, abs=1.1e-3)
    assert facts.last_frame_seconds == pytest.approx(late + 29 / 12, abs=1.1e-3)
    assert facts.video_end_seconds == pytest.approx(late + 2.5, abs=1.1e-3)
    assert facts.audio_start_seconds == pytest.approx(0.0, abs=1.1e-3)
    assert 2.499 < facts.audio_end_seconds < 2.63
    assert facts.size_bytes == path.stat().st_size


def test_loudness_is_the_rms_of_the_tone(tmp_path):
    facts = scan(make_clip(tmp_path / "a.avi", loudness=0.25)).facts
    assert facts.loudness_dbfs == pytest.approx(20 * np.log10(0.25 / np.sqrt(2)), abs=0.02)
    assert not facts.is_silent


@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
def test_loudness_of_seven_and_one_channels_is_that_of_their_mean(tmp_path, codec):
    gains = np.array([1.0, 0.5, 0.0, 0.0, 0.5, 0.0, 0.25, 0.0], np.float32)
    tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(96000) / 48000)
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        audio = out.add_stream(codec, rate=48000, layout="7.1")
        for i in range(50):
            frame = av.VideoFrame.from_ndarray(numbered_picture(i), format="rgb24")
            out.mux(video.encode(frame))
        packed = np.ascontiguousarray((gains[:, None] * tone).T.reshape(1, -1).astype(np.float32))
        sound = av.AudioFrame.from_ndarray(packed, format="flt", layout="7.1")
        sound.sample_rate = 48000
        resampler = av.AudioResampler(format=audio.codec_context.format, layout="7.1")
        for frame in [*resampler.resample(sound), *resampler.resample(None)]:
            out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
        out.mux(video.encode(None))
    facts = scan(path).facts
    assert facts.channels == 8
    # AAC loses a little.
    assert facts.loudness_dbfs == pytest.approx(20 * np.log10(0.3 / np.sqrt(2) * gains.mean()), abs=0.3)


def test_silence_and_standing_still_are_facts_and_no_reasons_to_reject(tmp_path):
    silent = scan(make_clip(tmp_path / "silent.mp4", loudness=0.0)).facts
    still = scan(make_clip(tmp_path / "still.mp4", moving=False)).facts
    assert (silent.is_silent, silent.loudness_dbfs, silent.is_still) == (True, -120.0, False)
    assert (still.is_silent, still.is_still) == (False, True)


def test_a_still_picture_encoded_badly_is_still(tmp_path):
    rough = np.random.default_rng(0).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(rough).resize((320, 240), Image.Resampling.BICUBIC))
    write_video(
        tmp_path / "a.mp4",
        pictures=(picture for _ in range(60)),
        times_seconds=np.arange(60) / 20,
        frame_rate=20,
        samples=noise(3.0, sample_rate_hz=48000),
        encoding=Encoding(gop=15, b_frames=2, video_options={"crf": "35"}),
    )
    assert scan(tmp_path / "a.mp4").facts.is_still


def test_a_small_thing_that_moves_for_a_moment_only_at_the_middle_is_not_still(tmp_path):
    def picture(i: int) -> np.ndarray:
        grey = np.full((64, 96, 3), 90, np.uint8)
        if 20 <= i < 40:
            grey[28:36, 40:52] = 200
        return grey

    write_video(
        tmp_path / "a.mp4",
        pictures=(picture(i) for i in range(60)),
        times_seconds=np.arange(60) / 20,
        frame_rate=20,
        samples=noise(3.0, sample_rate_hz=48000),
        encoding=Encoding(gop=250),
    )
    assert not scan(tmp_path / "a.mp4").facts.is_still


def test_a_late_start_of_the_pictures_is_measured(tmp_path):
    facts = numbered(tmp_path / "a.mp4", 0.5 + np.arange(50) / 25, seconds=2.4).facts
    assert facts.video_start_seconds == pytest.approx(0.5)
    assert facts.video_end_seconds == pytest.approx(2.5)
    assert facts.audio_start_seconds == pytest.approx(0.0, abs=1e-4)
    assert facts.audio_end_seconds == pytest.approx(2.4, abs=1e-3)


def test_a_late_start_of_the_sound_is_measured(tmp_path):
    facts = numbered(tmp_path / "a.mkv", np.arange(50) / 25, seconds=1.0, audio_start_seconds=0.7).facts
    assert facts.audio_start_seconds == pytest.approx(0.7, abs=1.1e-3)
    assert facts.audio_end_seconds == pytest.approx(1.7, abs=0.022)


def test_a_variable_frame_rate_is_measured_as_what_it_is(tmp_path):
    times = np.cumsum([0.0, *[0.04, 0.08] * 20])
    found = numbered(tmp_path / "a.mkv", times, seconds=2.4)
    assert found.facts.is_variable_frame_rate
    assert found.facts.frame_rate == pytest.approx(40 / 2.4, rel=1e-3)
    assert np.array(found.times_seconds) == pytest.approx(times, abs=0.6e-3)


@pytest.mark.parametrize(("clockwise", "size"), [(90, (64, 96)), (180, (96, 64)), (270, (64, 96))])
def test_a_rotated_video_has_the_size_it_is_shown_in(tmp_path, clockwise, size):
    numbered(tmp_path / "a.mp4", np.arange(25) / 25, seconds=1.0)
    facts = scan(turn(tmp_path / "a.mp4", clockwise)).facts
    assert facts.rotation_degrees == clockwise
    assert (facts.width_px, facts.height_px) == size


@pytest.mark.parametrize("encoding", [Encoding(gop=7), Encoding(gop=250, b_frames=3)])
def test_all_pictures_times_and_keyframes_are_given_in_order(tmp_path, encoding):
    found = numbered(tmp_path / "a.mp4", np.arange(60) / 25, seconds=2.4, encoding=encoding)
    assert np.array(found.times_seconds) == pytest.approx(np.arange(60) / 25)
    assert np.array(found.key_seconds) == pytest.approx(np.arange(0, 60, encoding.gop) / 25)
    assert not found.has_discarded


@pytest.mark.parametrize("codec", ["mpeg4", "libx264"])
def test_an_avi_with_b_frames_is_timed_by_its_chunks(tmp_path, codec):
    encoding = Encoding(video_codec=codec, b_frames=2, audio_codec="pcm_s16le", ticks_hz=None)
    found = numbered(tmp_path / "a.avi", np.arange(60) / 25, seconds=2.4, encoding=encoding)
    assert np.array(found.times_seconds) == pytest.approx(np.arange(60) / 25)


def test_the_content_hash_is_blake2b_of_the_whole_file(tmp_path):
    import hashlib

    path = make_clip(tmp_path / "a.mp4", seconds=1.0)
    assert scan(path).facts.content_hash == hashlib.blake2b(path.read_bytes(), digest_size=32).hexdigest()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"tone_hz": None}, "no_audio"),
        ({"colour": None}, "no_video"),
        ({"seconds": 0.4}, "too_short"),
    ],
)
def test_a_lacking_stream_or_length_is_named(tmp_path, options, reason):
    assert reason_of(make_clip(tmp_path / "a.mp4", **options)) == reason


def test_streams_that_hardly_meet_are_too_short_and_the_detail_says_which(tmp_path):
    with pytest.raises(DecodeError) as error:
        numbered(tmp_path / "a.mkv", np.arange(25) / 25, seconds=1.0, audio_start_seconds=0.8)
    assert error.value.reason == "too_short"
    assert "share 0.20 s" in str(error.value)
    assert "pictures from 0.00 to 1.00 s, sound from 0.80" in str(error.value)


def test_a_song_with_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.m4a"), "w", format="mp4") as out:
        audio = out.add_stream("aac", rate=48000, layout="mono")
        cover = out.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        picture = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24")
        packets = cover.encode(picture) + cover.encode(None)
        frame = av.AudioFrame.from_ndarray(noise(1.0, sample_rate_hz=48000)[None], "fltp", "mono")
        frame.sample_rate = 48000
        out.mux(packets)
        out.mux(audio.encode(frame))
        out.mux(audio.encode(None))
    assert reason_of(tmp_path / "a.m4a") == "no_video"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"hello, I am a text\n" * 50, "text, not a video: it begins 'hello, I am"),
        (b"<!DOCTYPE html><title>404</title>", "<!DOCTYPE html>"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nhi\n\n", "neither picture nor sound"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nhttp://127.0.0.1:9/x.ts\n", "text, not a video"),
        (bytes(5000), "zero bytes"),
        (np.random.default_rng(1).bytes(9000), "no container"),
    ],
)
def test_what_is_no_media_is_called_so(tmp_path, content, says):
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DecodeError) as error:
        scan(path)
    assert error.value.reason == "not_media"
    assert says in str(error.value)


def test_a_photo_with_the_name_of_a_video_is_no_media(tmp_path):
    Image.new("RGB", (64, 48)).save(tmp_path / "a.png")
    assert reason_of((tmp_path / "a.png").rename(tmp_path / "a.mp4")) == "not_media"


def test_a_file_that_may_not_be_read_is_unreadable(tmp_path, monkeypatch):
    path = make_clip(tmp_path / "a.mp4", seconds=1.0)

    def denied(*_args, **_more):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)
    assert reason_of(path) == "unreadable"


FAST_START = Encoding(container_options={"movflags": "faststart"})


@pytest.mark.parametrize(
    ("name", "encoding", "share"),
    [
        ("index_at_the_end.mp4", Encoding(), 0.8),
        ("index_at_the_start.mp4", FAST_START, 0.6),
        ("in_the_index.mp4", FAST_START, 0.02),
        ("a.mkv", Encoding(), 0.5),
        ("a.avi", Encoding(video_codec="mpeg4", audio_codec="pcm_s16le", ticks_hz=None), 0.6),
        ("a.flv", Encoding(ticks_hz=1000), 0.5),
    ],
)
def test_a_file_that_was_cut_off_is_truncated(tmp_path, name, encoding, share):
    path = tmp_path / name
    numbered(path, np.arange(100) / 25, seconds=4.0, encoding=encoding)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert reason_of(path) == "truncated"


def test_a_transport_stream_that_was_cut_off_is_a_shorter_one(tmp_path):
    path = tmp_path / "a.ts"
    numbered(path, np.arange(100) / 25, seconds=4.0)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert 1.5 < scan(path).facts.video_end_seconds < 2.5


def test_pictures_that_do_not_decode_are_a_decode_error(tmp_path):
    # Sound first, so that zeros in the second half of the data hit pictures only.
    path = tmp_path / "a.mp4"
    numbered(path, np.arange(200) / 25, seconds=1.0, encoding=FAST_START)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2 :] = bytes(len(whole) - len(whole) // 2)
    path.write_bytes(bytes(whole))
    with pytest.raises(DecodeError, match="pictures") as error:
        scan(path)
    assert error.value.reason == "decode_error"


def test_sound_that_does_not_decode_is_a_decode_error(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(
        path,
        pictures=(np.zeros((64, 96, 3), np.uint8) for _ in range(75)),  # next to no bytes: the rest is sound
        times_seconds=np.arange(75) / 25,
        samples=noise(3.0, sample_rate_hz=48000),
        encoding=FAST_START,
    )
    whole = bytearray(path.read_bytes())
    middle = slice(len(whole) * 4 // 10, len(whole) * 7 // 10)
    whole[middle] = bytes(middle.stop - middle.start)
    path.write_bytes(bytes(whole))
    with pytest.raises(DecodeError, match=r"of sound come out|no sound comes") as error:
        scan(path)
    assert error.value.reason == "decode_error"
