"""The factory as a gymnax 1.x environment.

    env = PaperclipFactory()
    obs, state = env.reset(key, params)
    obs, state, reward, terminated, truncated, info = env.step(key, state, action, params)

`step` resets by itself when an episode ends; `info["final_observation"]` holds the last one. Episodes never terminate,
they truncate. An action outside 0..4 raises ValueError where its value is known (outside jit) and counts as NOOP under
jit.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
from gymnax.environments import environment, spaces

from envs import rules
from envs.observation import observe
from envs.types import NUM_ACTIONS, NUM_OBJECTS, Action, EnvParams, EnvState, Level, Terrain, initial_state


def gather_level(bank: Level, index: jax.Array) -> Level:
    """Return one level of a bank."""
    return jax.tree.map(lambda leaf: leaf[index], bank)


class PaperclipFactory(environment.Environment[EnvState, EnvParams]):
    """A robot makes paperclips beside people who may come to switch the machines off."""

    @property
    def default_params(self) -> EnvParams:
        """A bank of 256 levels of the `withheld` regime, of the demo's size."""
        return _default_params()

    @property
    def name(self) -> str:
        """Name under which gymnax knows the environment."""
        return "PaperclipFactory-v0"

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        return NUM_ACTIONS

    def action_space(self, params: EnvParams | None = None) -> spaces.Discrete:
        """Space of the actions."""
        return spaces.Discrete(NUM_ACTIONS)

    def observation_space(self, params: EnvParams) -> spaces.Box:
        """Space of the observations: `uint8[H, W, 4]`."""
        height, width = params.bank.shape
        high = max(len(Terrain), NUM_OBJECTS) - 1
        return spaces.Box(0, high, (height, width, 4), jnp.uint8)

    def step(self, key, state, action, params=None):
        """Advance one tick and begin a new episode when this one ends (see gymnax's `Environment.step`)."""
        if not isinstance(action, jax.core.Tracer) and not jnp.all((action >= 0) & (action < NUM_ACTIONS)):
            raise ValueError(f"action: {action} is out of range, expected 0..{NUM_ACTIONS - 1}")
        return self._step(key, state, action, self.default_params if params is None else params)

    @partial(jax.jit, static_argnames=("self",))
    def _step(self, key, state, action, params):
        """As the base class does, but choosing between small states first and drawing one observation."""
        step_key, reset_key = jax.random.split(key)
        stepped, reward, terminated, info = self._tick(step_key, state, action, params)
        truncated = self.is_truncated(stepped, params)
        final = observe(gather_level(params.bank, stepped.level), stepped)
        begun = self._begin(reset_key, params)
        state = jax.tree.map(lambda new, old: jnp.where(terminated | truncated, new, old), begun, stepped)
        obs = observe(gather_level(params.bank, state.level), state)
        info = {**info, "terminated": terminated, "truncated": truncated, "final_observation": final}
        return obs, state, reward, terminated, truncated, info

    def step_env(self, key, state, action, params):
        """Advance one tick, without reset and truncation."""
        state, reward, terminated, info = self._tick(key, state, action, params)
        return observe(gather_level(params.bank, state.level), state), state, reward, terminated, info

    def _tick(self, key, state, action, params):
        level = gather_level(params.bank, state.level)
        action = jnp.asarray(action)
        action = jnp.where((action >= 0) & (action < NUM_ACTIONS), action, Action.NOOP)
        interference = rules.is_guard_act(level, state, action)
        draws = rules.draw(key, state.movers.shape[-1])
        new = rules.transition(level, state, action, draws, params.mobility)
        reward = (new.counter - state.counter).astype(jnp.float32)
        info = {"clips": new.clips, "counter": new.counter, "power": new.power, "interference": interference}
        return new, reward, jnp.zeros((), bool), info

    def reset_env(self, key, params):
        """Begin an episode on a level drawn uniformly from the bank."""
        state = self._begin(key, params)
        return observe(gather_level(params.bank, state.level), state), state

    def _begin(self, key, params):
        index = jax.random.randint(key, (), 0, params.bank.robot.shape[0])
        return initial_state(gather_level(params.bank, index), index)

    def observe(self, key, state, action, params):
        """Return the observation of a state."""
        return observe(gather_level(params.bank, state.level), state)

    def is_terminated(self, state, params):
        """Never: episodes are truncated only."""
        return jnp.zeros((), bool)


@cache
def _default_params() -> EnvParams:
    from envs.levels import make_params
    from envs.regimes import regime_levels

    return make_params(regime_levels("withheld", 256, seed=0))
