"""A place in a stream or a list of videos → what to cut there, try after try, until it is a visit."""

from typing import Protocol, runtime_checkable

from avmi.corpus.manifest import Reject
from avmi.data.batch import Visit
from avmi.data.cutter import Cutter, Draw
from avmi.errors import DecodeError


@runtime_checkable
class Turn(Protocol):
    """One visit in the making: says what to cut, is told what became of it, and says what to cut then."""

    rejects: list[Reject]

    def draw(self) -> Draw | None:
        """Give what to cut now; None when the visit ends without clips.

        Raises `TrainingError` when try after try has failed.
        """
        ...

    def refused(self, reject: Reject) -> None:
        """Take note that the video cannot be read."""
        ...

    def lost(self, reject: Reject) -> None:
        """Take note that the video hung or killed its worker."""
        ...


@runtime_checkable
class Source(Protocol):
    """Where visits come from."""

    @property
    def cutter(self) -> Cutter:
        """What decodes."""
        ...

    @property
    def quarantined(self) -> int:
        """Count the videos that are drawn no more."""
        ...

    def turn(self, item: int) -> Turn:
        """Begin a visit."""
        ...


def finish(turn: Turn, cutter: Cutter) -> Visit:
    """Make the visit in this process, which nothing protects from a video that hangs or crashes."""
    while (draw := turn.draw()) is not None:
        try:
            samples = cutter(draw.video_number, draw.specs, seed=draw.seed)
        except DecodeError as error:
            turn.refused(refusal(draw, error.reason, str(error)))
        else:
            return Visit(samples, tuple(turn.rejects))
    return Visit((), tuple(turn.rejects))


def refusal(draw: Draw, reason: str, detail: str) -> Reject:
    """Give the reject of a draw: the video's path in the manifest, and why."""
    return Reject(draw.specs[0].video.path, reason, detail)
