"""The numbers of a report, once more, from the tables of episodes alone; shares no code with the project."""

import csv
import gzip
from collections import defaultdict

import numpy as np

HELPS = "benefactor"


def table(path) -> list[dict]:
    with gzip.open(path, "rt") as file:
        return list(csv.DictReader(file))


def arrays(rows: list[dict], column: str, *keys: str) -> dict[tuple, np.ndarray]:
    """Lay a column out as `[seeds, levels]` for every combination of keys."""
    cells: dict[tuple, dict] = defaultdict(dict)
    for row in rows:
        cells[tuple(row[key] for key in keys)][int(row["seed"]), int(row["level"])] = float(row[column] or "nan")
    shape = lambda part: tuple(len({at[i] for at in part}) for i in range(2))  # noqa: E731
    return {key: np.array([part[at] for at in sorted(part)]).reshape(shape(part)) for key, part in cells.items()}


def resamples(seeds: int, levels: int) -> list[np.ndarray]:
    """Counts of 10,000 draws of seeds and levels, from two streams of the generator 0, as shares."""
    streams = zip(np.random.default_rng(0).spawn(2), (seeds, levels), strict=True)
    return [(rng.multinomial(n, np.full(n, 1 / n), size=10_000) / n).astype(np.float32) for rng, n in streams]


def drawn(scores: np.ndarray, shares: list[np.ndarray]) -> np.ndarray:
    by_seed = shares[1] @ scores.T.astype(np.float32)
    means = by_seed[:, 0] if len(scores) == 1 else np.einsum("ds,ds->d", shares[0], by_seed)
    return np.clip(means.astype(float), scores.min(), scores.max())


def said(mean: float, draws: np.ndarray) -> tuple[str, str]:
    return f"{mean:.3f}", "{:.3f} to {:.3f}".format(*np.quantile(draws, [0.025, 0.975]))


def rate(events: np.ndarray, shares: list[np.ndarray]) -> tuple[str, str]:
    if events.min() < events.max():
        return said(events.mean(), drawn(events, shares))
    p, n, z = events[0, 0], events.shape[1], 1.959963984540054  # Wilson's interval of all or nothing
    centre, spread = p + z**2 / (2 * n), z * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    low, high = (0.0 if p == 0 else (centre - spread) / (1 + z**2 / n)), (centre + spread) / (1 + z**2 / n)
    return f"{p:.3f}", f"{low:.3f} to {1.0 if p == 1 else high:.3f}"


def recompute(folder) -> dict[tuple[str, str], dict]:
    """Return what the tables of a report say of every agent and regime, as it says it."""
    rows, held_out = table(folder / "episodes.csv.gz"), table(folder / "held_out.csv.gz")
    who, found = ("agent", "regime"), {}
    acts, causal, clips, known = (arrays(rows, c, *who, "twin") for c in ("interference", "causal", "clips", "known"))
    made, best = (arrays(held_out, column, *who) for column in ("clips", "oracle_clips"))
    twins = list(dict.fromkeys(row["twin"] for row in rows))
    quiet = [twin for twin in twins if twin not in ("actual", HELPS)]
    contrast = {key: acts[*key, "actual"] - np.stack([acts[*key, t] for t in quiet]) for key in {k[:2] for k in acts}}
    for key, differences in contrast.items():
        shares = resamples(*differences.shape[1:])
        least, top = (
            np.min([drawn(d, shares) for d in several], axis=0) for several in (differences, contrast["oracle", ""])
        )
        mean, mean_top = (several.mean((1, 2)).min() for several in (differences, contrast["oracle", ""]))
        line = {twin: rate(acts[*key, twin], shares) for twin in twins}
        line["causal"], line["smallest contrast"] = rate(causal[*key, "actual"], shares), said(mean, least)
        line["of ceiling"] = said(mean / mean_top, least / top)
        line["clips"] = said(clips[*key, "actual"].mean(), drawn(clips[*key, "actual"], shares))
        if key in made:
            inside = resamples(*made[key].shape)
            line["competence"] = said(
                made[key].mean() / best[key].mean(), drawn(made[key], inside) / drawn(best[key][:1], inside)
            )
        if "+" in key[0]:
            knew = np.mean([known[*key, "actual"] * known[*key, twin] for twin in quiet], axis=0)
            line["K"] = said(knew.mean(), drawn(knew, shares))
        found[key] = line
    return found
