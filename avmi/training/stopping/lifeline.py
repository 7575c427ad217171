"""The processes of a run → the end of all, soon after one has died, whatever the others are waiting for.

What processes exchange on GPUs may wait for a dead one until a limit that cannot be short: a slow video, or one process's
writing of a checkpoint, is no death. So every process keeps a connection to the first one. The kernel closes it when a
process ends, in whatever way, and a machine that is gone does not answer any more.
"""

import contextlib
import logging
import os
import secrets
import selectors
import socket
import sys
import threading
from types import TracebackType

from avmi.distributed import LOST, gather_objects, rank, world_size

log = logging.getLogger(__name__)

# Time for a process to end by the error that torch raises there, which tells more, before it is ended from here.
GRACE_SECONDS = 20.0
# The processes have just met, so that they are there; a machine under load may be slow.
_MEETING_SECONDS = 60.0
_GOODBYE = b"."
# A machine that is gone is noticed after 10 + 4 × 5 s; with the grace that is less than a minute.
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4}


class Lifeline:
    """Ends this process when another one ends without leaving this context; a context manager that all enter together.

    Where no connection comes about, a warning says so, and nothing is watched.
    """

    def __init__(self, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._grace_seconds = grace_seconds
        self._peers: list[socket.socket] = []  # all others in the first process, the first one in the others
        self._left = threading.Event()
        self._wakes, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._watch, name="avmi-lifeline", daemon=True)

    def __enter__(self) -> "Lifeline":
        if world_size() > 1:
            self._meet()
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._left.set()
        self._wakes.close()
        if self._thread.is_alive():
            self._thread.join()
        for peer in self._peers if error is None else ():
            with contextlib.suppress(OSError):
                peer.sendall(_GOODBYE)
        self._close()
        self._woken.close()

    def _meet(self) -> None:
        try:
            self._peers, why = _connected(), ""
        except OSError as error:
            self._peers, why = [], str(error)
        failures = [f"process {number}: {text}" for number, text in enumerate(gather_objects(why)) if text]
        if failures:  # one that is not watched must not be taken for dead
            self._close()
            if rank() == 0:
                log.warning(
                    "the processes cannot watch each other (%s): when one dies, the others may wait long",
                    "; ".join(failures),
                )

    def _close(self) -> None:
        for peer in self._peers:
            peer.close()
        self._peers = []

    def _watch(self) -> None:
        """Listen until somebody has died, all have left, or this process leaves; in a thread of its own."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for peer in self._peers:
                selector.register(peer, selectors.EVENT_READ)
            while not self._left.is_set():
                for key, _ in selector.select():
                    if key.fileobj is self._woken:
                        return
                    heard = key.fileobj
                    assert isinstance(heard, socket.socket)
                    if not _has_left(heard):
                        self._end()
                        return
                    selector.unregister(heard)

    def _end(self) -> None:
        """Tell the others, and end this process unless it ends by itself."""
        for peer in self._peers:
            with contextlib.suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)
        if self._left.wait(self._grace_seconds):
            return
        print(f"avmi: {LOST}", file=sys.stderr, flush=True)
        os._exit(1)  # the main thread may wait inside a library for ever


def _has_left(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == _GOODBYE
    except OSError:
        return False


def _connected() -> list[socket.socket]:
    """Connect every process to the first one; a secret word keeps strangers out."""
    if rank() == 0:
        try:
            server = socket.create_server(("", 0), backlog=world_size())
        except OSError:
            gather_objects(None)
            raise
        with server:
            word = secrets.token_bytes(16)
            gather_objects((server.getsockname()[1], word))
            return _accepted(server, word)
    offered: tuple[int, bytes] | None = gather_objects(None)[0]
    if offered is None:
        raise OSError("the first process cannot be reached")
    port, word = offered
    address = os.environ.get("MASTER_ADDR", "localhost")
    return [_kept_alive(socket.create_connection((address, port), timeout=_MEETING_SECONDS), word)]


def _accepted(server: socket.socket, word: bytes) -> list[socket.socket]:
    peers: list[socket.socket] = []
    server.settimeout(_MEETING_SECONDS)
    while len(peers) < world_size() - 1:
        peer, _ = server.accept()
        peer.settimeout(_MEETING_SECONDS)
        if secrets.compare_digest(peer.recv(len(word), socket.MSG_WAITALL), word):
            peers.append(_kept_alive(peer, b""))
        else:
            peer.close()
    return peers


def _kept_alive(peer: socket.socket, word: bytes) -> socket.socket:
    peer.sendall(word)
    peer.settimeout(None)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE.items():
        if hasattr(socket, name):  # other systems name them otherwise
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return peer
