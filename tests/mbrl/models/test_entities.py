"""The entity-wise model against the rules: what it is taught, what it then says of levels it has not seen."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.keys import StateKeys
from envs.packing import unpack
from envs.solver import Edges, Graph, enumerate_states, true_outcomes
from envs.types import NUM_ACTIONS, Level
from mbrl.configs import Lane, LocalConfig
from mbrl.experience import training_bank
from mbrl.metrics import read_rows
from mbrl.models.entities import EntityModel, make_learner, stack_digests
from mbrl.models.labels import HEADS, HeadData, digest
from mbrl.models.neighbourhoods import grids_of_obs, grids_of_rows
from mbrl.models.outcomes import EntityOutcomes
from mbrl.models.views import Whole
from mbrl.training import Schedule, Trained, Workplace, train_lanes
from tests.helpers import check_types_are_kept


def fit(config: LocalConfig, lanes: Sequence[Lane], data: Sequence[dict], width: int, folder: Path) -> Trained:
    """Train a model on each lane's digest; metrics and checkpoints go to `folder`."""
    schedule = Schedule(config.num_updates, config.chunk)
    return train_lanes(make_learner(config), schedule, lanes, data, width, "world model", Workplace(folder))


@pytest.fixture(scope="module")
def model(experience, tmp_path_factory) -> EntityModel:
    folder = tmp_path_factory.mktemp("model")
    trained = fit(LocalConfig(num_steps=600), [Lane(3, 2e-3, 0.99)], [experience.digest], 1, folder)
    assert trained.first_bad_step.tolist() == [-1]
    return jax.tree.map(lambda leaf: leaf[0], trained.model)


@pytest.fixture(scope="module")
def held_out() -> Graph:
    """All states that can be reached on some levels of the training families that nobody trained on."""
    return enumerate_states(training_bank(envs.regime_levels("withheld", 18, 3, stream="held-out")), true_outcomes())


def observations(graph: Graph, rows: np.ndarray, index: np.ndarray) -> np.ndarray:
    num_crates = graph.bank.crates.shape[-1]
    bank = jax.tree.map(jnp.asarray, graph.bank)
    observe = lambda row, i: envs.observe(jax.tree.map(lambda leaf: leaf[i], bank), unpack(row, num_crates))  # noqa: E731
    return np.asarray(jax.jit(jax.vmap(observe))(rows, index))


def test_what_is_seen_of_a_state_is_what_is_seen_of_its_observation(held_out):
    pick = np.random.default_rng(0).permutation(len(held_out.rows))[:2_000]
    rows, index = held_out.rows[pick], held_out.level[pick]
    seen = grids_of_obs(observations(held_out, rows, index))
    packed = grids_of_rows(held_out.bank, rows, index)
    assert seen.width == packed.width
    np.testing.assert_array_equal(packed.planes(), seen.planes())
    np.testing.assert_array_equal(packed.power, seen.power)
    np.testing.assert_array_equal(packed.circuits(), seen.circuits())
    np.testing.assert_array_equal(packed.around(rows[:, 0]), seen.around(rows[:, 0]))
    terrain, _, objects = seen.planes()
    assert len(np.unique(objects)) > 8 and len(np.unique(terrain)) > 10 and packed.closed.any()


