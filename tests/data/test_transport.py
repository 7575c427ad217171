"""Tensors through memory that two ends of a pipe share."""

from multiprocessing import Pipe
from pathlib import Path

import pytest
import torch

from avmi.data import transport


class Ends:
    """Both ends of one pipe, in one process."""

    def __init__(self) -> None:
        self.here, there = Pipe()
        self.sender, self.receiver = transport.Sender(there), transport.Receiver(self.here)

    def carry(self, views: list[dict[str, torch.Tensor]]) -> tuple[list[dict[str, torch.Tensor]], int]:
        """Give what arrives, and how many bytes of new memory it took."""
        layout = transport.lay_out(views)
        piece = self.sender.put(views, layout)
        self.sender.follow()
        return self.receiver.receive(layout, piece), piece.new_bytes


def picture(value: int, size: int = 1000) -> list[dict[str, torch.Tensor]]:
    return [{"image": torch.full((size,), value, dtype=torch.uint8)}]


@pytest.mark.parametrize("has_memfd", [True, False])
def test_tensors_arrive_as_they_were(has_memfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_memfd and not transport.HAS_MEMFD:
        pytest.skip("this system has no memfd")
    monkeypatch.setattr(transport, "HAS_MEMFD", has_memfd)
    generator = torch.Generator().manual_seed(0)
    ends = Ends()
    for _ in range(3):  # through new memory, and through memory that was used before
        views = [
            {
                "image": torch.randint(0, 256, (3, 7, 5), generator=generator, dtype=torch.uint8),
                "sound": torch.randn(1, 8, 13, generator=generator),
            },
            {},
            {"sound": torch.randn(1, 8, 11, generator=generator).transpose(1, 2), "none": torch.empty(0, 4)},
            {"count": torch.tensor(9)},
        ]
        received, _ = ends.carry(views)
        assert [list(clip) for clip in received] == [["image", "sound"], [], ["sound", "none"], ["count"]]
        for one, other in zip(views, received, strict=True):
            for name, tensor in one.items():
                assert torch.equal(tensor, other[name])
                assert tensor.dtype == other[name].dtype
        received[0]["sound"] += 1  # the receiver may write: nobody else has the memory any more


def test_nothing_is_sent_of_no_views() -> None:
    ends = Ends()
    assert ends.carry([{}, {}]) == ([{}, {}], 0)
    assert not ends.here.poll()


needs_memfd = pytest.mark.skipif(not transport.HAS_MEMFD, reason="this system has no memfd")


@needs_memfd
def test_what_was_received_stays_when_the_worker_goes_on() -> None:
    ends = Ends()
    received = [ends.carry(picture(value))[0] for value in range(7)]
    assert [int(clips[0]["image"].unique()) for clips in received] == list(range(7))


@needs_memfd
def test_a_visit_waits_for_the_receiver_while_the_next_is_written() -> None:
    ends = Ends()
    layout = transport.lay_out(picture(0))
    pieces = []
    for value in range(transport.PIECES):
        pieces.append(ends.sender.put(picture(value), layout))
        ends.sender.follow()
    received = [ends.receiver.receive(layout, piece) for piece in pieces]
    assert [int(clips[0]["image"][0]) for clips in received] == list(range(transport.PIECES))


@needs_memfd
def test_memory_and_descriptors_are_asked_for_once() -> None:
    ends = Ends()
    new_bytes = [ends.carry(picture(1, size))[1] for size in (1000, 1000, 900, 1000, 1, 999)]
    assert new_bytes == [1024, 1024, 0, 0, 0, 0]
    before = len(list(Path("/proc/self/fd").iterdir())) if Path("/proc/self/fd").is_dir() else 0
    kept = [ends.carry(picture(value))[0] for value in range(50)]
    after = len(list(Path("/proc/self/fd").iterdir())) if before else 0
    assert after == before
    assert len(kept) == 50


@needs_memfd
def test_a_huge_visit_does_not_keep_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_KEPT_BYTES", 4096)
    ends = Ends()
    sizes = (100_032, 640, 100_032, 640, 640, 50_048)
    assert [ends.carry(picture(1, size))[1] for size in sizes] == [100_032, 640, 0, 0, 640, 50_048]


@needs_memfd
def test_the_receiver_cannot_write_into_the_workers_memory() -> None:
    ends = Ends()
    ends.carry(picture(3))
    with pytest.raises(ValueError, match="read-only"):
        ends.receiver._pieces[0][0] = 1
