"""Names of Atari games → FOLDER/<game>/<game>_e<episode>.mp4 of random play, and FOLDER/videos.csv.

A corpus of real, synchronized sight and sound that anyone can record. The games are in ale-py's
wheel; the recordings stay on the disk of the one who made them. Every game is played in a process
of its own, because a game that ale-py cannot run ends the process.
"""

import csv
import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from avmi.errors import CorpusError, UsageError
from avmi.types import Split, StrPath
from data_prep.atari_episode import Episode, Settings, episode_path, kept_episode, record_episode
from data_prep.atari_play import Console, check_games, open_ale
from data_prep.processes import Failure, run_jobs

# Measured over 6 episodes of 12 s each of 41 games: these sound in 91 to 100 % of all windows (see
# SILENCE_DBFS of an episode), so hardly any moment asks for a match with silence; they sound unlike
# each other; and what is seen tells something of what is heard (events, not background music alone).
DEFAULT_GAMES = (
    "freeway",
    "pong",
    "tennis",
    "kangaroo",
    "breakout",
    "seaquest",
    "pooyan",
    "road_runner",
    "kaboom",
    "assault",
)

CSV_FILE = "videos.csv"
# The emulator and the encoder together run 20 to 40 times faster than the play: a game that takes
# more than this beyond the length of its episode hangs.
_STALL_SECONDS = 60.0

OpenConsole = Callable[..., Console]  # (game, *, seed)


@dataclass(frozen=True)
class Recordings:
    """What `record` leaves in its folder."""

    folder: Path
    csv_path: Path
    episodes: tuple[Episode, ...]  # by game as named, then by number
    failures: tuple[Failure, ...]  # games of which nothing, or not everything, was recorded


def record(
    folder: StrPath,
    *,
    games: Sequence[str] = DEFAULT_GAMES,
    episodes: int = 6,
    seconds: float = 12.0,
    seed: int = 0,
    workers: int = 2,
    valid_episodes: int | None = None,
    test_episodes: int | None = None,
    on_episode: Callable[[Episode], None] = lambda episode: None,
    open_console: OpenConsole = open_ale,
) -> Recordings:
    """Record episodes of random play into a folder, with a CSV that `avmi prepare` reads.

    Files of an earlier call with the same settings are kept. `on_episode` hears of each episode as
    it is there. A game that cannot be recorded becomes a failure and does not stop the others.
    Processes are spawned: a script calls this below `if __name__ == "__main__":`.
    Raises `UsageError` for settings that cannot be, unknown games, and files in the way;
    `CorpusError` when the folder cannot be written or nothing at all was recorded.
    """
    games, settings = tuple(dict.fromkeys(games)), Settings(seconds=float(seconds), seed=seed)
    splits = splits_of(episodes, valid_episodes=valid_episodes, test_episodes=test_episodes)
    if workers < 1:
        raise UsageError(f"--workers is 1 or more, got {workers}")
    if open_console is open_ale:
        check_games(games)
    folder = _made(Path(folder))
    found: dict[tuple[str, int], Episode] = {}

    def hear(episode: Episode) -> None:
        found[episode.game, episode.episode] = episode
        on_episode(episode)

    missing: dict[str, list[int]] = {}
    for game, number in itertools.product(games, range(episodes)):
        kept = kept_episode(folder, game, number, settings=settings)
        if kept is None:
            missing.setdefault(game, []).append(number)
        else:
            hear(kept)
    jobs = {
        game: partial(_record_game, folder, game, numbers, settings, open_console)
        for game, numbers in missing.items()
    }
    try:
        failures = run_jobs(jobs, workers=workers, on_result=hear, stall_seconds=_STALL_SECONDS + seconds)
    finally:
        _sweep(folder, jobs)
    if not found:
        reasons = "; ".join(f"{failure.name}: {failure.reason}" for failure in failures)
        raise CorpusError(f"nothing was recorded in {folder}: {reasons}")
    recorded = tuple(found[key] for key in itertools.product(games, range(episodes)) if key in found)
    csv_path = write_csv(folder, recorded, splits=splits)
    return Recordings(folder=folder, csv_path=csv_path, episodes=recorded, failures=failures)


def splits_of(
    episodes: int, *, valid_episodes: int | None = None, test_episodes: int | None = None
) -> tuple[Split, ...]:
    """Choose the split of each episode of a game: the last are test, those before them valid.

    When it is not said how many, both get a sixth, but at least one; of two episodes the second is
    test, and a single one is train. Raises `UsageError` when nothing is left for train.
    """
    if episodes < 1:
        raise UsageError(f"--episodes is 1 or more, got {episodes}")
    sixth = max(1, episodes // 6)
    test = test_episodes if test_episodes is not None else (sixth if episodes > 1 else 0)
    valid = valid_episodes if valid_episodes is not None else (sixth if episodes - test > 1 else 0)
    if test < 0 or valid < 0 or test + valid >= episodes:
        raise UsageError(
            f"{valid} valid and {test} test episodes leave none of {episodes} for training: "
            "give more --episodes, or fewer --valid-episodes and --test-episodes"
        )
    counts: dict[Split, int] = {"train": episodes - valid - test, "valid": valid, "test": test}
    return tuple(split for split, count in counts.items() for _ in range(count))


def write_csv(folder: Path, episodes: Iterable[Episode], *, splits: Sequence[Split]) -> Path:
    """Write `videos.csv` with path (relative to the folder), label and split of the episodes."""
    path = folder / CSV_FILE
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("path", "label", "split"))
            for episode in episodes:
                relative = episode.path.relative_to(folder).as_posix()
                writer.writerow((relative, episode.game, splits[episode.episode]))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise CorpusError(f"{path} cannot be written ({error.strerror}): free its place") from error
    return path


def _record_game(
    folder: Path, game: str, numbers: Sequence[int], settings: Settings, open_console: OpenConsole
) -> Iterator[Episode]:
    for number in numbers:
        # A console of its own for each episode: it does not matter which of the others exist.
        # ale-py takes seeds of 31 bits; 0 would mean the time of day in some versions.
        console = open_console(game, seed=1 + (settings.seed * 1000 + number) % (2**31 - 2))
        path = episode_path(folder, game, number)
        yield record_episode(path, console, game=game, number=number, settings=settings)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CorpusError(
            f"{folder} cannot be made ({error.strerror}): give a folder of your own with --out"
        ) from error
    return folder


def _sweep(folder: Path, games: Iterable[str]) -> None:
    """Remove what processes that were ended from outside could not remove themselves."""
    for game in games:
        for remnant in (folder / game).glob(".*.tmp"):
            remnant.unlink(missing_ok=True)
