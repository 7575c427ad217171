import csv
import itertools
import json
import os
import subprocess
import sys
import zlib

import av
import numpy as np
import pytest
import soxr
from fake_console import FlashConsole, open_fake
from test_atari_movie import decode

from avmi.errors import CorpusError, UsageError
from data_prep.atari import DEFAULT_GAMES, record, splits_of
from data_prep.atari_episode import Settings, record_episode, silent_share
from data_prep.atari_movie import CONSOLE_RATE_HZ, SAMPLE_RATE_HZ, pairs_of, speaker_sound
from data_prep.atari_play import check_games, open_ale, play, warmed_up

SHORT = {"seconds": 1.5, "open_console": open_fake}


def rows_of(recordings):
    with recordings.csv_path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def bytes_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.mp4")}


def onsets(times, active):
    """Times at which something becomes active, without the very first moment."""
    return times[1:][active[1:] & ~active[:-1]]


def test_flashes_and_beeps_of_a_recorded_episode_come_together(tmp_path):
    path = tmp_path / "game" / "game_e2.mp4"
    settings = Settings(seconds=7.0, seed=4)
    console = FlashConsole(game_ticks=700)
    episode = record_episode(path, console, game="game", number=2, settings=settings)
    times, brightness, sound = decode(path)
    flashes = onsets(times, brightness > 128)
    # Loudest of every 5 ms: the beep is a square wave, whose single samples cross zero.
    step = SAMPLE_RATE_HZ // 200
    level = np.abs(sound[: len(sound) // step * step]).reshape(-1, step).max(axis=1)
    beeps = onsets(np.arange(len(level)) / 200, level > 0.1)
    assert len(flashes) == len(beeps) >= 7 * 60 // 37 - 1
    late = beeps - flashes
    # A picture holds two ticks: a flash in its second tick is seen up to one tick (16.7 ms) early.
    assert np.all(late > -0.006)
    assert np.all(late < 1 / 60 + 0.006)
    assert np.abs(late).min() < 0.006
    assert episode.seconds == 7.0
    assert episode.size_bytes == path.stat().st_size
    assert console.restarts >= 1 or len(console.taken) < 700


def test_loudness_and_silence_of_an_episode_are_measured(tmp_path):
    settings = Settings(seconds=2.0, seed=0)
    loud, quiet = (
        record_episode(
            tmp_path / f"{name}.mp4", open_fake(name, seed=1), game=name, number=0, settings=settings
        )
        for name in ("flash", "silent")
    )
    # 8 of 37 ticks are a square wave between 0 and 60/128, half of that in amplitude around its mean.
    expected = 10 * np.log10(8 / 37 * (30 / 128) ** 2)
    assert loud.loudness_dbfs == pytest.approx(expected, abs=1.5)
    assert loud.silent_share == 0.0
    assert quiet.loudness_dbfs == -120.0
    assert quiet.silent_share == 1.0


def test_silent_share_counts_the_windows_that_are_silent_throughout():
    rate = 1000
    sound = np.zeros(10_007, dtype=np.float32)
    sound[4_000:4_500] = 0.1
    starts = range(0, 10_007 - 1600 + 1, 200)
    silent = [np.sqrt(np.mean(sound[s : s + 1600] ** 2)) < 1e-3 for s in starts]
    assert silent_share(sound, sample_rate_hz=rate) == pytest.approx(np.mean(silent))
    assert 0 < np.mean(silent) < 1
    assert silent_share(sound[:900], sample_rate_hz=rate) == 1.0  # shorter than a window


@pytest.mark.parametrize(
    ("episodes", "given", "expected"),
    [
        (6, {}, "4 1 1"),
        (1, {}, "1 0 0"),
        (2, {}, "1 0 1"),
        (3, {}, "1 1 1"),
        (13, {}, "9 2 2"),
        (7, {"test_episodes": 3}, "3 1 3"),
        (5, {"valid_episodes": 0, "test_episodes": 0}, "5 0 0"),
        (8, {"valid_episodes": 3, "test_episodes": 4}, "1 3 4"),
    ],
)
def test_the_last_episodes_are_test_and_those_before_them_valid(episodes, given, expected):
    train, valid, test = map(int, expected.split())
    assert splits_of(episodes, **given) == ("train",) * train + ("valid",) * valid + ("test",) * test


@pytest.mark.parametrize("given", [(0, None, None), (4, 2, 2), (3, None, 3), (3, -1, 1), (2, 1, 1)], ids=str)
def test_splits_without_a_training_episode_are_an_error(given):
    with pytest.raises(UsageError, match="--episodes"):
        splits_of(given[0], valid_episodes=given[1], test_episodes=given[2])


def test_recordings_and_their_csv_are_written_and_a_second_run_keeps_them(tmp_path):
    heard = []
    first = record(tmp_path, games=["zeta", "alpha", "zeta"], episodes=3, on_episode=heard.append, **SHORT)
    assert rows_of(first) == [
        ["path", "label", "split"],
        ["zeta/zeta_e0.mp4", "zeta", "train"],
        ["zeta/zeta_e1.mp4", "zeta", "valid"],
        ["zeta/zeta_e2.mp4", "zeta", "test"],
        ["alpha/alpha_e0.mp4", "alpha", "train"],
        ["alpha/alpha_e1.mp4", "alpha", "valid"],
        ["alpha/alpha_e2.mp4", "alpha", "test"],
    ]
    assert sorted(e.path for e in heard) == sorted(e.path for e in first.episodes)
    assert not any(e.is_kept for e in first.episodes)
    assert {p.suffix for p in tmp_path.rglob("*") if p.is_file()} == {".mp4", ".csv"}

    before = bytes_of(tmp_path)
    assert len(set(before.values())) == 6  # no two episodes alike
    (tmp_path / "alpha" / "alpha_e1.mp4").unlink()
    again = record(tmp_path, games=["zeta", "alpha"], episodes=3, **SHORT)
    assert [e.path.name for e in again.episodes if not e.is_kept] == ["alpha_e1.mp4"]
    assert bytes_of(tmp_path) == before  # recorded alone, it is the same, byte for byte
    measured = [(e.loudness_dbfs, e.silent_share, e.size_bytes) for e in first.episodes]
    assert [(e.loudness_dbfs, e.silent_share, e.size_bytes) for e in again.episodes] == measured


def test_another_seed_records_other_play(tmp_path):
    for seed in (0, 1):
        record(tmp_path / str(seed), games=["game"], episodes=1, seed=seed, **SHORT)
    first, second = (decode(tmp_path / str(seed) / "game" / "game_e0.mp4")[1] for seed in (0, 1))
    assert not np.array_equal(first, second)


def test_games_that_cannot_be_played_are_named_and_the_others_recorded(tmp_path):
    games = ["dies", "good", "raises", "silent"]
    recordings = record(tmp_path, games=games, episodes=2, **SHORT)
    assert [(e.game, e.episode) for e in recordings.episodes] == [
        ("good", 0),
        ("good", 1),
        ("silent", 0),
        ("silent", 1),
    ]
    assert {f.name: f.reason for f in recordings.failures} == {
        "dies": "the process ended with code 3 (no such cartridge)",
        "raises": "ValueError: bad cartridge",
    }
    assert {row[1] for row in rows_of(recordings)[1:]} == {"good", "silent"}
    assert not (tmp_path / "dies").exists()


def test_when_no_game_can_be_played_it_is_an_error_and_no_csv(tmp_path):
    with pytest.raises(CorpusError, match=r"nothing was recorded.*dies: .*no such cartridge"):
        record(tmp_path, games=["dies"], episodes=1, **SHORT)
    assert list(tmp_path.rglob("*.csv")) == []


def test_an_interrupted_run_leaves_whole_files_only_and_goes_on_later(tmp_path):
    def interrupt(episode):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(tmp_path, games=["game"], episodes=5, on_episode=interrupt, **SHORT)
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert left
    assert {p.suffix for p in left} == {".mp4"}
    later = record(tmp_path, games=["game"], episodes=5, **SHORT)
    assert sum(e.is_kept for e in later.episodes) == len(left)
    assert len(later.episodes) == 5


def test_recordings_with_other_settings_are_never_mixed(tmp_path):
    record(tmp_path, games=["game"], episodes=1, **SHORT)
    with pytest.raises(UsageError, match=r"recorded with seconds 1\.5, now asked for: seconds 2\.5"):
        record(tmp_path, games=["game"], episodes=1, seconds=2.5, open_console=open_fake)
    with pytest.raises(UsageError, match="seed 0, now asked for: seed 9"):
        record(tmp_path, games=["game"], episodes=1, seed=9, **SHORT)


def test_a_file_of_somebody_else_is_not_overwritten(tmp_path):
    foreign = tmp_path / "game" / "game_e0.mp4"
    foreign.parent.mkdir()
    foreign.write_text("mine")
    with pytest.raises(UsageError, match="in the way"):
        record(tmp_path, games=["game"], episodes=1, **SHORT)
    assert foreign.read_text() == "mine"


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CorpusError, match="cannot be made"):
        record(tmp_path / "file" / "out", games=["game"], episodes=1, **SHORT)


@pytest.mark.parametrize(
    "given", [{"seconds": 0.5}, {"seconds": 1e6}, {"seconds": float("nan")}, {"workers": 0}, {"seed": -1}]
)
def test_settings_that_cannot_be_name_their_option(tmp_path, given):
    with pytest.raises(UsageError, match=f"--{next(iter(given))}"):
        record(tmp_path / "out", **({"games": ["game"], "open_console": open_fake} | given))
    assert not (tmp_path / "out").exists()


def run_command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "data_prep", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"COLUMNS": "200"},
        check=False,
    )


