"""One agent on a gymnax environment: compute its trial, print what it earned, add that to a folder of what others did.

out/earned.csv            what every seed earned, a line each
out/curves_ENV.csv        how agents that learn from reward learnt it; .png and .svg are drawn from it
"""

import csv
import io
from pathlib import Path

from rich.console import Console

from mbrl import files
from mbrl.configs import Options
from mbrl.experiments.work import attempt
from mbrl.metrics import read_rows
from mbrl.progress import Message, Progress
from mbrl.report.curves import COLUMNS as CURVE
from mbrl.report.curves import curves
from mbrl.report.figures import write_chart
from mbrl.report.table import print_control
from mbrl.store import Store
from mbrl.trials import Control

COLUMNS = ("env", "agent", "gamma", "episodes", "seed", "returns", "discounted", "lengths", "claimed", "states", "lost")


def control(trial: Control, runs: Path, options: Options, console: Console, out: Path | None = None) -> dict:
    """Let an agent learn and play a gymnax environment, print what every seed earned, and return it.

    Args:
        trial: what to compute.
        runs: folder of the store.
        options: how; on one device.
        console: where to show it.
        out: folder that gets it too, in place of what the agent earned on the environment before.

    Raises:
        ValueError: there is no such environment, the agent cannot be had on it, somebody else is at it, or the folder
            holds other sheets of these names.
        Stopped: somebody asked to stop.
    """
    if out is not None:
        others = _others(out / "earned.csv", COLUMNS, trial), _others(_curves(out, trial), CURVE, trial)
    with Progress([trial], console) as progress:
        manifest = attempt(Store(runs), trial, options, lambda text: progress.tell(0, Message("at", 0, text)))
        if manifest is None:
            raise ValueError(f"runs: {trial.label} is being computed by somebody else")
        progress.tell(0, Message("done", 0, manifest.digest))
    found = manifest.read_json("control.json")
    print_control(found, console)
    if out is not None:
        mine = {name: found[name] for name in ("env", "agent", "gamma", "episodes")}
        _write(out / "earned.csv", COLUMNS, [*others[0], *(mine | seed for seed in found["seeds"])])
        who = {"env": trial.env, "agent": trial.agent}
        learnt = read_rows(manifest.read("metrics.jsonl")) if "metrics.jsonl" in manifest.files else []
        rows = [who | {name: row[name] for name in CURVE[2:]} for row in learnt if row.get("return") is not None]
        if rows:
            write_chart(curves(trial.env, [*others[1], *rows]), out)
    return found


def _curves(out: Path, trial: Control) -> Path:
    return out / f"curves_{trial.env}.csv"


def _others(path: Path, columns: tuple[str, ...], trial: Control) -> list[dict]:
    """Return what a sheet says of other agents and environments."""
    lines = csv.DictReader(io.StringIO(files.read(path).decode() if path.exists() else ""))
    if lines.fieldnames and tuple(lines.fieldnames) != columns:
        raise ValueError(f"out: expected the columns {', '.join(columns)} in {str(path)!r}, got others")
    return [row for row in lines if (row["env"], row["agent"]) != (trial.env, trial.agent)]


def _write(path: Path, columns: tuple[str, ...], rows: list[dict]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    files.write_whole(path, text.getvalue().encode())
