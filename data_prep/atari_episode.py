"""A game's console, seed and number → one recorded episode: a file, and how loud it is."""

import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32

from avmi.errors import UsageError
from data_prep.atari_movie import (
    CONSOLE_RATE_HZ,
    FRAME_RATE,
    MovieWriter,
    pairs_of,
    picture_of,
    read_comment,
    speaker_sound,
)
from data_prep.atari_play import Console, play, warmed_up

SHORTEST_SECONDS, LONGEST_SECONDS = 1.0, 3600.0

# A window below this level holds nothing that a listener could match with a picture.
SILENCE_DBFS = -60.0
SILENCE_WINDOW_SECONDS = 1.6
_SILENCE_HOP_SECONDS = 0.2
_FLOOR_DBFS = -120.0

# Changes when the same seed would give another recording, so that folders are never mixed.
_RECORDER = "avmi data_prep atari 1"


@dataclass(frozen=True)
class Settings:
    """What a recording is determined by, beside its game and episode."""

    seconds: float
    seed: int

    def __post_init__(self) -> None:
        if not SHORTEST_SECONDS <= self.seconds <= LONGEST_SECONDS:
            raise UsageError(
                f"--seconds is {SHORTEST_SECONDS:g} to {LONGEST_SECONDS:g}, got {self.seconds:g}"
            )
        if self.seed < 0:
            raise UsageError(f"--seed is 0 or more, got {self.seed}")


@dataclass(frozen=True)
class Episode:
    """One recorded episode."""

    game: str
    episode: int
    path: Path
    seconds: float
    size_bytes: int
    loudness_dbfs: float  # RMS of the whole; the floor is -120
    silent_share: float  # of the windows of SILENCE_WINDOW_SECONDS
    is_kept: bool  # found finished from an earlier run


def episode_path(folder: Path, game: str, number: int) -> Path:
    """Name the file of an episode."""
    return folder / game / f"{game}_e{number}.mp4"


def record_episode(path: Path, console: Console, *, game: str, number: int, settings: Settings) -> Episode:
    """Play one episode at random and write it; the file is there whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    # The name counts, so that two games with the same actions are not played alike.
    rng = np.random.default_rng([settings.seed, zlib.crc32(game.encode()), number])
    ticks = warmed_up(play(console, rng), rng)
    samples = []
    with MovieWriter(path) as movie:
        for pair in pairs_of(ticks, pictures=round(settings.seconds * FRAME_RATE)):
            movie.add(picture_of(pair))
            samples += [tick.sound for tick in pair]
        sound = speaker_sound(np.concatenate(samples))
        facts = {"loudness_dbfs": _decibels(np.mean(np.square(sound, dtype=np.float64)))}
        facts["silent_share"] = silent_share(sound, sample_rate_hz=CONSOLE_RATE_HZ)
        movie.finish(sound, comment=_identity(game, number, settings) | facts)
    return _episode(path, game, number, settings, facts, is_kept=False)


def kept_episode(folder: Path, game: str, number: int, *, settings: Settings) -> Episode | None:
    """Find an episode that an earlier run finished; None when there is no file.

    Raises `UsageError` when the file was recorded with other settings or by something else.
    """
    path = episode_path(folder, game, number)
    if not path.exists():
        return None
    comment, wanted = read_comment(path), _identity(game, number, settings)
    if comment is None or comment.get("recorder") != wanted["recorder"]:
        raise UsageError(
            f"{path} is in the way, it is no recording of this version: give another --out, or move it away"
        )
    differ = [key for key in wanted if comment.get(key) != wanted[key]]
    if differ:
        is_what = ", ".join(f"{key} {comment.get(key)}" for key in differ)
        wants = ", ".join(f"{key} {wanted[key]}" for key in differ)
        raise UsageError(
            f"{path} was recorded with {is_what}, now asked for: {wants}; give another --out, or delete {folder}"
        )
    return _episode(path, game, number, settings, comment, is_kept=True)


def silent_share(sound: Float32[np.ndarray, "samples"], *, sample_rate_hz: int) -> float:
    """Measure the share of windows (SILENCE_WINDOW_SECONDS) that are below SILENCE_DBFS."""
    window = min(len(sound), round(SILENCE_WINDOW_SECONDS * sample_rate_hz))
    starts = np.arange(0, len(sound) - window + 1, round(_SILENCE_HOP_SECONDS * sample_rate_hz))
    energy = np.concatenate([[0.0], np.cumsum(np.square(sound, dtype=np.float64))])
    power = (energy[starts + window] - energy[starts]) / window
    return float(np.mean(power < 10 ** (SILENCE_DBFS / 10)))


def _identity(game: str, number: int, settings: Settings) -> dict[str, Any]:
    return {
        "recorder": _RECORDER,
        "game": game,
        "episode": number,
        "seconds": settings.seconds,
        "seed": settings.seed,
    }


def _episode(
    path: Path, game: str, number: int, settings: Settings, facts: dict[str, Any], *, is_kept: bool
) -> Episode:
    return Episode(
        game=game,
        episode=number,
        path=path,
        seconds=round(settings.seconds * FRAME_RATE) / FRAME_RATE,
        size_bytes=path.stat().st_size,
        loudness_dbfs=facts["loudness_dbfs"],
        silent_share=facts["silent_share"],
        is_kept=is_kept,
    )


def _decibels(power: float) -> float:
    return max(_FLOOR_DBFS, 10 * math.log10(power)) if power > 0 else _FLOOR_DBFS
