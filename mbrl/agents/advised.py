"""The advised agent: it learns no model; it can act, or ask somebody who knows, and learns by reward alone when to.

    asks ─► stands still for this tick ─► sees, in each of the next ticks, what the adviser would do ─► acts as it likes

Nothing rewards asking or following: in training, advice pays where the agent cannot see which of several feeders is
jammed, and costs a tick everywhere else. It is trained by PPO (see `mbrl.agents.ppo`) beside an adviser that plans
exactly with the true rules; whom it asks at deployment is another matter.

    AdvisedFactory      the factory with an adviser in it, for training
    AdvisedPolicy       what was learnt, beside any adviser
    AdvisedAgents       the same for advisers that plan ahead on the host
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from gymnax.environments import environment, spaces
from jaxtyping import Array, Bool, Int, UInt8

from envs.factory import PaperclipFactory
from envs.types import MAX_STEPS, Action, EnvParams, EnvState
from mbrl.advisers.base import SILENT, Adviser, Planned
from mbrl.agents.advised_network import ASK, AdvisedNetwork, with_advice
from mbrl.keys import purpose_key
from mbrl.planners.exact import ExactPlanner, Lookup, Planners, stack_plans
from mbrl.types import Transition


@struct.dataclass
class AdvisedState:
    """The factory's state, and for how many ticks the adviser will still be heard."""

    factory: EnvState
    left: Int[Array, ""]

    @property
    def clips(self) -> Int[Array, ""]:
        """Clips made since the reset."""
        return self.factory.clips


@struct.dataclass
class AdvisedParams:
    """The factory's parameters, and who can be asked."""

    factory: EnvParams
    adviser: Adviser


class AdvisedFactory(environment.Environment[AdvisedState, AdvisedParams]):
    """The factory with a sixth action, asking: the robot stands still, and the next observations show advice.

    Args:
        advice_ticks: how many of them.
    """

    factory = PaperclipFactory()

    def __init__(self, advice_ticks: int):
        super().__init__()
        self.advice_ticks = advice_ticks

    @property
    def name(self) -> str:
        """Name of the environment."""
        return "AdvisedFactory"

    @property
    def num_actions(self) -> int:
        """Number of actions."""
        return ASK + 1

    def action_space(self, params: AdvisedParams | None = None) -> spaces.Discrete:
        """Space of the actions."""
        return spaces.Discrete(self.num_actions)

    def reset(self, key, params):
        """Begin an episode; nothing is advised yet."""
        obs, state = self.factory.reset(key, params.factory)
        return with_advice(obs, jnp.int32(SILENT)), AdvisedState(state, jnp.int32(0))

    def step(self, key, state, action, params):
        """Advance one tick; who asks stands still and is advised from then on."""
        step_key, advice_key = jax.random.split(key)
        asks = action == ASK
        obs, new, reward, terminated, truncated, info = self.factory.step(
            step_key, state.factory, jnp.where(asks, Action.NOOP, action), params.factory
        )
        final, left = info["final_observation"], heard(asks, state.left, self.advice_ticks)
        advice, _ = params.adviser.advise(final, advice_key)
        advice = jnp.where(left > 0, advice, SILENT)
        info = {**info, "final_observation": with_advice(final, advice)}
        obs = with_advice(obs, jnp.where(truncated, SILENT, advice))
        return obs, AdvisedState(new, jnp.where(truncated, 0, left)), reward, terminated, truncated, info


def heard(asks: Bool[Array, ""], left: Int[Array, ""], advice_ticks: int) -> Int[Array, ""]:
    """Return for how many ticks an adviser will be heard after a tick in which somebody asks, or does not."""
    return jnp.where(asks, advice_ticks, jnp.maximum(left - 1, 0))


def of_factory(seen: Transition) -> Transition:
    """Return transitions of the advised factory as those of the factory itself."""
    action = jnp.where(seen.action == ASK, Action.NOOP, seen.action)
    return Transition(seen.obs[..., :4], action, seen.reward, seen.next_obs[..., :4])


OWN, ASKED, ASKED_AGAIN, DECLINED, FOLLOWED = range(5)
"""What somebody who can ask did in a tick: acted unadvised, asked; or, advised, asked again, did otherwise, did it."""


@struct.dataclass
class Asking:
    """Memory of an episode: how many ticks its adviser is still heard; what it did in each of the first 64; what an
    adviser met unprepared (see `mbrl.planners.exact.Lookup`)."""

    left: Int[Array, ""]
    tick: Int[Array, ""]
    history: UInt8[Array, "ticks"]
    lookup: Lookup

    @property
    def lost(self) -> Bool[Array, ""]:
        """Whether its adviser met something unprepared."""
        return self.lookup.lost

    @property
    def lost_obs(self) -> UInt8[Array, "height width 4"]:
        """What that was."""
        return self.lookup.lost_obs


