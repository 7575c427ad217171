"""Orders through a pipe → the views of clips, in a process of its own: what a decoding worker does.

The server from which workers are forked imports this module, and so what decoding needs, once for all of them.
"""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import traceback
from multiprocessing.connection import Connection

import numpy as np
import psutil
import torch

import avmi.decode.pyav  # noqa: F401  # the decoder that nearly all runs use: imported once, by the server
from avmi.config.views import AudioView, FrameView
from avmi.data import transport
from avmi.data.cutter import cut_views
from avmi.data.messages import Begun, Cut, Full, Job, Logged, Order, Raised, Ready, Refused
from avmi.errors import DecodeError
from avmi.views.image import image_view
from avmi.views.make import ViewMaker


def serve(pipe: Connection, job: Job) -> None:
    """Cut what is ordered until the pipe ends, this process has grown too large, or something is wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    _end_with_parent()
    torch.set_num_threads(1)
    _log_to_parent(pipe, level=job.log_level)
    rehearse(job.maker)
    this_process, sender = psutil.Process(), transport.Sender(pipe)
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent is gone
        pipe.send(Ready())
        while True:
            order: Order = pipe.recv()
            pipe.send(Begun(order.ticket))
            if not _carry_out(order, pipe, sender, job):
                return
            size_bytes = this_process.memory_info().rss
            if size_bytes > job.most_bytes:
                pipe.send(Full(size_bytes))
                return


def rehearse(maker: ViewMaker) -> None:
    """Make each view once, of nothing: what is loaded or compiled at its first use is no fault of the first video."""
    with contextlib.suppress(Exception):  # what is wrong comes out with the first video
        for view in maker.views.values():
            match view:
                case FrameView():
                    side = maker.short_side_px or maker.image.size_px
                    image_view(
                        np.zeros((view.frames, side, side, 3), np.uint8), view, image=maker.image, seed=0
                    )
                case AudioView():
                    maker.log_mel(np.zeros(round(view.window_seconds * maker.sample_rate_hz), np.float32))


def _carry_out(order: Order, pipe: Connection, sender: transport.Sender, job: Job) -> bool:
    try:
        views = cut_views(order.draw, maker=job.maker, decoder=job.decoder)
        layout = transport.lay_out(views)
        piece = sender.put(views, layout)
    except DecodeError as error:
        pipe.send(Refused(order.ticket, error.reason, str(error)))
        return True
    except Exception as error:
        pipe.send(Raised(_pickled(error), traceback.format_exc()))
        return False
    pipe.send(Cut(order.ticket, layout, piece))
    sender.follow()
    return True


def _pickled(error: Exception) -> bytes:
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)  # some errors can be written and not read
    except Exception:
        return b""
    return pickled


def _end_with_parent() -> None:
    """Let the kernel end this process when the parent goes, even in the middle of a decoder that hangs.

    The pipe to the parent signals its end (SIGIO), and the default answer to that is to die. Linux's signal of
    a dying parent would not do: the parent of this process is the server that it was forked from.
    """
    parent = multiprocessing.parent_process()
    if parent is None or not hasattr(os, "O_ASYNC"):
        return
    import fcntl  # Unix only

    descriptor = int(parent.sentinel)
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    if not parent.is_alive():  # it ended before we asked
        os._exit(1)


class _ToParent(logging.Handler):
    def __init__(self, pipe: Connection) -> None:
        super().__init__()
        self._pipe = pipe

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line; a decoder that logs from several threads would tear the pipe, and none here does."""
        with contextlib.suppress(OSError):
            self._pipe.send(Logged(record.name, record.levelno, record.getMessage()))


def _log_to_parent(pipe: Connection, *, level: int) -> None:
    logger = logging.getLogger("avmi")
    logger.handlers, logger.propagate = [_ToParent(pipe)], False
    logger.setLevel(level)
