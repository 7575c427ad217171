"""A Ray that is missing or does not answer is one sentence, at once."""

import importlib.util
import socket
import sys
import time

import pytest

from avmi.engine.ray_stream import ray_module, ray_session
from avmi.errors import UsageError


def test_without_ray_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "avmi\[ray\]"'), ray_session():
        pass


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed: avmi[ray]")
def test_a_cluster_that_does_not_answer_is_a_usage_error_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:  # bound, but nobody listens
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        ray_module()  # importing it takes seconds
        begun = time.monotonic()
        with pytest.raises(UsageError, match=f"RAY_ADDRESS={address} cannot be reached"), ray_session():
            pass
    assert time.monotonic() - begun < 15
