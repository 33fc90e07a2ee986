"""The host's part of training: a loop over chunks of updates, all lanes side by side, that can stop and go on.

    groups of `width` lanes, as many at once as there are devices
        newest checkpoint, or a fresh start ─► chunk ─► rows of metrics ─► look for NaN ─► save now and then ─► …

A chunk is one call of a jitted scan, so that nothing is logged from inside, and chunked scans are bit-equal to whole
ones. A lane whose numbers are no longer finite is marked with the step at which that was seen; its neighbours go on.
"""

import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from envs.regimes import regime_levels
from envs.types import Level
from mbrl import interrupt
from mbrl.checkpoint import Checkpoints
from mbrl.configs import Lane
from mbrl.devices import Devices
from mbrl.keys import purpose_key
from mbrl.metrics import Curve, Watcher
from mbrl.milestones import Milestones
from mbrl.types import Learner, Rates


class Schedule(NamedTuple):
    """How many updates, how many of them at once, how many steps an update counts for; and after which shares of them,
    or as soon as a chunk ends thereafter, what was learnt by then is put aside."""

    num_updates: int
    chunk: int
    steps_per_update: int = 1
    milestones: tuple[float, ...] = ()


class Trained(NamedTuple):
    """What training brought: models with a leading axis over lanes (NumPy); for each lane the step at which its numbers
    were first seen not to be finite (−1 if never) and the counts of what it saw; what had been learnt at milestones, by
    step: the models' arrays by name."""

    model: Any
    first_bad_step: np.ndarray
    counts: list[dict[str, int]]
    milestones: dict[int, dict[str, np.ndarray]] | None = None


class Workplace(NamedTuple):
    """Where training leaves what it needs to go on, every `save_every` seconds; whom it tells of progress; devices; and
    `levels(regime, num_levels, seed)`, which gives it what to train on."""

    folder: Path
    report: Callable[[str], None] = lambda text: None
    watchers: Sequence[Watcher] = ()
    devices: Devices = Devices()
    save_every: float = 60.0
    levels: Callable[[str, int, int], list[Level]] = regime_levels


