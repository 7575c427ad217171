"""Consoles without ale-py: one that flashes and beeps in the same tick, some that go wrong."""

import os
from collections.abc import Sequence

import numpy as np

from data_prep.atari_play import SAMPLES_PER_TICK, SILENT_LEVEL, Tick

HEIGHT, WIDTH = 51, 30  # an odd height: the recorder must pad it

# A square wave with 32 samples to the period is 960 Hz at the console's 30,720 samples a second.
TONE_HZ = 960.0
_TONE = (SILENT_LEVEL + 60 * (np.arange(SAMPLES_PER_TICK) // 16 % 2)).astype(np.uint8)
_REST = np.full(SAMPLES_PER_TICK, SILENT_LEVEL, dtype=np.uint8)


def tick(*, flash: bool) -> Tick:
    screen = np.full((HEIGHT, WIDTH, 3), 255 if flash else 0, dtype=np.uint8)
    return Tick(screen=screen, sound=_TONE if flash else _REST)


class FlashConsole:
    """Flashes white and beeps for 8 ticks of every 37, so that flashes begin on odd and even ticks."""

    def __init__(self, *, seed: int = 1, game_ticks: int = 500) -> None:
        self.actions: Sequence[str] = ("NOOP", "FIRE", "LEFT", "LEFTFIRE")
        self.taken: list[str] = []
        self.restarts = 0
        self._phase, self._game_ticks, self._played = seed, game_ticks, 0

    def step(self, action: str) -> Tick:
        assert not self.is_over(), "a game that is over goes on"
        self.taken.append(action)
        self._played += 1
        return tick(flash=(self._phase + len(self.taken)) % 37 < 8)

    def is_over(self) -> bool:
        return self._played >= self._game_ticks

    def restart(self) -> None:
        self.restarts += 1
        self._played = 0


class SilentConsole(FlashConsole):
    def step(self, action: str) -> Tick:
        return Tick(screen=super().step(action).screen, sound=_REST)


def open_fake(game: str, *, seed: int) -> FlashConsole:
    """Open the console that the game's name asks for; picklable, for processes."""
    match game:
        case "dies":
            os.write(2, b"\nno such cartridge\nmore lines\n")
            os._exit(3)
        case "raises":
            raise ValueError("bad cartridge")
        case "silent":
            return SilentConsole(seed=seed)
        case _:
            return FlashConsole(seed=seed)
