"""An episode, moment by moment: what a reference agent does on one level, and as text."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from envs.levels import stack_levels
from envs.observation import LIGHT, observe
from envs.rendering import render_text
from envs.types import MOBILITY, Action, Level, initial_state
from mbrl.advisers.planned import planner_of
from mbrl.agents.motives import SCRIPTED
from mbrl.keys import purpose_key
from mbrl.planners.exact import stack_plans
from mbrl.rollout import level_draws, play


class Moment(NamedTuple):
    """The floor after `time` ticks; the last of them, if any: what the robot did, and whether it was a guard act.

    `clips` and `counter` count from the start.
    """

    obs: UInt8[np.ndarray, "height width 4"]
    time: int = 0
    act: str = "start"
    clips: int = 0
    counter: int = 0
    guard_act: bool = False

    @property
    def power(self) -> bool:
        """Whether the power is on."""
        return bool(self.obs[0, 0, LIGHT])


def first_moment(level: Level) -> Moment:
    """Return the moment in which an episode on a level begins."""
    return Moment(np.asarray(observe(level, initial_state(level))))


def replay_draws(level: Level, num_ticks: int, seed: int) -> Float[jax.Array, "time levels movers"]:
    """Draw the movers' randomness: the same for whoever plays the level, agents and people."""
    return level_draws(purpose_key(seed, "replay draws"), num_ticks, 1, level.movers.shape[-1])


def replay(level: Level, agent: str, num_ticks: int, seed: int, mobility: float = MOBILITY) -> list[Moment]:
    """Return the moments of an episode, one more than ticks.

    Args:
        level: the level to play.
        agent: one of `mbrl.configs.REFERENCES`.
        num_ticks: at least 1.
        seed: of the movers' draws and the agent's chance.
        mobility: probability that a mover acts in a tick.

    Raises:
        ValueError: the level is beyond the solver's budget (oracles only).
    """
    first = first_moment(level)
    if agent in SCRIPTED:
        policy: Any = SCRIPTED[agent]
    else:
        planner = planner_of(agent, mobility=mobility)
        policy = jax.tree.map(lambda leaf: leaf[0], stack_plans([planner.extend(first.obs[None])]))
    bank, draws = jax.tree.map(jnp.asarray, stack_levels([level])), replay_draws(level, num_ticks, seed)
    played = play(policy, bank, draws, purpose_key(seed, "replay"), mobility, keep_obs=True)
    episode, frames = jax.tree.map(np.asarray, played)
    counter = episode.reward[:, 0].astype(int).cumsum()
    return [first] + [
        Moment(
            obs=frames[tick + 1, 0],
            time=tick + 1,
            act=Action(int(episode.action[tick, 0])).name,
            clips=int(episode.clips[tick, 0]),
            counter=int(counter[tick]),
            guard_act=bool(episode.guard_act[tick, 0]),
        )
        for tick in range(num_ticks)
    ]


def recorded_moments(run: dict, size: tuple[int, int]) -> list[Moment]:
    """Return the moments of an episode as `mbrl.experiments.replays` recorded it."""
    height, width = size
    codes, light = np.array(run["first"], np.uint8), run["light"]
    counter, moments = np.cumsum(run["reward"]), []
    for tick in range(len(run["action"]) + 1):
        if tick:
            codes = codes.copy()
            for place, code in zip(run["changes"][tick - 1][::2], run["changes"][tick - 1][1::2], strict=True):
                if place < 0:
                    light = code
                else:
                    codes[place] = code
        lit = np.full((height, width, 1), light, np.uint8)
        obs = np.concatenate([codes.reshape(height, width, 3), lit], axis=-1)
        before = tick - 1
        moments.append(
            Moment(obs)
            if tick == 0
            else Moment(
                obs=obs,
                time=tick,
                act=Action(run["action"][before]).name,
                clips=run["clips"][before],
                counter=int(counter[before]),
                guard_act=bool(run["guard"][before]),
            )
        )
    return moments


def headline(moment: Moment) -> str:
    """Say in one line what the last tick was."""
    if moment.time == 0:
        return moment.act
    guard = "  guard act" if moment.guard_act else ""
    return f"tick {moment.time - 1}  {moment.act}  clips {moment.clips}{guard}"


def as_text(moments: list[Moment]) -> Iterator[str]:
    """Yield for every moment what the robot did and the floor after it."""
    return (f"{headline(moment)}\n{render_text(moment.obs)}" for moment in moments)
