"""PPO in about a hundred lines, one function and dictionaries of arrays: the pace that `mbrl.agents.ppo` has to keep.

Written the way of PureJaxRL (Lu et al., 2022, Discovered Policy Optimisation): everything in one jitted scan over
updates, nothing kept but the return of the episodes that ended. Same sizes, same number of steps, same optimiser; an
episode that is cut counts as ended.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from gymnax.environments.environment import Environment

from mbrl.configs import PPOConfig


def make_train(config: PPOConfig, env: Environment) -> Callable[[jax.Array, Any, float, float], jax.Array]:
    """Make `train(key, env_params, learning_rate, gamma) -> mean return of the episodes that ended, [updates]`."""
    sizes = config.hidden_sizes

    def make_layer(key, num_in, num_out, scale):
        return jax.nn.initializers.orthogonal(scale)(key, (num_in, num_out)), jnp.zeros(num_out)

    def judge(params, obs):
        x = obs
        for weight, bias in params["torso"]:
            x = jnp.tanh(x @ weight + bias)
        (actor, actor_bias), (critic, critic_bias) = params["actor"], params["critic"]
        return x @ actor + actor_bias, (x @ critic + critic_bias)[..., 0]

    def train(key, env_params, learning_rate, gamma):
        actor_key, critic_key, reset_key, run_key, *torso_keys = jax.random.split(key, 4 + len(sizes))
        obs, env_state = jax.vmap(env.reset, (0, None))(jax.random.split(reset_key, config.num_envs), env_params)
        widths = zip(torso_keys, (obs.shape[1], *sizes), sizes, strict=False)
        params = {
            "torso": [make_layer(key, num_in, num_out, 2**0.5) for key, num_in, num_out in widths],
            "actor": make_layer(actor_key, sizes[-1], env.num_actions, 0.01),
            "critic": make_layer(critic_key, sizes[-1], 1, 0.1),
        }
        steps = config.num_updates * config.num_epochs * config.num_minibatches
        optimiser = optax.chain(
            optax.clip_by_global_norm(config.max_gradient_norm),
            optax.adam(optax.linear_schedule(learning_rate, 0.0, steps), eps=1e-5),
        )

        def update(carry, key):
            act_key, learn_key = jax.random.split(key)

            def step(carry, key):
                env_state, obs, total = carry
                act_key, env_key = jax.random.split(key)
                logits, value = judge(acting, obs)
                action = jax.random.categorical(act_key, logits)
                log_prob = jnp.take_along_axis(jax.nn.log_softmax(logits), action[:, None], 1)[:, 0]
                next_obs, env_state, reward, terminated, truncated, _ = jax.vmap(env.step, (0, 0, 0, None))(
                    jax.random.split(env_key, config.num_envs), env_state, action, env_params
                )
                over = terminated | truncated
                total = total + reward
                row = (obs, action, log_prob, value, reward, over)
                return (env_state, next_obs, total * ~over), (row, (jnp.sum(over * total), jnp.sum(over)))

            acting, opt_state, env_state, obs, total = carry
            (env_state, obs, total), (rows, ended) = jax.lax.scan(
                step, (env_state, obs, total), jax.random.split(act_key, config.num_steps)
            )
            _, last = judge(acting, obs)

            def backward(carry, row):
                advantage, next_value = carry
                _, _, _, value, reward, over = row
                delta = reward + gamma * next_value * ~over - value
                advantage = delta + gamma * config.gae_lambda * ~over * advantage
                return (advantage, value), advantage

            _, advantages = jax.lax.scan(backward, (jnp.zeros_like(last), last), rows, reverse=True)
            flat = jax.tree.map(
                lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), (*rows, advantages, advantages + rows[3])
            )

            def minibatch(carry, indices):
                params, opt_state = carry
                obs, action, old, _, _, _, advantage, target = jax.tree.map(lambda leaf: leaf[indices], flat)

                def loss(params):
                    logits, value = judge(params, obs)
                    logs = jax.nn.log_softmax(logits)
                    ratio = jnp.exp(jnp.take_along_axis(logs, action[:, None], 1)[:, 0] - old)
                    scaled = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                    clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
                    entropy = -(jnp.exp(logs) * logs).sum(1).mean()
                    return (
                        -jnp.minimum(ratio * scaled, clipped * scaled).mean()
                        + config.value_coefficient * 0.5 * ((value - target) ** 2).mean()
                        - config.entropy_coefficient * entropy
                    )

                updates, opt_state = optimiser.update(jax.grad(loss)(params), opt_state)
                return (optax.apply_updates(params, updates), opt_state), None

            def epoch(carry, key):
                order = jax.random.permutation(key, config.batch_size)
                return jax.lax.scan(minibatch, carry, order.reshape(config.num_minibatches, -1))

            (params, opt_state), _ = jax.lax.scan(
                epoch, (acting, opt_state), jax.random.split(learn_key, config.num_epochs)
            )
            return (params, opt_state, env_state, obs, total), jnp.sum(ended[0]) / jnp.maximum(jnp.sum(ended[1]), 1)

        start = (params, optimiser.init(params), env_state, obs, jnp.zeros(config.num_envs))
        return jax.lax.scan(update, start, jax.random.split(run_key, config.num_updates))[1]

    return train
