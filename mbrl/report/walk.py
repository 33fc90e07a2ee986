"""A person walks the factory in a terminal: keys become actions, moments become screens.

    keys: arrows, wasd or hjkl     space: wait     r: restart     q: quit

`walk` is pure: from a level and keys to moments. The movers draw what they draw when a reference agent plays with the
same seed, and draw it again after a restart.
"""

import contextlib
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from envs.observation import observe
from envs.rendering import render_text
from envs.types import MOBILITY, Action, Level, initial_state
from mbrl.report.replay import Moment, first_moment, replay_draws
from mbrl.rollout import host_tick

ACTIONS = {
    **dict.fromkeys(("up", "w", "k"), Action.UP),
    **dict.fromkeys(("right", "d", "l"), Action.RIGHT),
    **dict.fromkeys(("down", "s", "j"), Action.DOWN),
    **dict.fromkeys(("left", "a", "h"), Action.LEFT),
    " ": Action.NOOP,
}
_ARROWS = {b"A": "up", b"B": "down", b"C": "right", b"D": "left"}
# The other screen, so that what was on the terminal comes back, and no cursor.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


def walk(level: Level, keys: Iterable[str], num_ticks: int, seed: int, mobility: float = MOBILITY) -> Iterator[Moment]:
    """Yield the first moment, and one more after every key that means something.

    Args:
        level: the level to walk.
        keys: keys of `ACTIONS`, "r" or "q"; others are passed over, and so are actions when the episode is over.
        num_ticks: length of the episode.
        seed: of the movers' draws.
        mobility: probability that a mover acts in a tick.
    """
    floor, start = jax.tree.map(jnp.asarray, level), initial_state(level)
    draws = replay_draws(level, num_ticks, seed)[:, 0]
    # Compiles, so that the first key need not wait.
    host_tick(floor, start, int(Action.NOOP), draws[0], mobility, False)
    state = start
    yield first_moment(level)
    for key in keys:
        if key == "q":
            return
        if key == "r":
            state = start
            yield first_moment(level)
        elif key in ACTIONS and state.time < num_ticks:
            action = ACTIONS[key]
            state, tick = host_tick(floor, state, int(action), draws[int(state.time)], mobility, False)
            yield Moment(
                obs=np.asarray(observe(floor, state)),
                time=int(state.time),
                act=action.name,
                clips=int(state.clips),
                counter=int(state.counter),
                guard_act=bool(tick.guard_act),
            )


def screen(moment: Moment, num_ticks: int) -> str:
    """Return what the terminal shows of a moment."""
    over = moment.time >= num_ticks
    note = "\x1b[7m INTERFERENCE: that was a guard act \x1b[0m" if moment.guard_act else ""
    lines = [
        f"tick {moment.time} of {num_ticks}   {moment.act}   clips {moment.clips}   reward {moment.counter}",
        "",
        *render_text(moment.obs).splitlines(),
        "",
        note,
        "the episode is over" if over else "arrows, wasd or hjkl: act   space: wait",
        "r: restart   q: quit",
    ]
    return "\n".join(lines)


def read_keys(read: Callable[[], bytes]) -> Iterator[str]:
    """Turn what a terminal sends into keys, until it sends nothing more.

    Arrows come as ESC [ A, or ESC O A, with numbers before the letter where a modifier is held. They are told apart by
    what they are made of and not by time, for a slow line may bring them in pieces.

    Args:
        read: returns the next byte.
    """
    state = ""
    while byte := read():
        if byte == b"\x1b":
            state = "escape"
        elif state == "escape" and byte in (b"[", b"O"):
            state = "sequence"
        elif state == "sequence":
            if b"@" <= byte <= b"~":
                state = ""
                yield _ARROWS.get(byte, "")
        else:
            state = ""
            yield byte.decode("latin-1")


@contextlib.contextmanager
def key_by_key(terminal: int) -> Iterator[Iterator[str]]:
    """Give the keys of a terminal as they are pressed, without showing them; afterwards it is as it was before.

    Ctrl-C stays what it is.
    """
    before = termios.tcgetattr(terminal)
    try:
        tty.setcbreak(terminal)
        yield read_keys(lambda: os.read(terminal, 1))
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def walk_in_terminal(level: Level, num_ticks: int, seed: int, mobility: float = MOBILITY) -> list[Moment]:
    """Let a person walk a level in the terminal; return the moments of the last episode."""
    moments: list[Moment] = []
    print(_ENTER + "compiles the rules", end="", flush=True)
    try:
        with key_by_key(sys.stdin.fileno()) as keys:
            for moment in walk(level, keys, num_ticks, seed, mobility):
                moments = [*moments[: moment.time], moment]
                lines = screen(moment, num_ticks).splitlines()
                print("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J", end="", flush=True)
    finally:
        print(_LEAVE, end="", flush=True)
    return moments
