import random
from io import FileIO

import pytest

from avmi.decode.packet_bytes import Unfit, packet_of, read_packets


class CountingFile(FileIO):
    """A file that notes the length of every read."""

    def __init__(self, path):
        super().__init__(path)
        self.reads_bytes = []

    def read(self, size):
        self.reads_bytes.append(size)
        return super().read(size)


@pytest.fixture
def written(tmp_path):
    content = random.Random(5).randbytes(3_000_000)
    path = tmp_path / "packets"
    path.write_bytes(content)
    with CountingFile(path) as file:
        yield content, file


def test_packets_in_any_order_and_at_any_distance_are_the_files_bytes(written):
    content, file = written
    rng = random.Random(6)
    sizes = [rng.choice([0, 1, 17, 400, 30_000]) for _ in range(200)]
    places = [rng.randrange(len(content) - size) for size in sizes]
    expected = [content[place : place + size] for place, size in zip(places, sizes, strict=True)]
    assert list(read_packets(file, places, sizes)) == expected


def test_packets_of_one_run_are_read_at_once_and_far_ones_apart(written):
    content, file = written
    places = [100, 350, 20_000, 900_000, 900_200]  # a window of sound between pictures, and another far away
    assert list(read_packets(file, places, [200] * 5)) == [content[p : p + 200] for p in places]
    assert len(file.reads_bytes) == 2


def test_a_read_stays_small_however_long_the_run_is(written):
    content, file = written
    places = list(range(0, 2_900_000, 100_000))
    assert b"".join(read_packets(file, places, [100_000] * len(places))) == content[:2_900_000]
    assert max(file.reads_bytes) <= 1 << 20


def test_a_packet_beyond_the_end_of_the_file_is_unfit(written):
    content, file = written
    with pytest.raises(Unfit, match="shorter"):
        list(read_packets(file, [len(content) - 100, len(content) - 20], [50, 50]))


def test_a_packet_owns_its_bytes():
    content = bytearray(b"a picture")
    packet = packet_of(bytes(content))
    content[:] = bytes(9)
    assert bytes(packet) == b"a picture"
    assert bytes(packet_of(b"")) == b""
