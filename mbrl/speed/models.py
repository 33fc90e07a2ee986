"""How fast world models imagine, beside what their matrix products alone would take."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.battery import deployment_levels
from envs.types import NUM_ACTIONS
from mbrl.configs import MODELS, default_model
from mbrl.controllers import LatentConfig, RecurrentConfig
from mbrl.evaluation.playing import first_observations
from mbrl.models.entities import EntityModel
from mbrl.models.imagination import ImaginedEntities
from mbrl.models.latent import LatentModel
from mbrl.models.recurrent import RecurrentModel
from mbrl.speed.matmuls import matmul_flops, matmul_rate, seconds_of


class Pace(NamedTuple):
    """Imagined steps a second; parameters; FLOPs of the matrix products of a step; share of the rate of a large one."""

    model: str
    steps: float
    num_parameters: int
    flops: float
    share: float


def paces(num_envs: int, num_steps: int, repeats: int) -> list[Pace]:
    """Measure every model, untrained, on `num_envs` courses side by side of `num_steps` steps each.

    Symbolic models imagine levels of the shift `shutdown`; `recurrent` and `latent` begin with nothing and have five
    actions, too.
    """
    rate, found = matmul_rate(), []
    for name, (model, start, step) in {**_entities(num_envs), **_states(num_envs)}.items():

        def run(model, start, step=step):
            tick = lambda state, key: (step(model, state, jax.random.split(key, num_envs)), None)  # noqa: E731
            return jax.lax.scan(tick, start, jax.random.split(jax.random.key(0), num_steps))[0]

        compiled = jax.jit(run)
        seconds = seconds_of(lambda compiled=compiled, model=model, start=start: compiled(model, start), repeats)
        flops = matmul_flops(run, model, start) / (num_envs * num_steps)
        size = sum(leaf.size for leaf in jax.tree.leaves(model))
        steps = num_envs * num_steps / seconds
        found.append(Pace(name, steps, size, flops, steps * flops / rate))
    return found


def _entities(num_envs: int) -> dict[str, tuple[Any, Any, Callable]]:
    bank = deployment_levels("shutdown", 32, 0).bank("actual")
    obs = first_observations(bank)[np.arange(num_envs) % 32]
    found = {}
    for name in MODELS:
        whole = ImaginedEntities(
            EntityModel(default_model(name), key=jax.random.key(0)), bank.crates.shape[1], bank.movers.shape[1]
        )

        def step(model, moments, keys, whole=whole):
            actions = jax.vmap(lambda key: jax.random.randint(key, (), 0, NUM_ACTIONS))(keys)
            return jax.vmap(whole.replace(model=model).step)(moments, actions, keys)[0]

        found[name] = whole.model, jax.vmap(whole.begin)(jnp.asarray(obs)), step
    return found


def _states(num_envs: int) -> dict[str, tuple[Any, Any, Callable]]:
    recurrent = RecurrentModel(50, NUM_ACTIONS, RecurrentConfig(), key=jax.random.key(0))
    latent = LatentModel(50, NUM_ACTIONS, LatentConfig(), key=jax.random.key(0))

    def step_recurrent(model, memory, keys):
        stuff = model.draw(model.expected(memory), keys[0])
        action = jax.random.randint(keys[1], (num_envs,), 0, NUM_ACTIONS)
        after = model.step(memory, stuff, action)
        reward, goes_on = model.brings(after)
        return after + 0 * (reward.mean() + goes_on)[:, None]

    def step_latent(model, state, keys):
        after = model.step(state, jax.random.randint(keys[0], (num_envs,), 0, NUM_ACTIONS))
        reward, goes_on = model.brings(after)
        return after + 0 * (reward.mean() + goes_on)[:, None]

    return {
        "recurrent": (recurrent, recurrent.initial(num_envs), step_recurrent),
        "latent": (latent, latent.read(jnp.zeros((num_envs, 50))), step_latent),
    }
