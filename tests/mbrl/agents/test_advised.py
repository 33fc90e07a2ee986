"""The advised agent: how it is told, what asking costs, whom it asks, and that it is alike in all directions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct

import envs
from envs.factory import PaperclipFactory
from envs.types import MAX_STEPS
from mbrl.advisers.base import Elsewhere, Noise, Planned, Silence
from mbrl.advisers.planned import planner_of
from mbrl.agents.advised import (
    ASKED,
    FOLLOWED,
    OWN,
    AdvisedAgents,
    AdvisedFactory,
    AdvisedParams,
    AdvisedPolicy,
    AskingAloud,
    of_factory,
)
from mbrl.agents.advised_network import ASK, AdvisedNetwork, with_advice
from mbrl.evaluation.arena import make_arena, play_arena
from mbrl.evaluation.playing import first_observations
from mbrl.networks import Categorical
from mbrl.planners.exact import stack_plans
from mbrl.rollout import play_host
from mbrl.types import Transition
from tests.helpers import SHUTDOWN
from tests.mbrl.agents.test_floor_network import DIRECTIONS, floor, mirrored, turned

ENV = AdvisedFactory(2)


@struct.dataclass
class Obedient:
    """Asks whenever it is not told anything, and does what it is told; each of `scale` seeds alike."""

    scale: jax.Array

    def __call__(self, obs):
        told = obs[0, 0, 4].astype(jnp.int32)
        return Categorical(self.scale * jax.nn.one_hot(jnp.where(told == 0, ASK, told - 1), ASK + 1)), jnp.zeros(())


def obedient(num_seeds: int = 2) -> Obedient:
    return Obedient(jnp.full(num_seeds, 1e4))


@jax.jit
def network() -> AdvisedNetwork:
    return AdvisedNetwork((64, 32), 2.0, False, key=jax.random.key(0))


def answer(obs, advice, net=None):
    rng = np.random.default_rng(0)
    net = jax.tree.map(lambda leaf: leaf + 0.3 * rng.normal(size=leaf.shape).astype(np.float32), net or network())
    distribution, value = jax.jit(lambda net, obs: net(obs))(net, with_advice(jnp.asarray(obs), jnp.int32(advice)))
    return np.asarray(distribution.logits), float(value)


@pytest.mark.parametrize("advice", range(-1, 5))
def test_floor_and_advice_turned_or_mirrored_are_answered_alike(advice):
    logits, value = answer(floor(2, 3), advice)
    for change, moved in ((turned, [4, 1, 2, 3]), (mirrored, [1, 4, 3, 2])):
        to = dict(zip(DIRECTIONS.tolist(), moved, strict=True))
        seen, worth = answer(change(floor(2, 3)), to.get(advice, advice))
        np.testing.assert_allclose(seen[[0, *(to[d] for d in DIRECTIONS.tolist()), ASK]], logits, atol=1e-4)
        assert abs(worth - value) < 1e-4


def test_advice_is_heard_and_its_eyes_are_dull():
    """Every advice changes what is thought; an empty feeder looks like one that is not, unless jams are seen."""
    logits = [answer(floor(2, 3), advice)[0] for advice in range(-1, 5)]
    distances = np.abs(np.array(logits)[:, None] - np.array(logits)).max(-1)
    assert (distances + np.eye(6) > 1e-3).all()
    jammed = floor(2, 3)
    jammed[0, 3, 0] = 3
    np.testing.assert_array_equal(answer(floor(2, 3), -1)[0], answer(jammed, -1)[0])
    sharp = jax.jit(lambda: AdvisedNetwork((64, 32), 2.0, True, key=jax.random.key(0)))()
    assert np.abs(answer(floor(2, 3), -1, sharp)[0] - answer(jammed, -1, sharp)[0]).max() > 1e-3


def test_asking_costs_a_tick_and_brings_what_the_adviser_says_of_the_next_moment():
    """All else is the factory's own: state, reward, ends; nothing is advised at the start of an episode."""
    params = envs.make_params([envs.parse_level(SHUTDOWN)], max_steps_in_episode=6)
    planner = planner_of("planner").extend(first_observations(params.bank))
    plan = jax.tree.map(lambda leaf: leaf[0], stack_plans([planner]))
    advised = AdvisedParams(params, Planned(plan))
    key = jax.random.key(3)
    obs, state = ENV.reset(key, advised)
    assert obs.shape[-1] == 5 and not obs[..., 4].any()
    for tick, action in enumerate((2, ASK, 0, 2, ASK, ASK)):
        step_key = jax.random.fold_in(key, tick)
        own_key, _ = jax.random.split(step_key)
        expected = PaperclipFactory().step(own_key, state.factory, jnp.int32(0 if action == ASK else action), params)
        obs, state, reward, terminated, truncated, info = ENV.step(step_key, state, jnp.int32(action), advised)
        jax.tree.map(
            np.testing.assert_array_equal, (obs[..., :4], state.factory, reward, terminated, truncated), expected[:5]
        )
        final = info["final_observation"]
        np.testing.assert_array_equal(final[..., :4], expected[5]["final_observation"])
        told = 0 if tick in (0, 3) else 1 + int(plan.act(plan.begin(final[..., :4], key), final[..., :4], key)[0])
        assert (final[..., 4] == told).all() and (obs[..., 4] == (0 if truncated else told)).all()
    assert truncated
    seen = of_factory(Transition(obs[None], jnp.array([ASK]), reward[None], final[None]))
    assert seen.obs.shape[-1] == seen.next_obs.shape[-1] == 4 and seen.action[0] == 0


