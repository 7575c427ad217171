"""What the main process and its decoding workers say to each other."""

from dataclasses import dataclass

from avmi.data.cutter import Draw
from avmi.data.transport import Layout, Piece
from avmi.decode.clip import Decoder
from avmi.views.make import ViewMaker


@dataclass(frozen=True)
class Job:
    """What a worker is given when it starts."""

    maker: ViewMaker
    decoder: Decoder
    most_bytes: int  # of memory; a worker that has grown beyond it ends between two visits
    log_level: int


@dataclass(frozen=True)
class Order:
    """Cut this."""

    ticket: int
    draw: Draw


@dataclass(frozen=True)
class Ready:
    """I have started."""


@dataclass(frozen=True)
class Begun:
    """I have this in my hands."""

    ticket: int


@dataclass(frozen=True)
class Cut:
    """The views lie in this piece of memory, in this layout."""

    ticket: int
    layout: Layout
    piece: Piece


@dataclass(frozen=True)
class Refused:
    """The video cannot be read."""

    ticket: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Full:
    """I have grown too large, and end."""

    size_bytes: int


@dataclass(frozen=True)
class Raised:
    """Something went wrong that is no fault of the video."""

    error: bytes  # pickled; empty when it cannot be
    traceback: str


@dataclass(frozen=True)
class Logged:
    """A line for the log."""

    logger: str
    level: int
    text: str
