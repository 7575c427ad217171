"""Decoders of files that do not exist, which obey, refuse, hang, crash or grow. Imported by workers: kept light."""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from avmi.corpus.manifest import Video
from avmi.decode.clip import Frames, Waveform
from avmi.errors import DecodeError

_held: list[np.ndarray] = []  # what a decoder that leaks has not given back


class FakeReader:
    """Pictures and sound that tell which file and which second they are of."""

    def __init__(self, path: Path) -> None:
        self.level = 10 * int(path.stem)

    def frames(self, at_seconds: Sequence[float], *, short_side_px: int | None) -> Frames:
        side = short_side_px or 32
        pixels = np.zeros((len(at_seconds), side, side, 3), np.uint8)
        pixels[..., 0] = self.level
        pixels[..., 1] = np.array([round(20 * s) for s in at_seconds], np.uint8)[:, None, None]
        return Frames(pixels, np.array(at_seconds))

    def audio(self, start_seconds: float, end_seconds: float, *, sample_rate_hz: int) -> Waveform:
        count = round((end_seconds - start_seconds) * sample_rate_hz)
        samples = np.full(count, self.level / 100, np.float32)
        return Waveform(samples, sample_rate_hz, start_seconds)

    def close(self) -> None: ...

    def __enter__(self) -> "FakeReader":
        return self

    def __exit__(self, *_: object) -> None: ...


class FakeDecoder:
    """Opens files that do not exist, all but the broken ones; counts how often.

    `moods` says of files what opening them does: see `open`. With a folder every opening is noted there, so that
    those of workers are counted, too; a mood that ends in `_once` holds for the first opening.
    """

    name = "fake"

    def __init__(
        self,
        *,
        broken: Sequence[str] = (),
        moods: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.broken, self.opened = set(broken), Counter[str]()
        self.moods, self.folder = dict(moods or {}), folder

    def open(self, path: Path, *, video: Video | None) -> FakeReader:
        self.opened[path.name] += 1
        is_first = True
        if self.folder is not None:
            with (self.folder / path.name).open("a") as log:
                is_first = log.tell() == 0
                log.write(f"{os.getpid()}\n")
        if path.name in self.broken:
            raise DecodeError(f"{path} is broken", reason="damaged")
        mood = self.moods.get(path.name, "")
        if is_first or not mood.endswith("_once"):
            _act(mood.removesuffix("_once"))
        return FakeReader(path)

    def openings(self, name: str) -> list[int]:
        """Give the processes that opened a file, one for each opening."""
        assert self.folder is not None
        with contextlib.suppress(FileNotFoundError):
            return [int(line) for line in (self.folder / name).read_text().split()]
        return []


def _act(mood: str) -> None:
    match mood:
        case "hang":
            time.sleep(100)
        case "slow":
            time.sleep(0.05)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "exit":
            os._exit(3)
        case "greedy":
            raise MemoryError("9 exabytes")
        case "bug":
            raise ZeroDivisionError("a bug in the decoder")
        case "grow":
            _held.append(np.ones(300_000_000, np.uint8))