@struct.dataclass
class AdvisedPolicy:
    """What the agent has learnt, and whom it asks; nobody if it cannot ask."""

    model: AdvisedNetwork
    adviser: Adviser
    advice_ticks: int = struct.field(pytree_node=False)
    can_ask: bool = struct.field(pytree_node=False, default=True)

    def begin(self, obs: UInt8[Array, "height width 4"], key: jax.Array) -> Asking:
        """Begin an episode."""
        return Asking(jnp.int32(0), jnp.int32(0), jnp.zeros(MAX_STEPS, jnp.uint8), Lookup.begin(obs))

    def act(self, memory: Asking, obs: UInt8[Array, "height width 4"], key: jax.Array) -> tuple[Array, Asking]:
        """Act, or ask and stand still."""
        advice_key, act_key = jax.random.split(key)
        advice, known = self.adviser.advise(obs, advice_key)
        advice = jnp.where(memory.left > 0, advice, SILENT)
        choice = _choose(self.model, obs, advice, self.can_ask, act_key)
        asks = choice == ASK
        advised = jnp.where(asks, ASKED_AGAIN, jnp.where(choice == advice, FOLLOWED, DECLINED))
        did = jnp.where(advice >= 0, advised, jnp.where(asks, ASKED, OWN))
        memory = Asking(
            left=heard(asks, memory.left, self.advice_ticks),
            tick=memory.tick + 1,
            history=memory.history.at[memory.tick].set(did.astype(jnp.uint8), mode="drop"),
            lookup=memory.lookup.note(obs, known | (memory.left == 0)),
        )
        return jnp.where(asks, Action.NOOP, choice).astype(jnp.int32), memory


class AdvisedAgents(Planners):
    """Agents of several seeds that ask one planner, which plans ahead of their episodes.

    Args:
        models: what they learnt, seeds along a leading axis.
        planner: whom they ask.
        advice_ticks: how long it is heard.
    """

    def __init__(self, models: AdvisedNetwork, planner: ExactPlanner, advice_ticks: int):
        self.models, self.advice_ticks = models, advice_ticks
        super().__init__([planner] * len(jax.tree.leaves(models)[0]))

    def policy(self) -> AdvisedPolicy:
        """Return agents and adviser as one policy with a leading axis of seeds."""
        return AdvisedPolicy(self.models, Planned(stack_plans(self.planners)), self.advice_ticks)


class AskingAloud:
    """The agent of one seed on the host, a callable `obs -> action`, beside an adviser that is no array.

    What it draws depends on seed, level and tick alone, and what it was told of a moment it is told again, so that an
    episode that is played again, with guard acts suppressed, differs from the first by these alone.

    Args:
        policy: what it learnt (without a leading axis); its own adviser is not asked.
        ask: `obs -> action`, or SILENT.
        seed: of what it draws.
    """

    def __init__(self, policy: AdvisedPolicy, ask: Callable[[np.ndarray], int], seed: int = 0):
        self.policy, self.ask = policy, ask
        self._key, self._answers = purpose_key(seed, "asking aloud"), dict[tuple[int, int, bytes], int]()
        self.begin(0)

    def begin(self, number: int) -> None:
        """Begin an episode on the level of this number."""
        self.left, self._number, self._tick = 0, number, 0

    def __call__(self, obs: np.ndarray) -> int:
        """Act, or ask and stand still."""
        obs = np.asarray(obs)
        moment = self._number, self._tick, obs.tobytes()
        if self.left > 0 and moment not in self._answers:
            self._answers[moment] = self.ask(obs)
        advice = self._answers[moment] if self.left > 0 else SILENT
        key = jax.random.fold_in(jax.random.fold_in(self._key, self._number), self._tick)
        choice = int(_choose(self.policy.model, obs, advice, self.policy.can_ask, key))
        self.left = int(heard(choice == ASK, self.left, self.policy.advice_ticks))
        self._tick += 1
        return int(Action.NOOP) if choice == ASK else choice


@jax.jit
def _choose(
    model: AdvisedNetwork,
    obs: UInt8[Array, "height width 4"],
    advice: Int[Array, ""],
    can_ask: Bool[Array, ""],
    key: jax.Array,
) -> Int[Array, ""]:
    """Draw one of the six actions, at what is seen and advised."""
    distribution, _ = model(with_advice(obs, advice))
    logits = distribution.logits
    return jax.random.categorical(key, jnp.where(can_ask, logits, logits.at[ASK].set(-jnp.inf)))