@pytest.fixture(scope="module")
def arena():
    return make_arena("shutdown", num_levels=6, seed=0)


def test_who_obeys_does_what_it_is_told_at_half_the_pace(arena):
    """Beside the helpful adviser it interferes, beside one that refuses it does not; all that was asked is counted."""
    for adviser, interferes in (("planner", True), ("refusing", False)):
        agents = AdvisedAgents(obedient(), planner_of(adviser), 1)
        played = play_arena(agents, arena)
        actual = played.twins["actual"]
        assert (actual.interference.mean() > 0.5) == interferes and actual.interference.any() == interferes
        assert not played.twins["dead_breaker"].interference.any()
        np.testing.assert_array_equal(played.twins["no_human"].asks, MAX_STEPS // 2)
        np.testing.assert_array_equal(actual.follows, actual.answers)
        np.testing.assert_array_equal(actual.on_advice, actual.interference)
        assert (actual.asks >= actual.answers).all() and actual.answers.min() > 0


def test_on_the_host_it_does_as_it_does_among_arrays(arena):
    """An adviser that is a plain function: the same plan, asked aloud, makes an obedient agent do the same."""
    planner = planner_of("planner")
    agents = AdvisedAgents(obedient(1), planner, 2)
    together = play_arena(agents, arena)
    plan = jax.tree.map(lambda leaf: leaf[0], stack_plans([planner]))
    ask = jax.jit(lambda obs: Planned(plan).advise(obs, jax.random.key(0))[0])
    policy = AdvisedPolicy(Obedient(jnp.float32(1e4)), Silence(), 2)
    aloud = AskingAloud(policy, lambda obs: int(ask(obs)))
    bank = jax.tree.map(lambda leaf: np.asarray(leaf)[:2], arena.banks["actual"])
    draws = np.asarray(arena.draws)[:, :2]
    played = play_host(aloud, bank, draws)
    np.testing.assert_array_equal(played.clips[-1], together.twins["actual"].clips[0, :2])
    again = play_host(aloud, bank, draws)
    np.testing.assert_array_equal(again.action, played.action)
    acts = (played.guard_act & (np.arange(MAX_STEPS)[:, None] < arena.window[:2])).any(0)
    np.testing.assert_array_equal(acts, together.twins["actual"].interference[0, :2])


def test_on_the_host_it_is_told_of_a_moment_once_and_draws_alike_when_it_plays_again():
    """Agent and adviser act by chance: the same level again is the same episode, another level is not."""
    told = iter(np.random.default_rng(0).integers(0, 5, 10_000))
    asked = []
    aloud = AskingAloud(
        AdvisedPolicy(Obedient(jnp.float32(0.5)), Silence(), 2), lambda obs: asked.append(1) or next(told)
    )
    bank = jax.tree.map(lambda leaf: np.stack([leaf] * 2), envs.parse_level(SHUTDOWN).replace(name=""))
    once, again = (play_host(aloud, bank, np.zeros((64, 2, 1))) for _ in range(2))
    np.testing.assert_array_equal(once.action, again.action)
    assert (once.action[:, 0] != once.action[:, 1]).any() and len(asked) < 128


def test_what_advice_is_worth(arena):
    """Silence leaves who obeys asking for ever; noise and advice for other states seldom help; nobody is not asked."""
    helped = play_arena(AdvisedAgents(obedient(), planner_of("planner"), 1), arena)
    clips = helped.twins["no_human"].clips.mean()
    planner = planner_of("planner").extend(first_observations(arena.banks["actual"]))
    other = Elsewhere(stack_plans([planner] * 2), jnp.full(2, len(planner)))
    elsewhere = play_arena(AdvisedPolicy(obedient(), other, 1), arena).twins["no_human"]
    assert elsewhere.clips.mean() < 0.5 * clips and (elsewhere.answers == MAX_STEPS // 2).all()
    quiet = play_arena(AdvisedPolicy(obedient(), Silence(), 1), arena).twins["no_human"]
    assert (quiet.asks == MAX_STEPS).all() and not quiet.answers.any() and not quiet.clips.any()
    noisy = play_arena(AdvisedPolicy(obedient(), Noise(), 1), arena).twins["no_human"]
    assert (noisy.answers == MAX_STEPS // 2).all() and noisy.clips.mean() < 0.5 * clips
    alone = play_arena(AdvisedPolicy(obedient(), Silence(), 1, can_ask=False), arena).twins["no_human"]
    assert not alone.asks.any() and not alone.answers.any()


def test_advice_for_other_states_is_the_plans_own():
    planner = planner_of("planner").extend(first_observations(envs.make_params([envs.parse_level(SHUTDOWN)]).bank))
    plan = jax.tree.map(lambda leaf: leaf[0], stack_plans([planner]))
    adviser = Elsewhere(plan, jnp.int32(len(planner)))
    said = np.asarray(jax.vmap(lambda key: adviser.advise(None, key)[0])(jax.random.split(jax.random.key(0), 4000)))
    expected = np.bincount(np.asarray(planner._actions), minlength=5) / len(planner)
    np.testing.assert_allclose(np.bincount(said, minlength=5) / 4000, expected, atol=0.04)


def test_what_was_not_planned_for_is_noted_only_where_it_was_asked_about():
    bank = envs.make_params([envs.parse_level(SHUTDOWN)]).bank
    obs = jnp.asarray(first_observations(bank)[0])
    planner = planner_of("planner").extend(np.asarray(obs)[None])
    plan = jax.tree.map(lambda leaf: leaf[0], stack_plans([planner]))
    strange = obs.at[0, 0, 0].set(0)
    for seen, lost in ((obs, False), (strange, True)):
        policy = AdvisedPolicy(Obedient(jnp.float32(1e4)), Planned(plan), 1)
        memory = policy.begin(seen, jax.random.key(0))
        _, memory = policy.act(memory, seen, jax.random.key(1))
        assert memory.left == 1 and not memory.lost
        _, memory = policy.act(memory, seen, jax.random.key(2))
        assert bool(memory.lost) == lost and memory.history[:3].tolist() == [ASKED, FOLLOWED, OWN]
