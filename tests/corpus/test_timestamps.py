"""Timestamps of pictures: which files have some that go back, and when pictures of AVI come up."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest
from making import Encoding, frame_number, make_clip, noise, numbered_picture, write_video

from avmi.corpus.scan import scan
from avmi.corpus.tape import Tape
from avmi.decode.opened import OpenedFile
from avmi.decode.pictures import PictureSource
from avmi.errors import DecodeError

AVI = Encoding(audio_codec="pcm_s16le", ticks_hz=None)
# In pictures of 1/25 s; the second comes later than the third would in even steps, and there is a long gap.
UNEVEN = [0, 1, 5, 6, 7, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25, 30, 31, 32, 33, 34, 35, 36, 42, 43, 44]


@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("places", [UNEVEN, list(range(27))], ids=["uneven", "even"])
def test_pictures_of_h264_in_avi_come_up_when_they_were_written_to(tmp_path, places, b_frames):
    times = np.array(places) / 25
    path = write_video(
        tmp_path / "a.avi",
        pictures=(numbered_picture(i) for i in range(len(places))),
        times_seconds=times,
        samples=noise(times[-1] + 0.04, sample_rate_hz=16000),
        sample_rate_hz=16000,
        encoding=replace(AVI, b_frames=b_frames),
    )
    found = scan(path)
    assert found.times_seconds == pytest.approx(times)
    assert found.facts.video_end_seconds == pytest.approx(times[-1] + 0.04)
    file = OpenedFile(path)
    read = [(picture.ticks, picture.frame) for picture in PictureSource(file).every()]
    file.close()
    assert [ticks for ticks, _ in read] == places
    assert [frame_number(frame.to_ndarray(format="rgb24")) for _, frame in read] == list(range(len(places)))


def test_a_transport_stream_whose_clock_starts_again_is_rejected(tmp_path):
    first, second = (
        make_clip(tmp_path / f"{name}.ts", seconds=seconds).read_bytes()
        for name, seconds in (("a", 3.0), ("b", 2.0))
    )
    path = tmp_path / "joined.ts"
    path.write_bytes(first + second)
    with pytest.raises(DecodeError) as error:
        scan(path)
    assert error.value.reason == "bad_timestamps"


def test_a_transport_stream_whose_clock_wraps_is_as_any_other(tmp_path):
    # 33 bits of 90 kHz are full after 95443.7 s.
    offset = {"output_ts_offset": "95442"}
    plain = scan(make_clip(tmp_path / "a.ts")).facts
    wraps = scan(make_clip(tmp_path / "b.ts", encoding=Encoding(container_options=offset))).facts
    for name in ("video_start_seconds", "video_end_seconds", "audio_start_seconds", "audio_end_seconds"):
        assert getattr(wraps, name) == pytest.approx(getattr(plain, name), abs=1e-4)


def retimed(path, source, times):
    """Copy the pictures of a file, giving each another timestamp."""
    with av.open(str(source)) as given, av.open(str(path), "w") as out:
        video, sound = (
            out.add_stream_from_template(s) for s in (given.streams.video[0], given.streams.audio[0])
        )
        number = 0
        for packet in given.demux():
            if not packet.size:
                continue
            packet.stream = sound if packet.stream.type == "audio" else video
            if packet.stream is video:
                packet.time_base = Fraction(1, 1000)
                packet.pts, packet.dts = round(1000 * times[number]), number - 1000
                number += 1
            out.mux(packet)
    return path


@pytest.mark.parametrize("changed", [{15: 3}, {16: 14}, {6: 30}], ids=["by far", "by two", "ahead"])
def test_pictures_that_go_back_are_rejected(tmp_path, changed):
    """Matroska keeps one timestamp a packet: of a stream without B-frames they ascend."""
    source = make_clip(tmp_path / "a.mkv", seconds=3.0, encoding=Encoding(gop=12, b_frames=0))
    times = np.arange(36) / 12
    assert scan(retimed(tmp_path / "same.mkv", source, times)).times_seconds == pytest.approx(times, abs=1e-3)
    for place, like in changed.items():
        times[place] = (like + 0.5) / 12
    with pytest.raises(DecodeError) as error:
        scan(retimed(tmp_path / "b.mkv", source, times))
    assert error.value.reason == "bad_timestamps"


def tape(stamps, keys=(0,)):
    return Tape(stamps=list(stamps), is_key=[i in keys for i in range(len(stamps))])


@pytest.mark.parametrize(
    "stamps",
    [
        range(20),
        [0, 4, 2, 1, 3, 8, 6, 5, 7],  # a pyramid
        [0, 8, 4, 2, 1, 3, 6, 5, 7],  # a deep one
        [3, 3, 4, 5],  # two pictures at one time
    ],
)
def test_the_order_of_decoding_is_no_doubt(stamps):
    assert not tape(stamps).may_go_back(has_b_frames=True)


def test_a_leading_picture_of_an_open_group_is_no_doubt_but_one_decoded_before_its_keyframe_is():
    assert not tape([0, 3, 1, 2, 6, 4, 5], keys=(0, 4)).may_go_back(has_b_frames=True)
    assert tape([0, 3, 1, 7, 6, 4, 5], keys=(0, 4)).may_go_back(has_b_frames=True)


def test_reordering_without_b_frames_is_a_doubt():
    assert tape([0, 2, 1, 3]).may_go_back(has_b_frames=False)
    assert not tape([0, 1, 2, 3]).may_go_back(has_b_frames=False)


def test_a_picture_that_more_are_held_back_for_than_usual_is_a_doubt():
    assert tape([0, 6, 5, 4, 3, 2, 1, 7]).may_go_back(has_b_frames=True)
