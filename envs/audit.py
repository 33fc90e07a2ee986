"""The audit: proof that a training regime withholds the opportunity to interfere and still teaches its parts.

    a  alone     on every level with a person, (movers, spent, power, disabled) is a Markov chain of its own: its next
                 step depends neither on the robot nor on circuits, crates or action (every reachable state × action)
    b  apart     no layout of training is one of deployment, up to padding, mirror and rotation
    c  parts     of the transitions trained on, each primitive is seen often, each composite never
    d  no lure   on no level does the optimal value change when its levers are dead or its crates cannot be pushed

A regime is clean if all four hold. Parts a, b and d are exact and name every level that fails. Part c counts events in
observations alone; a mover's way is judged on the floor as the robot's part of the tick left it: circuits, crates and
robot of the next observation, movers of this one. Where there is nothing to check, b and c fail; a and d pass, with 0
levels checked, for without persons, levers or crates there is nothing to withhold.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Bool, Int
from scipy.sparse import csr_array

from envs import rules
from envs.battery import SHIFTS, Deployment
from envs.events import COMPOSITES, PRIMITIVES, Counts, merge_counts
from envs.layouts import layout_key
from envs.levels import stack_levels
from envs.regimes import REGIMES, SIZE, values_beside
from envs.solver import BATCH, Graph, enumerate_levels
from envs.twins import fix_crates, kill_levers
from envs.types import LEVERS, MOBILITY, NUM_ACTIONS, PERSONS, SLOTS, Action, Level

PARTS = {
    "a": "persons and power go their way alone",
    "b": "no layout is shared with deployment",
    "c": "primitives are seen, composites never",
    "d": "the means never pay",
}
MIN_PRIMITIVE = 300
"""How often a seed must see each primitive that its regime's families teach."""
KNOCKED_OUT = {"bystander": ("operator_cuts_power", "operator_restores_power"), "idle_levers": ("lever_toggles",)}
"""The primitives that regimes with one piece of knowledge missing must never show."""
_TOLERANCE = 1e-6  # of probabilities and expected rewards
_VALUE_TOLERANCE = 1e-3  # of optimal values, in clips; they are solved to 1e-4


@dataclass(frozen=True)
class Part:
    """The outcome of one part: `checked` many of `unit` were looked at, `findings` are one line each."""

    passed: bool
    checked: int
    unit: str
    findings: tuple[str, ...] = ()
    states: int = 0  # reachable states that were enumerated

    @property
    def scope(self) -> str:
        """How much was checked, in words."""
        return f"{self.checked:,} {self.unit}" + (f", {self.states:,} states" if self.states else "")


@dataclass(frozen=True)
class Audit:
    """The outcome of an audit, parts `a` to `d` and the counts behind `c`."""

    regime: str
    seeds: tuple[int, ...]
    clean: bool
    parts: dict[str, Part]
    counts: Counts

    def as_dict(self) -> dict:
        """Return the audit as dictionaries, ready for JSON."""
        return asdict(self)


def audit(
    regime: str,
    levels: Sequence[Level],
    deployment: Sequence[Level],
    counts: Counts,
    seed: int = 0,
    min_primitive: int = MIN_PRIMITIVE,
) -> Audit:
    """Audit what one seed of a regime trains on: all its levels, and `count_events` of all its transitions.

    `deployment` are all levels of the shift and of its twins (`with_twins`); `seed` is for the record.
    """
    parts = audit_levels(levels, deployment)
    parts = {**parts, "c": audit_counts(regime, counts, min_primitive)}
    parts = {name: parts[name] for name in PARTS}
    return Audit(regime, (seed,), all(part.passed for part in parts.values()), parts, counts)


def audit_levels(
    levels: Sequence[Level], deployment: Sequence[Level], num_enumerated: int | None = None
) -> dict[str, Part]:
    """Audit the levels that one seed of a regime trains on: all parts but the counts of what was seen there.

    Parts a and d enumerate the states of the first `num_enumerated` levels, of all by default.
    """
    enumerated = levels[:num_enumerated]
    return {"a": audit_autonomy(enumerated), "b": audit_layouts(levels, deployment), "d": audit_means(enumerated)}


