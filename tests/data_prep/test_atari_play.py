import itertools
import sys

import numpy as np
import pytest
from fake_console import FlashConsole

from avmi.errors import UsageError
from data_prep.atari_play import (
    FIRE_SHARE,
    HOLD_TICKS,
    WARM_UP_TICKS,
    check_games,
    known_games,
    open_ale,
    play,
    warmed_up,
)


def actions_of(*, seed, ticks, game_ticks=10**6):
    console = FlashConsole(game_ticks=game_ticks)
    list(itertools.islice(play(console, np.random.default_rng(seed)), ticks))
    return console


def test_the_same_seed_plays_the_same_and_another_seed_plays_otherwise():
    first, again, other = (actions_of(seed=seed, ticks=700).taken for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_actions_are_held_at_least_as_long_as_said():
    runs = [len(list(run)) for _, run in itertools.groupby(actions_of(seed=2, ticks=5000).taken)]
    assert min(runs[:-1]) >= HOLD_TICKS[0]  # the last is cut off; equal neighbours only lengthen
    assert len(runs) > 5000 / HOLD_TICKS[1] / 2


def test_every_action_occurs_and_fire_as_often_as_said():
    console = actions_of(seed=3, ticks=60_000)
    assert set(console.taken) == set(console.actions)
    share = np.mean(["FIRE" in action for action in console.taken])
    # FIRE_SHARE of the choices are of those that fire, and half of the other choices fire by chance.
    assert share == pytest.approx(FIRE_SHARE + (1 - FIRE_SHARE) / 2, abs=0.03)


def test_a_game_that_ends_begins_again_and_no_tick_is_lost():
    console = actions_of(seed=4, ticks=1000, game_ticks=90)
    assert len(console.taken) == 1000
    assert console.restarts == 1000 // 90  # the console asserts that no tick is played after the end


def test_a_console_without_fire_is_played():
    console = FlashConsole()
    console.actions = ("UP", "DOWN")
    list(itertools.islice(play(console, np.random.default_rng(1)), 500))
    assert set(console.taken) == {"UP", "DOWN"}


def test_warm_up_drops_a_random_number_of_ticks_within_its_bounds():
    dropped = [next(warmed_up(itertools.count(), np.random.default_rng(seed))) for seed in range(200)]
    assert min(dropped) >= WARM_UP_TICKS[0]
    assert max(dropped) <= WARM_UP_TICKS[1]
    assert len(set(dropped)) > 100


def test_without_ale_py_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    for call in (known_games, lambda: open_ale("pong", seed=1), lambda: check_games(["pong"])):
        with pytest.raises(UsageError, match=r"pip install 'avmi\[atari\]'"):
            call()


def test_no_games_at_all_is_an_error():
    with pytest.raises(UsageError, match="no games"):
        check_games([])


def test_an_unknown_game_is_named_with_the_names_near_to_it():
    pytest.importorskip("ale_py", reason="ale-py is absent: its list of games cannot be asked")
    check_games(["pong", "space_invaders"])
    with pytest.raises(UsageError) as caught:
        check_games(["pong", "spaceinvaders", "qqqqq"])
    text = str(caught.value)
    assert "'spaceinvaders' (did you mean space_invaders" in text
    assert "'qqqqq', " not in text.split("; it has:")[0]  # the last of the two, without near names
    assert "'pong'" not in text


def test_ale_py_gives_screens_and_sound_of_one_tick():
    pytest.importorskip("ale_py", reason="ale-py is absent: no real console")
    console = open_ale("pong", seed=3)
    ticks = list(itertools.islice(play(console, np.random.default_rng(0)), 600))
    assert {tick.screen.shape for tick in ticks} == {(210, 160, 3)}
    assert {tick.sound.shape for tick in ticks} == {(512,)}
    assert not np.array_equal(ticks[0].screen, ticks[-1].screen)  # no buffer that is written again
    assert len({tick.sound.tobytes() for tick in ticks}) > 10
