"""`python -m data_prep atari`: recordings on disk, a table on stdout (or one JSON object), progress on stderr."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from data_prep.atari import DEFAULT_GAMES, Recordings, record
from data_prep.atari_episode import Episode


def atari(
    out: Annotated[Path, typer.Option(help="Folder for the recordings; finished files in it are kept.")],
    games: Annotated[str, typer.Option(help="Games by ale-py's names, with commas.")] = ",".join(
        DEFAULT_GAMES
    ),
    episodes: Annotated[int, typer.Option(help="Episodes of each game.")] = 6,
    seconds: Annotated[float, typer.Option(help="Length of an episode, 1 to 3600.")] = 12.0,
    seed: Annotated[int, typer.Option(help="Fixes the play: same seed, same recordings.")] = 0,
    workers: Annotated[int, typer.Option(help="Games that are recorded at a time.")] = 2,
    valid_episodes: Annotated[
        int | None, typer.Option(help="Episodes of a game for the valid split; default a sixth, at least 1.")
    ] = None,
    test_episodes: Annotated[
        int | None, typer.Option(help="Episodes of a game for the test split; default a sixth, at least 1.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object instead of a table.")
    ] = False,
) -> None:
    """Record emulated Atari games under random play, with their real sound; needs `avmi[atari]`."""
    from tqdm import tqdm

    named = [game for game in (part.strip() for part in games.split(",")) if game]
    with tqdm(total=len(set(named)) * episodes, unit="episode", file=sys.stderr, disable=None) as bar:

        def show(episode: Episode) -> None:
            bar.set_postfix_str(episode.game)
            bar.update()

        recordings = record(
            out,
            games=named,
            episodes=episodes,
            seconds=seconds,
            seed=seed,
            workers=workers,
            valid_episodes=valid_episodes,
            test_episodes=test_episodes,
            on_episode=show,
        )
    print(json.dumps(summary(recordings)) if as_json else table(recordings))


def summary(recordings: Recordings) -> dict[str, Any]:
    """Sum the recordings up by game, in values that JSON knows."""
    by_game: dict[str, list[Episode]] = {}
    for episode in recordings.episodes:
        by_game.setdefault(episode.game, []).append(episode)
    return {
        "folder": str(recordings.folder),
        "csv": str(recordings.csv_path),
        "recorded": sum(not episode.is_kept for episode in recordings.episodes),
        "kept": sum(episode.is_kept for episode in recordings.episodes),
        "seconds": sum(episode.seconds for episode in recordings.episodes),
        "size_bytes": sum(episode.size_bytes for episode in recordings.episodes),
        "games": {game: _summary_of_game(episodes) for game, episodes in by_game.items()},
        "failed": {failure.name: failure.reason for failure in recordings.failures},
    }


def table(recordings: Recordings) -> str:
    """Lay the summary out for reading: a line a game, the totals, what failed, what to do next."""
    whole = summary(recordings)
    lines = [f"{'game':<20} episodes  seconds     size  loudness  silent windows  silent episodes"]
    for game, facts in whole["games"].items():
        lines.append(
            f"{game:<20} {facts['episodes']:>8} {facts['seconds']:>8.1f} {_megabytes(facts['size_bytes']):>8}"
            f" {facts['loudness_dbfs']:>6.1f} dB {facts['silent_share']:>14.1%} {facts['silent_episodes']:>16}"
        )
    lines.append(
        f"{len(whole['games'])} games: {whole['recorded']} episodes recorded, {whole['kept']} kept, "
        f"{whole['seconds']:.0f} s, {_megabytes(whole['size_bytes'])}"
    )
    lines += [f"not recorded: {game}: {reason}" for game, reason in whole["failed"].items()]
    lines.append(f"next: avmi prepare {whole['csv']} --out CORPUS")
    return "\n".join(lines)


def _summary_of_game(episodes: list[Episode]) -> dict[str, Any]:
    return {
        "episodes": len(episodes),
        "seconds": sum(episode.seconds for episode in episodes),
        "size_bytes": sum(episode.size_bytes for episode in episodes),
        "loudness_dbfs": sum(episode.loudness_dbfs for episode in episodes) / len(episodes),
        "silent_share": sum(episode.silent_share for episode in episodes) / len(episodes),
        "silent_episodes": sum(episode.silent_share == 1 for episode in episodes),
    }


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.2f} MB"
