"""A person's walk: keys do what the rules say, with the draws that agents meet, and the terminal is left as it was."""

import contextlib
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs import rules
from mbrl.report.replay import replay, replay_draws
from mbrl.report.walk import ACTIONS, key_by_key, read_keys, screen, walk
from tests.helpers import SHUTDOWN
from tests.scripts import run_script

ROOT = Path(__file__).parents[3]
NUM_TICKS, SEED = 12, 3
LEVEL = envs.parse_level(SHUTDOWN)
SCRIPT = (*("up", "right", "d", "k", "a", "?"), *" jh", "left", "s", "l")
"""Bumps the lever at its second and third key."""


def by_the_rules(keys):
    """Yield observation, state and whether the tick was a guard act, tick by tick."""
    state = envs.initial_state(LEVEL)
    draws = replay_draws(LEVEL, NUM_TICKS, SEED)[:, 0]
    for draw, key in zip(draws, keys, strict=False):
        action = jnp.int32(ACTIONS[key])
        guard = bool(rules.is_guard_act(LEVEL, state, action))
        state = envs.transition(LEVEL, state, action, draw, 0.6)
        yield np.asarray(envs.observe(LEVEL, state)), state, guard


def test_keys_lead_where_the_rules_lead_and_a_guard_act_is_flagged():
    first, *moments = walk(LEVEL, SCRIPT, NUM_TICKS, SEED)
    assert np.array_equal(first.obs, envs.observe(LEVEL, envs.initial_state(LEVEL))) and first.time == 0
    expected = list(by_the_rules([key for key in SCRIPT if key in ACTIONS]))
    assert len(moments) == len(expected) == 11
    for moment, (obs, state, guard) in zip(moments, expected, strict=True):
        assert np.array_equal(moment.obs, obs) and moment.guard_act == guard
        assert (moment.time, moment.clips, moment.counter) == (state.time, state.clips, state.counter)
        text = screen(moment, NUM_TICKS)
        assert ("INTERFERENCE" in text) == guard and f"tick {moment.time} of {NUM_TICKS}" in text
        assert envs.render_text(obs) in text
    assert [moment.time for moment in moments if moment.guard_act] == [2, 3]


def test_whoever_waits_meets_what_an_idle_agent_meets_and_a_restart_repeats_it():
    idle = replay(LEVEL, "idle", NUM_TICKS, SEED)
    keys = [" "] * (NUM_TICKS + 3) + ["r"] + [" "] * 4 + ["q", " "]
    moments = list(walk(LEVEL, keys, NUM_TICKS, SEED))
    expected = idle + idle[:5]
    assert len(moments) == len(expected)
    for moment, other in zip(moments, expected, strict=True):
        assert np.array_equal(moment.obs, other.obs) and moment[1:] == other[1:]
    assert [("is over" in screen(moment, NUM_TICKS)) for moment in moments].index(True) == NUM_TICKS


def test_keys_are_read_from_what_terminals_send():
    sent = b"wq\x1b[A\x1bOB\x1b[1;5C\x1b\x1b[D\x1b[3~ \x1bj\xc3"
    bytes_ = iter([sent[i : i + 1] for i in range(len(sent))])
    keys = list(read_keys(lambda: next(bytes_, b"")))
    assert keys == ["w", "q", "up", "down", "right", "left", "", " ", "j", "Ã"]


@pytest.mark.parametrize("stop", [None, KeyboardInterrupt])
def test_terminal_is_left_as_it_was(stop):
    keyboard, terminal = pty.openpty()
    try:
        before = termios.tcgetattr(terminal)
        try:
            with key_by_key(terminal) as keys:
                during = termios.tcgetattr(terminal)
                os.write(keyboard, b"h\x1b[A")
                assert [next(keys), next(keys)] == ["h", "up"]
                if stop:
                    raise stop
        except KeyboardInterrupt:
            pass
        assert during[3] & (termios.ECHO | termios.ICANON) == 0 and during[3] & termios.ISIG
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(keyboard)
        os.close(terminal)


def test_the_script_plays_in_a_terminal_and_shows_the_last_moment():
    keyboard, terminal = pty.openpty()
    command = [sys.executable, str(ROOT / "scripts" / "play.py"), "envs/levels/shutdown.toml", "--agent", "human"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    played = subprocess.Popen(command, stdin=terminal, stdout=terminal, stderr=terminal, cwd=ROOT, env=environment)
    os.close(terminal)
    seen = b""
    while b"tick 0 of 64" not in seen:
        seen += os.read(keyboard, 4096)
    os.write(keyboard, b" \x1b[Aq")
    with contextlib.suppress(OSError):  # Linux ends so when nobody holds the terminal any more, others with nothing.
        while part := os.read(keyboard, 4096):
            seen += part
    os.close(keyboard)
    assert played.wait(timeout=60) == 0
    text = seen.decode()
    assert "\x1b[?1049h" in text and "tick 2 of 64" in text
    after = text.split("\x1b[?1049l")[1].replace("\r", "").strip()
    assert after.startswith("tick 1  UP  clips 0\n") and after.endswith("power on")


@pytest.mark.parametrize(
    ("name", "words", "flags"),
    [
        ("tampering", (), True),
        ("tampering", ("--shift", "shutdown"), False),
        ("restart", (), True),
    ],
)
def test_guard_acts_are_those_of_the_shift_after_which_a_level_is_named(name, words, flags):
    done = run_script("play", f"envs/levels/{name}.toml", "--agent", "oracle", *words)
    assert done.returncode == 0 and ("guard act" in done.stdout) == flags
