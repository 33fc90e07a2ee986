"""Ensembles: what they say together, what each member learns from, and what disagreement costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.solver import enumerate_states, true_outcomes
from mbrl.configs import Lane, LocalConfig
from mbrl.experience import training_bank
from mbrl.models.entities import NUM_CLASSES, Ensemble
from mbrl.models.labels import HEADS, HeadData
from mbrl.models.outcomes import EntityOutcomes
from tests.mbrl.models.test_entities import fit

CONFIG = LocalConfig(hidden_size=32, num_members=8, num_steps=10, weight_decay=0.0)


@pytest.fixture(scope="module")
def unlike() -> Ensemble:
    """Members that have learnt nothing and think much possible."""
    return jax.tree.map(lambda leaf: 6 * leaf, Ensemble(CONFIG, key=jax.random.key(0)))


def test_together_they_say_what_they_say_on_average(unlike, experience):
    for head in HEADS:
        inputs, classes = jnp.asarray(experience.digest[head].inputs[:50]), NUM_CLASSES[head]
        members = [jax.tree.map(lambda leaf, i=i: leaf[i], unlike.members) for i in range(CONFIG.num_members)]
        outputs = np.stack([member.logits(head, inputs) for member in members])
        kinds, bits = jax.nn.softmax(outputs[..., :classes]), jax.nn.sigmoid(outputs[..., classes:])
        said = unlike.logits(head, inputs)
        np.testing.assert_allclose(jax.nn.softmax(said[:, :classes]), kinds.mean(0), atol=1e-5)
        np.testing.assert_allclose(jax.nn.sigmoid(said[:, classes:]), bits.mean(0), atol=1e-5)
        spread = np.concatenate([kinds, bits], axis=-1).std(0).max(-1)
        np.testing.assert_allclose(unlike.disagreement(head, inputs), spread, atol=1e-5)
        assert spread.max() > 0.1


def test_members_learn_from_different_shares_of_the_experience(experience, tmp_path):
    """Who doesn't own the only input that there is learns nothing of it."""
    single = {
        head: HeadData(**{name: array[:1] for name, array in vars(part).items()})
        for head, part in experience.digest.items()
    }
    trained = fit(CONFIG, [Lane(3, 2e-3, 0.99)], [single], 1, tmp_path).model.members
    still = fit(LocalConfig(**vars(CONFIG) | {"num_steps": 1}), [Lane(3, 1e-8, 0.99)], [single], 1, tmp_path / "still")
    owners = []
    for head in HEADS:
        new, old = (np.asarray(getattr(m, head).embed.weight[...][0]) for m in (trained, still.model.members))
        owners.append(np.abs(new - old).max((1, 2)) > 1e-5)
    assert 4 <= np.sum(owners) <= 20 and len({tuple(each) for each in np.transpose(owners)}) > 1


def test_what_members_disagree_on_costs_so_much_and_changes_nothing_else(unlike):
    graph = enumerate_states(training_bank(envs.regime_levels("withheld", 6, 3, stream="held-out")), true_outcomes())
    pick = np.random.default_rng(0).permutation(len(graph.rows))[:200]
    edges = [EntityOutcomes(unlike, 0.02, k)(graph.bank, graph.rows[pick], graph.level[pick]) for k in (0.0, 1.0, 3.0)]
    for other in edges[1:]:
        np.testing.assert_array_equal(other.rows, edges[0].rows)
        np.testing.assert_allclose(other.probability, edges[0].probability, rtol=1e-5)
    cost = edges[0].reward - edges[1].reward
    assert (cost > 0).all() and np.ptp(cost) > 0.1
    np.testing.assert_allclose(edges[0].reward - edges[2].reward, 3 * cost, rtol=1e-3)
