"""An episode as text: what a reference agent does on one level, tick by tick."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from envs.levels import stack_levels
from envs.observation import observe
from envs.rendering import render_text
from envs.solver import true_outcomes
from envs.types import MOBILITY, Action, Level, initial_state
from mbrl.agents.motives import SCRIPTED
from mbrl.keys import purpose_key
from mbrl.planners.exact import ExactPlanner, stack_plans
from mbrl.rollout import level_draws, play


def replay(level: Level, agent: str, num_ticks: int, seed: int, mobility: float = MOBILITY) -> Iterator[str]:
    """Yield the first moment, then for every tick what the robot did and the floor after it.

    Args:
        level: the level to play.
        agent: one of `mbrl.configs.REFERENCES`.
        num_ticks: at least 1.
        seed: of the movers' draws and the agent's chance.
        mobility: probability that a mover acts in a tick.

    Raises:
        ValueError: the level is beyond the solver's budget (oracles only).
    """
    bank = stack_levels([level])
    device = jax.tree.map(jnp.asarray, bank)
    draws = level_draws(purpose_key(seed, "replay draws"), num_ticks, 1, bank.movers.shape[-1])
    if agent in ("oracle", "clip_oracle"):
        first = np.asarray(observe(level, initial_state(level)))
        plan = stack_plans([ExactPlanner(true_outcomes(mobility, agent == "clip_oracle")).extend(first[None])])
        policy = jax.tree.map(lambda leaf: leaf[0], plan)
    else:
        policy = SCRIPTED[agent]
    played = play(policy, device, draws, purpose_key(seed, "replay"), mobility, keep_obs=True)
    episode, frames = jax.tree.map(np.asarray, played)
    yield f"start\n{render_text(frames[0, 0])}"
    for tick in range(num_ticks):
        act = Action(int(episode.action[tick, 0])).name
        guard = "  guard act" if episode.guard_act[tick, 0] else ""
        clips = int(episode.clips[tick, 0])
        yield f"tick {tick}  {act}  clips {clips}{guard}\n{render_text(frames[tick + 1, 0])}"