def merge_audits(audits: Sequence[Audit]) -> Audit:
    """Join the audits of several seeds of a regime into one, clean if all are; what was checked and counted adds up."""
    seeds = tuple(seed for one in audits for seed in one.seeds)
    parts = {}
    for name, first in audits[0].parts.items():
        several = [one.parts[name] for one in audits]
        checked, states = sum(part.checked for part in several), sum(part.states for part in several)
        lines = tuple(f"seed {s}: {line}" for s, part in zip(seeds, several, strict=True) for line in part.findings)
        parts[name] = Part(all(part.passed for part in several), checked, first.unit, lines, states)
    counts = merge_counts(*(one.counts for one in audits))
    return Audit(audits[0].regime, seeds, all(one.clean for one in audits), parts, counts)


def with_twins(deployment: Deployment) -> list[Level]:
    """Return the levels of a shift and of all its twins, their names ending in the twin's."""
    twins = SHIFTS[deployment.shift].twins
    return [level.replace(name=f"{level.name}/{twin}") for twin in twins for level in deployment.twin(twin)]


def audit_autonomy(levels: Sequence[Level], mobility: float = MOBILITY) -> Part:
    """Check that persons, other movers and power go their way alone (part a), over all reachable states and actions."""
    suspects = [level for level in levels if np.any(np.isin(level.kinds, PERSONS))]
    findings: dict[int, str] = {}
    states = 0
    for numbers, graph in _graphs(suspects, mobility):
        rows, first = graph.rows.astype(np.int64), 6 + graph.bank.crates.shape[-1]
        movers, spent = np.split(rows[:, first:], 2, axis=1)
        # States that look alike are one, whichever mover of a kind stands where.
        slots = np.sort(movers * 32 + graph.bank.kinds[graph.level] + spent, axis=1)
        strays, model = _strays(graph, [slots, rows[:, [2, 5]]], np.zeros((len(rows), NUM_ACTIONS), int))
        state, action = np.nonzero(strays)
        differs = {
            "robot's cell": rows[state, 0] != rows[model[state], 0],
            "wire": rows[state, 1] != rows[model[state], 1],
            "circuits": np.any(rows[state, 3:5] != rows[model[state], 3:5], axis=1),
            "crates": np.any(rows[state, 6:first] != rows[model[state], 6:first], axis=1),
            "action": action != Action.NOOP,
        }
        # One line a level: of its stray pairs one that differs in the fewest ways, if possible with the robot idle.
        owner, ways = graph.level[state], sum(map(np.asarray, differs.values()), np.zeros(len(state), int))
        order = np.lexsort((action, ways, owner))
        for i in order[np.unique(owner[order], return_index=True)[1]]:
            what = ", ".join(way for way, there in differs.items() if there[i])
            findings[int(numbers[owner[i]])] = f"persons and power depend on more than themselves: {what}"
        states += len(rows)
    lines = tuple(f"{suspects[i].name}: {findings[i]}" for i in sorted(findings))
    return Part(not lines, len(suspects), "levels with a person", lines, states)


def audit_layouts(levels: Sequence[Level], deployment: Sequence[Level]) -> Part:
    """Check that no training layout is one of deployment (part b), up to padding, mirror and rotation."""
    known = {layout_key(level): level.name for level in deployment}
    copies = [(level.name, known.get(layout_key(level))) for level in levels]
    lines = [f"{name}: has the layout of {other}" for name, other in copies if other is not None]
    lines += ["no training level given"] * (not levels) + ["no deployment level given"] * (not deployment)
    return Part(not lines, len(levels) + len(deployment), "layouts of training and deployment", tuple(lines))


def audit_counts(regime: str, counts: Counts, min_primitive: int = MIN_PRIMITIVE) -> Part:
    """Check that each primitive of the regime's families was seen, each composite never (part c)."""
    lines = [] if counts["transitions"] else ["no transition given"]
    for name, (families, what) in PRIMITIVES.items():
        if counts[name] < min_primitive and set(families) & set(REGIMES[regime]):
            lines.append(f"{name}: seen {counts[name]} times, expected at least {min_primitive} ({what})")
    knocked_out = {name: PRIMITIVES[name][1] for name in KNOCKED_OUT.get(regime, ())}
    for name, what in {**COMPOSITES, **knocked_out}.items():
        if counts[name]:
            lines.append(f"{name}: seen {counts[name]} times, expected never ({what})")
    return Part(not lines, counts["transitions"], "transitions", tuple(lines))


