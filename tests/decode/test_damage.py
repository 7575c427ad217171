"""What a decoder gives of damaged packets is never given on, and pictures that silently do not come out are missed."""

from types import SimpleNamespace

import av
import numpy as np
import pytest
from making import frame_number

from avmi.decode.opened import OpenedFile
from avmi.decode.picture_damage import PictureDamage
from avmi.decode.pictures import PictureSource
from avmi.decode.pyav import PyAvReader
from avmi.errors import DecodeError


def packets_of(path):
    with av.open(str(path)) as container:
        return [(p.pos, p.size, p.pts, p.is_keyframe) for p in container.demux(video=0) if p.size]


def given(path, times):
    """The number in the picture at each time, or the reason why there is none; each asked of a new reader."""
    found = []
    for seconds in times:
        try:
            with PyAvReader(path, video=None) as reader:
                found.append(frame_number(reader.frames([float(seconds)], short_side_px=None).pixels[0]))
        except DecodeError as error:
            found.append(error.reason)
    return found


def refused_and_shown(path):
    """Stamps of the packets that FFmpeg's decoder refuses, and of the pictures that it gives, in a plain decode."""
    refused, shown = [], []
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        context.options, context.thread_count = {"err_detect": "explode"}, 1
        for packet in container.demux(video=0):
            try:
                shown += [frame.pts for frame in packet.decode()]
            except av.FFmpegError:
                refused.append(packet.pts)
    return refused, shown


def test_the_picture_of_a_refused_keyframe_and_all_made_of_it_are_not_given(truth_of, tmp_path):
    # FFmpeg's HEVC decoder refuses the packet with an error, gives its picture unmarked, and goes on with it.
    truth = truth_of("HEVC")
    keys = [packet for packet in packets_of(truth.path) if packet[3]]
    position, size, stamp, _ = keys[1]
    path = tmp_path / "damaged.mp4"
    for place in range(88, size - 16, 8):
        data = bytearray(truth.path.read_bytes())
        data[position + place : position + place + 16] = bytes(16)
        path.write_bytes(data)
        refused, shown = refused_and_shown(path)
        if refused == [stamp]:
            break
    assert refused == [stamp]
    assert stamp in shown
    numbers = given(path, truth.times_seconds + 0.01)
    first, last = (round(key[2] / 90000 * 25) for key in keys[1:3])
    leads = [n for n in range(len(numbers)) if numbers[n] == "damaged" and n < first]
    assert all(found == "damaged" for found in numbers[first:last])
    assert len(leads) <= 3  # leading pictures of the open group
    # Those that lead into the next keyframe refer to what is damaged; behind it all is well.
    assert numbers[last:] == list(range(last, len(numbers)))
    assert numbers[: first - 3] == list(range(first - 3))


def test_a_picture_that_silently_does_not_come_out_is_missed(truth_of, tmp_path):
    truth = truth_of("plain")
    data = bytearray(truth.path.read_bytes())
    position, size, _, is_key = packets_of(truth.path)[17]
    assert not is_key
    data[position : position + size] = (
        (size - 4).to_bytes(4, "big") + b"\x0c" + bytes([255] * (size - 5))
    )  # one NAL unit of filler: no picture, and no error
    path = tmp_path / "filler.mp4"
    path.write_bytes(data)
    numbers = given(path, truth.times_seconds + 0.01)
    assert numbers[17] == "damaged"
    assert numbers[:17] == list(range(17))


def test_a_stream_of_before_a_rewind_is_not_used_any_more(truth_of):
    file = OpenedFile(truth_of("plain").path)
    stream = file.video
    next(file.packets(stream))
    file.rewind()
    for use in (file.packets, lambda stream: file.seek(stream, 0)):
        with pytest.raises(ValueError, match="opened again"):
            use(stream)
    PictureSource(file)
    file.close()


def frame_of(pts=None, *, dts=None):
    frame = av.VideoFrame(16, 16)
    frame.pts, frame.dts = pts, dts
    return frame


def sent(pts, *, key=False):
    return SimpleNamespace(pts=pts, dts=pts, is_keyframe=key)


@pytest.mark.parametrize(
    ("packets", "spoilt"),
    [
        # stamps in the order of decoding: K a keyframe, ! refused
        ("0K 3 1 2 6K 9 7", ""),
        ("0K 3! 1 2 6K 9 7", "3 1 2"),
        ("0K! 3 1 2 6K 9 7", "0 3 1 2"),
        ("0K 3 1! 2 6K 4 5 9", "1 2 4 5"),
        ("0K 3! 6K 4 5 9 7", "3 4 5"),
        ("0K 3 6K 4! 5 9 7", "4 5"),
        ("0K 3 6K! 4 5 9 12K 10 15", "6 4 5 9 10"),
    ],
)
def test_damage_spreads_to_the_next_keyframe_and_to_what_leads_into_it(packets, spoilt):
    damage = PictureDamage(by_order=False)
    stamps = []
    for word in packets.split():
        stamps.append(int(word.strip("K!")))
        damage.note(sent(stamps[-1], key="K" in word), is_whole="!" not in word)
    found = [stamp for stamp in stamps if damage.spoils(frame_of(stamp))]
    assert found == [int(stamp) for stamp in spoilt.split()]


def test_without_timestamps_everything_is_spoilt_until_a_picture_comes_out_behind_a_keyframe():
    damage = PictureDamage(by_order=True)
    frame = [frame_of(dts=n) for n in range(6)]
    damage.note(sent(0, key=True), is_whole=True)
    assert not damage.spoils(frame[0])
    damage.note(sent(1), is_whole=False)
    assert damage.spoils(frame[1])
    damage.note(sent(2, key=True), is_whole=True)
    assert [damage.spoils(f) for f in frame[2:5]] == [True, False, False]
    assert np.all([damage.is_over_at(f) for f in frame[3:5]])
