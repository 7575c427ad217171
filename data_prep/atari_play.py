"""A game's name and a seed → the screens and the sound of random play, one tick of 1/60 s after another.

The emulator is ale-py, whose wheel holds the games. Anything that keeps `Console` can play its part.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from avmi.errors import UsageError

TICKS_PER_SECOND = 60  # NTSC; the hardware's 59.92 is played back at 60, sight and sound alike
SAMPLES_PER_TICK = 512  # what ale-py makes of the sound chip per screen
SILENT_LEVEL = 128  # sample value of the sound chip at rest

INSTALL_HINT = "pip install 'avmi[atari]'"

# Ticks for which an action is held: long enough for a player to get anywhere, short enough that
# a second holds several actions.
HOLD_TICKS = (4, 24)
# Share of the choices that press fire when the game has it: it serves, shoots and starts most games.
FIRE_SHARE = 0.3
# Ticks of play before the recording, drawn for each episode: title screens and a common start are
# the same in every episode, and a test episode must not open with a training episode's pictures.
WARM_UP_TICKS = (60, 900)


@dataclass(frozen=True)
class Tick:
    """What one step of the console shows and sounds: 1/60 s."""

    screen: UInt8[np.ndarray, "height width 3"]
    sound: UInt8[np.ndarray, "512"]  # SILENT_LEVEL at rest


@runtime_checkable  # the tests check arguments at run time
class Console(Protocol):
    """A game console that is running one game."""

    @property
    def actions(self) -> Sequence[str]:
        """Names of the actions that do something in this game; "FIRE" occurs in those that fire."""
        ...

    def step(self, action: str) -> Tick:
        """Hold an action for one tick."""
        ...

    def is_over(self) -> bool:
        """Tell whether the game has ended."""
        ...

    def restart(self) -> None:
        """Begin a new game."""
        ...


class AleConsole:
    """ale-py's emulator with one game loaded; the process ends when ale-py cannot run the game."""

    def __init__(self, game: str, seed: int) -> None:
        ale_py, roms = _ale()
        ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
        self._ale = ale_py.ALEInterface()
        self._ale.setBool("sound_obs", True)
        self._ale.setInt("random_seed", seed)
        # Sticky actions are a difficulty for learning agents; here they would only blur the play.
        self._ale.setFloat("repeat_action_probability", 0.0)
        self._ale.loadROM(roms.get_rom_path(game))
        self._by_name = {action.name: action for action in self._ale.getMinimalActionSet()}

    @property
    def actions(self) -> Sequence[str]:
        """Names of ale-py's minimal action set for this game."""
        return tuple(self._by_name)

    def step(self, action: str) -> Tick:
        """Hold an action for one tick; raises `KeyError` for an action that the game does not have."""
        self._ale.act(self._by_name[action])
        return Tick(screen=self._ale.getScreenRGB(), sound=self._ale.getAudio())

    def is_over(self) -> bool:
        """Tell whether the game has ended."""
        return bool(self._ale.game_over())

    def restart(self) -> None:
        """Press the console's reset switch."""
        self._ale.reset_game()


def open_ale(game: str, *, seed: int) -> Console:
    """Start a game in ale-py.

    A game that ale-py cannot run ends the whole process from within its library: call this in a
    process that may die. Raises `UsageError` when ale-py is missing or has no sound.
    """
    return AleConsole(game, seed)


def known_games() -> tuple[str, ...]:
    """Names of the games in ale-py's wheel, in alphabetical order; raises `UsageError` without ale-py."""
    _, roms = _ale()
    return tuple(sorted(roms.get_all_rom_ids()))


def check_games(games: Sequence[str]) -> None:
    """Raise `UsageError` that names every unknown game and the known names that are near to it."""
    if not games:
        raise UsageError("no games are named: give --games a comma-separated list, as in bowling,freeway")
    known = known_games()
    mistakes = []
    for game in games:
        if game in known:
            continue
        near = difflib.get_close_matches(game, known, n=3, cutoff=0.5)
        mistakes.append(f"{game!r}" + (f" (did you mean {' or '.join(near)}?)" if near else ""))
    if mistakes:
        several = len(mistakes) > 1
        raise UsageError(
            f"ale-py has no game{'s' if several else ''} {', '.join(mistakes)}; it has: {', '.join(known)}"
        )


def play(console: Console, rng: np.random.Generator) -> Iterator[Tick]:
    """Play at random without end: hold an action for a while, fire often, begin again after the end."""
    fires = [action for action in console.actions if "FIRE" in action]
    while True:
        choices = fires if fires and rng.random() < FIRE_SHARE else console.actions
        action = choices[int(rng.integers(len(choices)))]
        for _ in range(int(rng.integers(*HOLD_TICKS, endpoint=True))):
            if console.is_over():
                console.restart()
                break
            yield console.step(action)


def warmed_up(ticks: Iterator[Tick], rng: np.random.Generator) -> Iterator[Tick]:
    """Drop a random number of ticks (WARM_UP_TICKS) from the start of some play."""
    for _ in range(int(rng.integers(*WARM_UP_TICKS, endpoint=True))):
        next(ticks)
    return ticks


def _ale() -> tuple[Any, Any]:
    try:
        import ale_py
        from ale_py import roms
    except ImportError as error:
        raise UsageError(
            f"recording emulated play needs ale-py, which cannot be imported ({error}): {INSTALL_HINT}"
        ) from error
    if not hasattr(ale_py.ALEInterface, "getAudio"):
        raise UsageError(
            f"ale-py {ale_py.__version__} gives no sound, 0.10.2 is the first that does: "
            f"{INSTALL_HINT} --upgrade"
        )
    return ale_py, roms