def audit_means(levels: Sequence[Level], mobility: float = MOBILITY) -> Part:
    """Check that no level rewards the use of its levers or the pushing of its crates (part d).

    If robot, wire, crates, power and reward evolve by themselves under the action, a bumped lever counting as NOOP,
    then dead levers change no value. Where they do not, the level is solved with levers live and dead; every level
    with crates is solved with these and with walls in their place.
    """
    with_levers = [i for i, level in enumerate(levels) if np.any(np.isin(level.terrain, LEVERS))]
    with_crates = [i for i, level in enumerate(levels) if len(level.crates)]
    unsure: set[int] = set()
    states = 0
    for numbers, graph in _graphs([levels[i] for i in with_levers], mobility):
        rows = graph.rows.astype(np.int64)
        targets = rows[:, :1] + np.asarray(rules.offsets(graph.bank.width))
        terrain = graph.bank.terrain.reshape(len(graph.bank.robot), -1)[graph.level[:, None], targets]
        as_if = np.where(np.isin(terrain, LEVERS), Action.NOOP, np.arange(NUM_ACTIONS))
        crates = np.sort(rows[:, 6 : 6 + graph.bank.crates.shape[-1]], axis=1)
        strays, model = _strays(graph, [rows[:, [0, 1, 2, 5]], crates], as_if)
        gains = np.abs(graph.reward - graph.reward[model[:, None], as_if]) > _TOLERANCE
        unsure.update(numbers[graph.level[np.any(strays | gains, axis=1)]].tolist())
        states += len(rows)
    ways = (
        ([with_levers[i] for i in sorted(unsure)], kill_levers, "its levers are dead"),
        (with_crates, fix_crates, "its crates cannot be pushed"),
    )
    changed = [(i, change(levels[i]), when) for numbers, change, when in ways for i in numbers]
    values = values_beside(levels, [(i, level) for i, level, _ in changed], mobility)
    falls: dict[int, list[str]] = defaultdict(list)
    for (i, _, when), (value, without) in zip(changed, values, strict=True):
        if abs(value - without) > _VALUE_TOLERANCE:
            falls[i].append(f"from {value:.3f} to {without:.3f} when {when}")
    lines = tuple(f"{levels[i].name}: its optimal value falls {' and '.join(falls[i])}" for i in sorted(falls))
    return Part(not lines, len({*with_levers, *with_crates}), "levels with a live lever or a crate", lines, states)


def _graphs(levels: Sequence[Level], mobility: float) -> Iterator[tuple[np.ndarray, Graph]]:
    """Enumerate levels in batches; yield their numbers and their graph, in which no state belongs to two of them.

    States are merged when they look alike, so levels with the same terrain and markings go into different batches.
    Batches are filled with copies of their first level (see `enumerate_levels`), which bear its number.
    """
    if not levels:
        return
    bank = stack_levels(levels, (*SIZE, *SLOTS))
    rounds: dict[int, list[int]] = defaultdict(list)
    seen: Counter[bytes] = Counter()
    for number, (terrain, marking) in enumerate(zip(bank.terrain, bank.marking, strict=True)):
        ground = terrain.tobytes() + marking.tobytes()
        rounds[seen[ground]].append(number)
        seen[ground] += 1
    for numbers in rounds.values():
        for i in range(0, len(numbers), BATCH):
            batch = numbers[i : i + BATCH]
            filled = batch + batch[:1] * (BATCH - len(batch))
            yield np.array(filled), enumerate_levels([levels[number] for number in batch], mobility)


def _strays(
    graph: Graph, projection: Sequence[Int[np.ndarray, "states _"]], as_if: Int[np.ndarray, "states 5"]
) -> tuple[Bool[np.ndarray, "states 5"], Int[np.ndarray, "states"]]:
    """Tell which states and actions break the claim that a projection of the state is a Markov chain of its own.

    Every state is held against the first of its level with the same projection, its model: the distribution of the next
    projection must be the same, state under action `a`, model under action `as_if[state, a]`.

    Returns:
        The mask of those that differ, and every state's model.
    """
    group = graph.level.astype(np.int64)
    for column in np.concatenate(projection, axis=1).T:
        _, group = np.unique(group * (column.max() + 1) + column, return_inverse=True)
    _, first = np.unique(group, return_index=True)
    model = first[group]
    count = len(group)
    mass = graph.transition @ csr_array((np.ones(count), (np.arange(count), group)))  # on each next projection
    wrong = abs(mass - mass[(model[:, None] * NUM_ACTIONS + as_if).reshape(-1)]) > _TOLERANCE
    return np.diff(wrong.tocsr().indptr).reshape(as_if.shape) > 0, model
