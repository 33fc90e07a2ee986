"""Agents on any gymnax environment: learn it, plan in what was learnt, play it, and tell what that brought.

    control(trial, place) -> what every seed earned

    true+planner     the environment's own rules, enumerated by trying (models/enumerated.py)
    dense+planner    what a perceptron learnt of random experience (models/observed.py)
    latent+mcts      a model of values, learnt while searching in it (agents/muzero.py)
    dreamer          an actor that learns in the imagination of a recurrent model (agents/dreamer.py)
    ppo              no model (agents/ppo.py); recurrent_ppo remembers (agents/recurrent_ppo.py)

Models are made into decision processes in tables, so that all planners serve. They complete their plans by one step of
improvement over acting at random. Planning takes observations that tell states apart, and finitely many of them. A
planner's `floor` is applied to what was learnt, not to the rules.
"""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments.environment import Environment
from jaxtyping import Array, Bool, Float, Int

from envs.keys import key_words
from envs.values import DecisionProcess, solve_graph
from mbrl import interrupt
from mbrl.agents.dreamer import make_learner as make_dreamer
from mbrl.agents.muzero import make_learner as make_latent
from mbrl.agents.ppo import make_learner as make_ppo
from mbrl.agents.recurrent_ppo import make_learner as make_recurrent
from mbrl.cli import check_choice
from mbrl.configs import Lane, PPOConfig
from mbrl.controllers import DreamerConfig, EnumeratedConfig, LatentConfig, ObservedConfig, ReplayConfig
from mbrl.encoders import Encoded, Encoder
from mbrl.keys import purpose_key
from mbrl.model_free import RecurrentPPOConfig
from mbrl.models.enumerated import array_key, base_policy, enumerate_environment
from mbrl.models.observed import explore, foreseen
from mbrl.models.observed import make_learner as make_model
from mbrl.models.tabular import Table
from mbrl.planners.exact import Plan, best_actions
from mbrl.planners.imagination import improved_actions
from mbrl.planners.sequences import SequencePlanner
from mbrl.planners.tree import TreePlanner
from mbrl.planning import ImaginationConfig, PlannerConfig, Planning, SearchConfig, TreeConfig
from mbrl.rollout import classes_of
from mbrl.training import Schedule, Workplace, train_lanes
from mbrl.trials import Control
from mbrl.types import Learner


class Episodes(NamedTuple):
    """What episodes brought, with and without discount, how many steps they took, and whether anything came up that was
    not planned for."""

    returns: Float[Array, "episodes"]
    discounted: Float[Array, "episodes"]
    lengths: Int[Array, "episodes"]
    lost: Bool[Array, "episodes"]


def play(
    policy: Any, env: Environment, params: Any, num_episodes: int, key: jax.Array, gamma: float = 0.99
) -> Episodes:
    """Play whole episodes under the project's protocol of policies.

    Args:
        policy: pure, without a leading axis.
        env, params: the environment, which also says after how many steps an episode is cut.
        num_episodes: played side by side.
        key: of all chance.
        gamma: discount of `discounted`.
    """
    keys = jax.random.split(key, num_episodes)
    return _play(policy, env, params, keys, gamma, int(params.max_steps_in_episode), classes_of(policy))


@partial(jax.jit, static_argnames=("env", "num_steps", "classes"))
def _play(policy, env, params, keys, gamma, num_steps, classes):
    def episode(key):
        reset_key, begin_key, run_key = jax.random.split(key, 3)
        obs, state = env.reset(reset_key, params)

        def tick(at):
            obs, state, memory, told, weight, _ = at
            act_key, step_key = jax.random.split(jax.random.fold_in(run_key, told.lengths))
            action, memory = policy.act(memory, obs, act_key)
            obs, state, reward, terminated, truncated, _ = env.step(step_key, state, action, params)
            told = Episodes(
                told.returns + reward,
                told.discounted + weight * reward,
                told.lengths + 1,
                jnp.asarray(getattr(memory, "lost", False)),
            )
            return obs, state, memory, told, weight * gamma, ~(terminated | truncated)

        told = Episodes(jnp.float32(0), jnp.float32(0), jnp.int32(0), jnp.bool_(False))
        start = obs, state, policy.begin(obs, begin_key), told, jnp.float32(1), jnp.bool_(True)
        return jax.lax.while_loop(lambda at: at[-1] & (at[3].lengths < num_steps), tick, start)[3]

    return jax.vmap(episode)(keys)


