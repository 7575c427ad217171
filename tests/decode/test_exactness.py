"""What `prepare` asks about decord: reasons that are found without loading it, and facts given to it."""

import av
import numpy as np
import pytest
from making import Encoding, make_clip, numbered_picture, write_video

from avmi.decode import exactness
from avmi.decode.exactness import VideoPackets, decord_exactness, read_packets
from avmi.decode.opened import OpenedFile
from avmi.errors import DecodeError

# Files of these kinds hang or crash decord, or cannot be exact: it must never see them.
UNSEEN = ("MPEG-TS", "MPEG-PS", "flv", "wmv", "edit list", "rotated", "late video")


@pytest.mark.parametrize("name", UNSEEN)
def test_files_that_decord_is_known_to_break_on_are_refused_without_loading_it(name, truth_of, monkeypatch):
    monkeypatch.setattr(exactness, "open_decord", lambda path: pytest.fail("decord was asked"))
    assert decord_exactness(truth_of(name).path)


@pytest.mark.parametrize("name", ["B-frames", "mkv variable", "edit list", "rotated", "avi B-frames"])
def test_packets_are_read_as_they_were_written(name, truth_of):
    truth = truth_of(name)
    file = OpenedFile(truth.path)
    packets = read_packets(file)
    file.close()
    assert packets.times_seconds == pytest.approx(truth.times_seconds, abs=truth.clock_slack_seconds)
    assert packets.has_discarded == (name == "edit list")
    assert packets.rotation_degrees == truth.rotation_degrees
    assert set(packets.key_seconds) <= set(packets.times_seconds)


def test_facts_that_are_given_are_not_read_again(truth_of, monkeypatch):
    truth = truth_of("plain")
    monkeypatch.setattr(exactness, "read_packets", lambda file: pytest.fail("packets were read"))
    true = VideoPackets("mov", tuple(truth.times_seconds), tuple(truth.times_seconds[::12]), False, 0)
    assert decord_exactness(truth.path, packets=true) == ""
    one_more = VideoPackets("mov", (*true.times_seconds, 2.4), true.key_seconds, False, 0)
    assert decord_exactness(truth.path, packets=one_more) == "60 pictures instead of 61"
    later = VideoPackets("mov", tuple(truth.times_seconds + 0.005), true.key_seconds, False, 0)
    assert decord_exactness(truth.path, packets=later).startswith("timestamps up to 5.0 ms wrong")


def test_another_picture_in_decord_s_place_is_noticed(truth_of, monkeypatch):
    class OneLate:
        def __init__(self, reader):
            self.reader = reader

        def __len__(self):
            return len(self.reader)

        def get_frame_timestamp(self, places):
            return self.reader.get_frame_timestamp(places)

        def get_batch(self, places):
            return self.reader.get_batch([place + 1 for place in places])

    real = exactness.open_decord
    monkeypatch.setattr(exactness, "open_decord", lambda path: OneLate(real(path)))
    assert decord_exactness(truth_of("plain").path).startswith("wrong picture at ")


def test_pictures_that_are_never_shown_are_noticed(tmp_path):
    whole = write_video(
        tmp_path / "whole.mkv",
        pictures=[numbered_picture(i) for i in range(20)],
        times_seconds=np.arange(20) / 25,
        encoding=Encoding(video_codec="mpeg4", ticks_hz=None),
    )
    # ISO 14496-2 VideoObjectPlane: start code, "P", no whole second, marker, 5 bits of time, marker, not coded.
    uncoded = bytes([0, 0, 1, 0xB6, 0b01010000, 0b01001111])
    with av.open(str(whole)) as given, av.open(str(tmp_path / "a.mkv"), "w") as out:
        stream = out.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size == 0:
                continue
            if packet.pts == 400:
                other = av.Packet(uncoded)
                other.pts = other.dts = packet.pts
                other.time_base, other.stream = packet.time_base, stream
                out.mux(other)
                continue
            packet.stream = stream
            out.mux(packet)
    assert decord_exactness(whole) == ""
    assert decord_exactness(tmp_path / "a.mkv") == "pictures that are never shown"


def test_a_still_of_one_picture_is_refused_and_a_file_without_pictures_is_an_error(tmp_path):
    still = make_clip(tmp_path / "a.mp4", seconds=1.0, frame_rate=1)
    assert decord_exactness(still) == "fewer than two pictures"
    with pytest.raises(DecodeError) as error:
        decord_exactness(make_clip(tmp_path / "b.mp4", colour=None))
    assert error.value.reason == "no_video"