def train_lanes(
    learner: Learner,
    schedule: Schedule,
    lanes: Sequence[Lane],
    data: Sequence[Any],
    width: int,
    purpose: str,
    place: Workplace,
    tally: Callable[[Any], dict[str, int]] | None = None,
) -> Trained:
    """Train every lane on its data.

    Args:
        learner, schedule: what is learnt and for how long.
        lanes: training runs; the last group is padded to `width` with copies of its first, which are thrown away.
        data: what each lane learns from.
        width: lanes of one program.
        purpose: sets the keys of this training apart from others of the same seed.
        place: see `Workplace`.
        tally: counts events in what one lane saw in a chunk (NumPy).

    Raises:
        Stopped: somebody asked to stop; everything is saved.
    """
    curve = Curve(place.folder / "metrics.jsonl", place.watchers)
    group = width * place.devices.count
    chunks = [-int(-share * schedule.num_updates // schedule.chunk) for share in schedule.milestones]
    milestones = Milestones([number * schedule.chunk for number in chunks], place.folder, place.devices.is_leader)
    parts: list[Trained] = []
    for first in range(0, len(lanes), group):
        chosen = list(range(first, min(first + group, len(lanes))))
        padded = chosen + chosen[:1] * (-len(chosen) % group)
        pass_by = partial(milestones.pass_by, len(parts))
        parts.append(
            _train_group(learner, schedule, lanes, data, padded, len(chosen), purpose, place, curve, tally, pass_by)
        )
    model = jax.tree.map(lambda *leaves: np.concatenate(leaves), *(part.model for part in parts))
    first_bad = np.concatenate([part.first_bad_step for part in parts])
    counts = [counts for part in parts for counts in part.counts]
    found = {update * schedule.steps_per_update: arrays for update, arrays in milestones.found(len(parts)).items()}
    return Trained(model, first_bad, counts, found)


def _train_group(
    learner, schedule, lanes, data, padded, count, purpose, place: Workplace, curve: Curve, tally, pass_by
) -> Trained:
    """Train the lanes of the given numbers, of which the first `count` are real, at once."""
    devices, report = place.devices, place.report
    init, update_chunk = _programs(learner, schedule.chunk, devices)
    checkpoints = Checkpoints(place.folder / f"checkpoints-{padded[0]}", report)
    keys = jax.vmap(partial(purpose_key, purpose=purpose))(jnp.array([lanes[i].seed for i in padded], jnp.uint32))
    rates = Rates(*(np.array([getattr(lanes[i], name) for i in padded], np.float32) for name in Rates._fields))
    stacked = devices.put(learner.stack([data[i] for i in padded]))
    report("compiles")
    states = init(devices.put(keys), stacked, devices.put(rates))
    state = devices.fetch(states)
    notes: dict[str, Any] = {"first_bad": [-1] * count, "counts": [{}] * count}
    found = checkpoints.restore(state, lambda notes: curve.cut(*notes["rows"])) if devices.is_leader else None
    done = int(devices.share(np.int32(0 if found is None else found[0])))
    if found is not None:
        report(f"goes on at update {done:,}")
        notes = found[2]
    if done:
        states = devices.put(devices.share(state if found is None else found[1]))
    first_bad, counts = np.array(notes["first_bad"]), [dict(part) for part in notes["counts"]]

    def save(whole: Any) -> None:
        notes = {"rows": curve.mark(), "first_bad": first_bad.tolist(), "counts": counts}
        checkpoints.save(done, whole, notes)

    def learnt(whole: Any) -> Any:
        return jax.tree.map(lambda leaf: leaf[:count], learner.model(whole))

    if not done:
        pass_by(0, lambda: learnt(state))
    begun, begun_at, saved = time.monotonic(), done, time.monotonic()
    while done < schedule.num_updates:
        states, metrics, seen = zip(*update_chunk(states, stacked), strict=True)
        metrics = jax.tree.map(lambda leaf: leaf[:count], devices.fetch(metrics))
        step = (done + schedule.chunk) * schedule.steps_per_update
        bad = ~_finite(metrics)
        fresh = (first_bad < 0) & bad.any(1)
        first_bad[fresh] = (done + 1 + bad.argmax(1)[fresh]) * schedule.steps_per_update
        columns = learner.rows(metrics)
        done += schedule.chunk
        if devices.is_leader:
            curve.write(
                [
                    {"step": step, "lane": padded[i], "seed": lanes[padded[i]].seed}
                    | {name: round(float(values[i]), 6) for name, values in columns.items()}
                    for i in range(count)
                ]
            )
        if tally is not None:
            seen = devices.fetch(seen)
            for i in range(count):
                news = tally(jax.tree.map(lambda leaf, i=i: leaf[i], seen))
                counts[i] = {name: counts[i].get(name, 0) + number for name, number in news.items()}
        seconds = (time.monotonic() - begun) / (done - begun_at) * (schedule.num_updates - done)
        name, values = next(iter(columns.items()))
        total = schedule.num_updates * schedule.steps_per_update
        lost = f", {int((first_bad >= 0).sum())} lanes not finite" if (first_bad >= 0).any() else ""
        known = np.asarray(values)[np.isfinite(values)]  # no episode need have ended
        mean = f", {name} {known.mean():.2f}" if len(known) else ""
        report(f"{step:,} of {total:,} steps{mean}{lost}, about {seconds:.0f} s left")
        pass_by(done, lambda: learnt(devices.fetch(states)))  # noqa: B023
        stop = devices.any(interrupt.asked())
        late = devices.any(time.monotonic() - saved >= place.save_every)
        if stop or late or done == schedule.num_updates:
            whole = devices.fetch(states)
            if devices.is_leader:
                save(whole)
            saved = time.monotonic()
        if stop:
            raise interrupt.Stopped
    model = learnt(devices.fetch(states))
    bad = ~_finite(jax.tree.map(lambda leaf: leaf[:, None], model))
    first_bad[(first_bad < 0) & bad.any(1)] = schedule.num_updates * schedule.steps_per_update
    return Trained(model, first_bad, counts)


@cache
def _programs(learner: Learner, chunk: int, devices: Devices):
    """Return `init` and `update_chunk` over lanes, kept so that another trial of the same kind compiles nothing."""
    step = jax.vmap(lambda state, data: learner.update_chunk(state, data, chunk))
    return devices.spread(jax.vmap(learner.init)), devices.spread(step, donate=(0,))


def _finite(tree: Any) -> np.ndarray:
    """Tell for each lane and update whether all numbers `[lanes, updates, ...]` are finite."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]
    checks = [np.isfinite(leaf).reshape(*leaf.shape[:2], -1).all(-1) for leaf in leaves if leaf.dtype.kind == "f"]
    return np.logical_and.reduce(checks)