def distances(bank: Level, index: np.ndarray, edges: tuple[Edges, Edges]) -> np.ndarray:
    """Total variation ½ Σ |p − q| of two distributions over next states, for every state and action."""
    keys, parents, weights = [], [], []
    for sign, part in zip((1, -1), edges, strict=True):
        keys.append(StateKeys(bank).of_rows(part.rows[part.child], index[part.parent // NUM_ACTIONS]))
        parents.append(part.parent)
        weights.append(sign * part.probability)
    outcome = np.stack([np.concatenate(parents).astype(np.uint64), np.concatenate(keys)], axis=1)
    unique, inverse = np.unique(outcome, axis=0, return_inverse=True)
    gap = np.abs(np.bincount(inverse.reshape(-1), np.concatenate(weights)))
    return 0.5 * np.bincount(unique[:, 0].astype(int), gap, len(index) * NUM_ACTIONS)


def test_a_trained_model_foretells_levels_it_has_not_seen(model, held_out):
    pick = np.sort(np.random.default_rng(1).permutation(len(held_out.rows))[:3_000])
    rows, index = held_out.rows[pick], held_out.level[pick]
    said, true = EntityOutcomes(model)(held_out.bank, rows, index), true_outcomes()(held_out.bank, rows, index)
    assert (np.diff(said.parent) >= 0).all() and len(np.unique(said.parent)) == len(rows) * NUM_ACTIONS
    total = np.bincount(said.parent, said.probability)
    assert total.min() >= 0.95 and total.max() <= 1 + 1e-5
    wrong = distances(held_out.bank, index, (said, true))
    untrained = EntityOutcomes(EntityModel(LocalConfig(), key=jax.random.key(0)))(held_out.bank, rows, index)
    naive = distances(held_out.bank, index, (untrained, true))
    # An untrained model says that nothing happens, which is right whenever nothing does.
    assert wrong.mean() < min(0.15, naive.mean() / 2) and np.median(wrong) < 0.08
    assert np.abs(said.reward - true.reward).mean() < 0.01
    assert said.reward[true.reward == 1].mean() > 0.8


def test_nobody_leaves_the_grid_and_nobody_absent_comes(held_out):
    """Whatever a model says: an untrained one sends everybody everywhere."""
    pick = np.random.default_rng(2).permutation(len(held_out.rows))[:300]
    rows, index = held_out.rows[pick], held_out.level[pick]
    wild = jax.tree.map(lambda leaf: 20 * leaf, EntityModel(LocalConfig(), key=jax.random.key(1)))
    edges = EntityOutcomes(wild)(held_out.bank, rows, index)
    num_crates, num_movers = held_out.bank.crates.shape[-1], held_out.bank.movers.shape[-1]
    height, width = held_out.bank.terrain.shape[-2:]
    inside = np.zeros((height, width), bool)
    inside[1:-1, 1:-1] = True
    before, after = rows[edges.parent // NUM_ACTIONS], edges.rows[edges.child]
    for column in (0, *range(6, 6 + num_crates + num_movers)):
        cells, old = after[:, column], before[:, column]
        assert (inside.reshape(-1)[cells] | (cells == 0)).all()
        np.testing.assert_array_equal(cells == 0, old == 0)
        step = np.abs(cells.astype(int) - old)
        assert np.isin(step, (0, 1, width)).all()
    assert (after[:, 0] != before[:, 0]).mean() > 0.1
    assert np.isin(after[:, 1:6], (0, 1)).all()


def test_a_chunk_returns_a_state_of_the_types_that_it_began_with(experience):
    """Or the next chunk would be compiled anew."""
    learner = make_learner(LocalConfig(num_steps=25, hidden_size=32))
    check_types_are_kept(learner, jax.tree.map(lambda leaf: leaf[0], learner.stack([experience.digest])))


@pytest.mark.slow
def test_seeds_trained_side_by_side_are_those_trained_alone(experience, tmp_path):
    """Bit for bit in a program of the same width, whatever is beside them; nearly in a narrower one."""
    half = digest(jax.tree.map(lambda part: part[: len(part) // 2], experience.seen))
    nothing = {name: array[:0] for name, array in vars(half["crate"]).items()}
    lanes = [Lane(3, 2e-3, 0.99), Lane(8, 1e-3, 0.99)]
    data = [experience.digest, {**half, "crate": HeadData(**nothing)}]
    config = LocalConfig(num_steps=25, hidden_size=32)
    runs = {"both": ((0, 1), 2), "turned": ((1, 0), 2), "padded": ((0,), 2), "narrow": ((0,), 1)}
    models, rows = {}, {}
    for name, (chosen, width) in runs.items():
        folder = tmp_path / name
        trained = fit(config, [lanes[i] for i in chosen], [data[i] for i in chosen], width, folder)
        assert trained.first_bad_step.tolist() == [-1] * len(chosen)
        models[name] = [jax.tree.map(lambda leaf, i=i: leaf[i], trained.model) for i in range(len(chosen))]
        rows[name] = {row["seed"]: row for row in read_rows((folder / "metrics.jsonl").read_bytes())}
    both = models["both"]
    for mine, other in ((both[0], models["turned"][1]), (both[1], models["turned"][0]), (both[0], models["padded"][0])):
        jax.tree.map(np.testing.assert_array_equal, jax.tree.leaves(mine), jax.tree.leaves(other))
    for mine, other in zip(jax.tree.leaves(both[0]), jax.tree.leaves(models["narrow"][0]), strict=True):
        np.testing.assert_allclose(mine, other, atol=2e-4)
    assert rows["both"][3]["step"] == 25
    for head in HEADS:
        assert rows["narrow"][3][f"{head}_loss"] == pytest.approx(rows["both"][3][f"{head}_loss"], rel=1e-3)
    assert rows["both"][8]["crate_loss"] == 0, "a regime may hold nothing of a kind"
    gap = [np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, both), strict=True)]
    assert max(gap) > 0.01, "seeds have initialisations of their own"


def test_what_is_met_more_often_weighs_more(experience):
    """Cumulative weights rise by a power of the counts, stay where rows are padding, and ignore the other lanes."""
    whole, half = experience.digest, digest(jax.tree.map(lambda part: part[: len(part) // 2], experience.seen))
    for exponent in (0.0, 0.5, 1.0):
        stacked = stack_digests([whole, half], exponent)
        for head in HEADS:
            inputs, targets, mask, cumulative = stacked[head]
            for i, part in enumerate((whole[head], half[head])):
                count = len(part.count)
                np.testing.assert_array_equal(inputs[i, :count], part.inputs)
                np.testing.assert_array_equal(targets[i, :count], part.targets)
                np.testing.assert_array_equal(mask[i, :count], part.mask)
                total = np.sum(part.count.astype(float) ** exponent)
                weights = np.diff(cumulative[i].astype(float), prepend=0)
                np.testing.assert_allclose(weights[:count], part.count.astype(float) ** exponent, atol=1e-6 * total)
                assert (weights[count:] == 0).all() and cumulative[i, -1] == pytest.approx(total)
    alone, beside = stack_digests([half], 0.5), stack_digests([whole, half], 0.5)
    jax.tree.map(lambda mine, both: np.testing.assert_array_equal(mine[0], both[1]), alone, beside)


def test_who_sees_the_whole_floor_weighs_what_is_near_as_local_does(experience):
    """The floors on which one sees the same nine cells share the weight of these, each by how often it was met."""
    floors = digest(experience.seen, Whole((7, 11), turns=True))
    for exponent in (0.0, 0.5, 1.0):
        (near, far) = (stack_digests([each], exponent) for each in (experience.digest, floors))
        for head in HEADS:
            part, nine = floors[head], experience.digest[head]
            assert far[head][-1][0, -1] == pytest.approx(near[head][-1][0, -1], rel=1e-4)
            weights = np.diff(far[head][-1][0].astype(float), prepend=0)[: len(part.count)]
            expected = part.count / part.alike * part.alike.astype(float) ** exponent
            np.testing.assert_allclose(weights, expected, atol=1e-6 * expected.sum())  # of sums in single precision
    for head in HEADS:
        part, nine = floors[head], experience.digest[head]
        assert len(part.count) > 2 * len(nine.count) and part.count.sum() == nine.count.sum()
        np.testing.assert_array_equal(nine.alike, nine.count)
        assert (part.alike > 2 * part.count).any()