def test_the_command_line_without_its_option_says_which_and_exits_with_2():
    ended = run_command("atari")
    assert ended.returncode == 2
    assert "--out" in ended.stderr


def test_an_error_on_the_command_line_is_one_sentence_and_exits_with_2(tmp_path):
    ended = run_command("atari", "--out", tmp_path, "--seconds", "0.1")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("error: --seconds is 1 to 3600")
    assert ended.stderr.count("\n") == 1


# What follows plays real games.


@pytest.fixture
def ale():
    return pytest.importorskip("ale_py", reason="ale-py is absent: no real games to record")


def test_all_default_games_are_in_ale_py(ale):
    check_games(DEFAULT_GAMES)
    assert len(set(DEFAULT_GAMES)) == 10


def test_the_command_records_real_games_and_names_the_one_that_ends_its_process(ale, tmp_path):
    arguments = ["atari", "--out", tmp_path, "--games", "pong, combat,freeway"]
    arguments += ["--episodes", "2", "--seconds", "1.5"]
    ended = run_command(*arguments, "--json")
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["recorded"], told["kept"], list(told["games"])) == (4, 0, ["pong", "freeway"])
    assert list(told["failed"]) == ["combat"]
    assert "ended with code 1" in told["failed"]["combat"]
    assert told["size_bytes"] == sum(p.stat().st_size for p in tmp_path.rglob("*.mp4"))
    table = run_command(*arguments)
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    assert lines[1].split()[:3] == ["pong", "2", "3.0"]
    assert lines[3].startswith("2 games: 0 episodes recorded, 4 kept, 6 s")
    assert lines[4].startswith("not recorded: combat")