def control(trial: Control, place: Workplace) -> dict[str, Any]:
    """Do what a trial says.

    Returns:
        For every seed the means over its episodes; `claimed` is what the agent's model expects of its plan, discounted,
        `states` how many observations it knows.

    Raises:
        ValueError: there is no such environment, or the agent cannot be had on it.
        Stopped: somebody asked to stop.
    """
    check_choice("env", trial.env, gymnax.registered_envs)
    env, params = gymnax.make(trial.env)
    if not hasattr(env.action_space(params), "n"):
        raise ValueError(f"env: expected one with finitely many actions, got {trial.env!r}")
    played = env if isinstance(trial.learner, EnumeratedConfig | ObservedConfig) else Encoded(env, params)
    found = []
    for seed, (policy, claims) in zip(trial.seeds, _policies(trial, played, params, place), strict=True):
        place.report(f"seed {seed}: plays {trial.evaluation:,} episodes")
        interrupt.check()
        episodes = play(policy, played, params, trial.evaluation, purpose_key(seed, "episodes"), trial.gamma)
        means = {name: float(np.mean(values)) for name, values in episodes._asdict().items()}
        found.append({"seed": seed} | means | claims)
    return {"env": trial.env, "agent": trial.agent, "gamma": trial.gamma, "episodes": trial.evaluation, "seeds": found}


def _policies(trial: Control, env: Environment, params: Any, place: Workplace):
    """Yield for every seed what plays, and what can be said of it."""
    lanes = [Lane(seed, trial.learning_rate, trial.gamma) for seed in trial.seeds]
    match trial.learner:
        case EnumeratedConfig() as config:
            for seed in trial.seeds:
                place.report(f"seed {seed}: tries every action everywhere")
                interrupt.check()
                world = enumerate_environment(env, params, config.num_draws, seed, config.max_states)
                yield _planner(world.process, trial, seed)
        case ObservedConfig() as config:
            place.report("acts at random")
            encoder = Encoder.of(env.observation_space(params))
            met = [explore(env, params, config, seed) for seed in trial.seeds]
            schedule, learner = Schedule(config.num_updates, config.chunk), make_model(config, encoder, env.num_actions)
            trained = train_lanes(learner, schedule, lanes, met, len(lanes), "world model", place)
            for i, (seed, part) in enumerate(zip(trial.seeds, met, strict=True)):
                process = foreseen(_lane(trained.model, i), encoder, part, trial.planner.floor)
                yield _planner(process, trial, seed)
        case PPOConfig() | ReplayConfig() as config:
            schedule = Schedule(config.num_updates, config.chunk, config.num_envs * config.num_steps)
            learner = _learner(config, trial.planner, env)
            trained = train_lanes(learner, schedule, lanes, [params] * len(lanes), len(lanes), trial.agent, place)
            for i in range(len(lanes)):
                yield _lane(trained.model, i), {}


def _learner(config: PPOConfig | ReplayConfig, planner: Planning, env: Environment) -> Learner:
    """Return how an agent learns that acts as it learns."""
    match config:
        case LatentConfig():
            assert isinstance(planner, TreeConfig)
            return make_latent(config, planner.num_simulations, env)
        case DreamerConfig():
            return make_dreamer(config, env)
        case RecurrentPPOConfig():
            return make_recurrent(config, env)
        case PPOConfig():
            return make_ppo(config, env)
    raise TypeError(f"expected the settings of an agent that acts as it learns, got {config}")


def _lane(models: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf[i]), models)


def _planner(process: DecisionProcess, trial: Control, seed: int) -> tuple[Any, dict[str, float]]:
    """Return the policy that plans in a decision process, and what that promises by exact planning."""
    config, values = trial.planner, solve_graph(process, trial.gamma)
    promised = float(values[process.start].max(1).mean())
    policy = planner_of(process, values, config, trial.gamma, purpose_key(seed, "planning"))
    return policy, {"claimed": promised, "states": len(process.key) - 1}


def planner_of(process: DecisionProcess, values: np.ndarray, config: Planning, gamma: float, key: jax.Array) -> Any:
    """Return a policy, pure and without a leading axis.

    Args:
        process: what is planned in.
        values: Q* of it, which `exact` follows.
        config: settings of a planner, which say which it is.
        gamma: discount.
        key: randomness of planning ahead of an episode.
    """
    if type(config) is PlannerConfig:
        return _plan(process, best_actions(values, config.tie))
    table = Table.of(process, base_policy(process, gamma), gamma, array_key)
    if isinstance(config, ImaginationConfig):
        return _plan(process, improved_actions(process, table, replace(config, gamma=gamma), key))
    table = jax.tree.map(jnp.asarray, table)
    if isinstance(config, TreeConfig):
        return TreePlanner(table, config)
    assert isinstance(config, SearchConfig)
    return SequencePlanner(table, config)


def _plan(process: DecisionProcess, actions: np.ndarray) -> Plan:
    order = np.argsort(process.key)
    return Plan(jnp.asarray(key_words(process.key[order])), jnp.asarray(actions[order]), array_key)
