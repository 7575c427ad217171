"""Tensors through memory that two ends of a pipe share."""

import threading
from multiprocessing import Pipe

import pytest
import torch

from avmi.data import transport


@pytest.mark.parametrize("has_memfd", [True, False])
def test_tensors_arrive_as_they_were(has_memfd: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if has_memfd and not transport.HAS_MEMFD:
        pytest.skip("this system has no memfd")
    monkeypatch.setattr(transport, "HAS_MEMFD", has_memfd)
    generator = torch.Generator().manual_seed(0)
    views = [
        {
            "image": torch.randint(0, 256, (3, 7, 5), generator=generator, dtype=torch.uint8),
            "sound": torch.randn(1, 8, 13, generator=generator),
        },
        {},
        {"sound": torch.randn(1, 8, 11, generator=generator).transpose(1, 2), "none": torch.empty(0, 4)},
        {"count": torch.tensor(9)},
    ]
    here, there = Pipe()
    layout = transport.lay_out(views)
    sender = threading.Thread(target=transport.send, args=(there, views, layout))
    sender.start()
    received = transport.receive(here, layout)
    sender.join()
    assert [list(clip) for clip in received] == [["image", "sound"], [], ["sound", "none"], ["count"]]
    for one, other in zip(views, received, strict=True):
        for name, tensor in one.items():
            assert torch.equal(tensor, other[name])
            assert tensor.dtype == other[name].dtype
    received[0]["sound"] += 1  # the receiver may write: nobody else has the memory any more
    assert layout.size_bytes < 3000


def test_nothing_is_sent_of_no_views() -> None:
    here, there = Pipe()
    layout = transport.lay_out([{}, {}])
    transport.send(there, [{}, {}], layout)
    assert transport.receive(here, layout) == [{}, {}]
    assert not here.poll()