def test_an_unknown_game_is_an_error_with_its_neighbours_and_nothing_is_written(ale, tmp_path):
    ended = run_command("atari", "--out", tmp_path / "out", "--games", "pong,breakuot")
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ale-py has no game 'breakuot' (did you mean breakout")
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_a_recording_shows_and_sounds_what_the_emulator_did_at_each_moment(ale, tmp_path):
    settings, path = Settings(seconds=4.0, seed=2), tmp_path / "kangaroo" / "kangaroo_e1.mp4"
    record_episode(path, open_ale("kangaroo", seed=5), game="kangaroo", number=1, settings=settings)
    # The same play once more, without the recorder's files.
    rng = np.random.default_rng([2, zlib.crc32(b"kangaroo"), 1])
    ticks = warmed_up(play(open_ale("kangaroo", seed=5), rng), rng)
    pairs = list(pairs_of(ticks, pictures=120))

    with av.open(str(path)) as container:
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(pictures) == len(pairs)
    error = np.array(
        [
            [np.abs(p.astype(float) - np.maximum(a.screen, b.screen)).mean() for a, b in pairs]
            for p in pictures[::7]
        ]
    )
    # Each picture is nearer to the screens of its moment than to any other (ties are still scenes).
    own = error[np.arange(len(error)), np.arange(0, 120, 7)]
    assert np.all(own <= error.min(axis=1) + 1e-3)
    assert len(np.unique(error.argmin(axis=1))) > 5

    _, _, sound = decode(path)
    samples = np.concatenate([tick.sound for tick in itertools.chain.from_iterable(pairs)])
    truth = soxr.resample(speaker_sound(samples), CONSOLE_RATE_HZ, SAMPLE_RATE_HZ)
    size = len(truth)
    spectrum = np.fft.rfft(sound[:size], 2 * size) * np.conj(np.fft.rfft(truth, 2 * size))
    correlation = np.fft.irfft(spectrum)
    lag = (int(np.argmax(correlation)) + size) % (2 * size) - size
    assert abs(lag) / SAMPLE_RATE_HZ < 1e-3
    scale = np.linalg.norm(sound[:size]) * np.linalg.norm(truth)
    assert correlation.max() / scale > 0.95


def test_real_play_is_the_same_for_the_same_seed_byte_for_byte(ale, tmp_path):
    for name in ("a", "b"):
        record(tmp_path / name, games=["breakout"], episodes=1, seconds=2.0, seed=11)
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b") != {}
