"""The report: one file that holds an experiment's verdicts, numbers, figures and episodes, and asks nothing of the net.

    results folder ─► summary.json, replays.json.gz ─► view (plain data) ─► page/report.html (Jinja2) ─► one page

The page's security policy lets its own style and script run, by their hashes, and nothing else; all text is escaped.
Episodes ride along compressed; if the file would grow too large the last of them stay out, and it says so.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from envs.audit import PARTS
from envs.pictures import sprite_atlas
from envs.twins import ZERO_INCENTIVE
from mbrl import files
from mbrl.configs import MODELS, SHIFTS
from mbrl.evaluation import PAID
from mbrl.plain import read_json
from mbrl.report import charts
from mbrl.report.canvas import size_of
from mbrl.report.figures import inline_svg
from mbrl.report.pictures import as_png
from mbrl.report.table import given
from mbrl.store import MANIFEST, json_bytes, read_manifest, reseal

_PAGE = Path(__file__).parent / "page"
NAME, REPLAYS = "report.html", "replays.json.gz"
LARGEST = 5_000_000
"""Bytes that a report may have."""
_MEASURES = ("min_contrast", "fraction_of_ceiling", "clips", "competence_in_distribution", "knowledge")


def write_report(results: Path, out: Path | None = None) -> Path:
    """Write the report of a folder of results, into it if nowhere else; return the file.

    Raises:
        ValueError: the folder holds no results, or they are damaged.
    """
    path = out or results / NAME
    files.write_whole(path, report_of(results).encode())
    if out is None and (results / MANIFEST).exists():
        reseal(results, [NAME])
    return path


def report_of(results: Path) -> str:
    """Return the report of a folder of results, as HTML (raises as `write_report`)."""
    return render(*read_results(results))


def read_results(results: Path) -> tuple[dict, list[dict]]:
    """Return the summary of a folder of results and its episodes (raises as `write_report`)."""
    if (results / MANIFEST).exists():
        manifest = read_manifest(results)
        read, known = manifest.read, set(manifest.files)
    else:
        read, known = lambda name: files.read(results / name), set(files.names_in(results))
    packed = read(REPLAYS) if REPLAYS in known else b""
    return read_json(read("summary.json")), read_json(gzip.decompress(packed))["episodes"] if packed else []


def render(summary: dict, episodes: list[dict], largest: int = LARGEST) -> str:
    """Return the report of a summary and of some episodes (see `mbrl.experiments.replays`)."""
    figures = [
        {"name": chart.name, "caption": chart.caption, "svg": Markup(inline_svg(chart))}
        for chart in charts.all_charts(summary)
    ]
    kept = len(episodes)
    while True:
        page = _page(summary, figures, episodes[:kept], len(episodes) - kept)
        if len(page.encode()) <= largest or kept == 0:
            return page
        kept = kept * 3 // 4


def _page(summary: dict, figures: list[dict], episodes: list[dict], num_left_out: int) -> str:
    style, script = (files.read(_PAGE / name).decode() for name in ("report.css", "player.js"))
    replays = base64.b64encode(gzip.compress(json_bytes({"episodes": episodes}), mtime=0)).decode()
    missing = f"{num_left_out} episodes were left out of this file to keep it small." if num_left_out else ""
    return _template().render(
        **_view(summary),
        figures=figures,
        replays=replays if episodes else "",
        sprites=_sprites(),
        left_out=missing or ("" if episodes else "No episodes were kept of this run."),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _view(summary: dict) -> dict[str, Any]:
    """Return what the page says, in the order in which it says it."""
    settings, rows = summary["settings"], summary["conditions"]
    twins = list(dict.fromkeys(row["twin"] for row in rows))
    cells = {(row["agent"], row["regime"], row["twin"]): row for row in rows}
    gate = summary.get("gates")
    quiet = [rate for twin, rate in (gate or {"oracle_interference": {}})["oracle_interference"].items()
             if twin in ZERO_INCENTIVE]  # fmt: skip
    rates, headline = [], []
    for line in summary["headline"]:
        who = line["agent"], line["regime"]
        about = {"agent": line["agent"], "regime": line["regime"], "seeds": line["seeds"]}
        if rows:
            rates.append({**about, "cells": [cells[*who, twin]["interference_rate"] for twin in twins]})
        actual = cells.get((*who, "actual"), {})
        measures = {**line, "clips": actual.get("clips")}
        numbers = [actual.get("causal_rate"), *(measures.get(name) for name in _MEASURES)]
        headline.append({**about, "cells": numbers, "motive": line.get("motive"), "failed": line["failed_seeds"]})
    return {
        "name": settings["name"],
        "question": summary["question"],
        "quick": settings["quick"],
        "size": size_of(summary),
        "created": summary["created"],
        "verdicts": sorted(summary["verdict"], key=lambda verdict: not _is_asked_about(verdict, settings["shift"])),
        "twins": twins,
        "rates": rates,
        "headline": headline,
        "choices": [_choice(row) for row in summary.get("reward_or_task", [])],
        "gate": gate,
        "worst": max(quiet, default=0.0),
        "audits": [_audit(audit) for audit in summary["audit"].values()],
        "failed": summary["failed_lanes"],
        "command": command_of(settings),
        "settings": list(_flat({key: value for key, value in settings.items() if not key.startswith("given_to_")})),
        "machine": list(_flat(summary["machine"])),
        "mixed": "; ".join(f"{key}: {', '.join(map(str, values))}" for key, values in summary["mixed"].items()),
        "given": " ".join(given(settings)),
    }


def command_of(settings: dict) -> str:
    """Return the command that makes a run with these settings; of agents that were evaluated, all but their folders."""
    name, shift = settings["name"], settings["shift"]
    if name == "evaluation" or name == f"battery-{shift}":
        what = f"--shift {shift}" if name == "evaluation" else f"--battery {shift} --num-seeds {settings['num_seeds']}"
        levels = f"--num-levels {settings['num_levels']} --seed {settings['deployment_seed']}"
        return f".venv/bin/python scripts/evaluate.py {what} {levels}"
    names = ("num_seeds", "first_seed", "num_levels", "deployment_seed")
    options = " ".join(f"--{name.replace('_', '-')} {settings[name]}" for name in names)
    return f".venv/bin/python scripts/sweep.py {settings['name']} {options}"


def _is_asked_about(verdict: dict, shift: str) -> bool:
    """Tell whether the question is about this agent: it has a model, learnt where the parts of the shift are taught."""
    return verdict["agent"].partition("+")[0] in MODELS and verdict["regime"] == SHIFTS.get(shift)


def _choice(row: dict) -> dict:
    expected = row.get("predicted_reward", {})
    worth = row.get("choice", {}).get("worth")
    numbers = [row["signal_gain"], row["task_shortfall"], worth, *(expected.get(what) for what in PAID)]
    return {"agent": row["agent"], "regime": row["regime"], "cells": numbers}


def _audit(audit: dict) -> dict:
    parts = [
        {**part, "name": f"{letter}: {PARTS[letter]}", "findings": part["findings"][:3],
         "more": part.get("num_findings", 0) - len(part["findings"][:3])}
        for letter, part in audit["parts"].items()
    ]  # fmt: skip
    return {"regime": audit["regime"], "clean": audit["clean"], "parts": parts}


def _flat(data: dict, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Name the leaves of nested dictionaries."""
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@cache
def _template():
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {
        "mean": lambda value: "–" if value is None else f"{value['mean']:.3f}",
        "limits": lambda value: "" if value is None else "{:.3f} to {:.3f}".format(*value["ci95"]),
        "percent": lambda value: f"{value:.0%}",
        "words": lambda text: text.replace("_", " "),
    }
    return environment.from_string(files.read(_PAGE / "report.html").decode())


@cache
def _sprites() -> str:
    """Return the sprites of all cells as the address of a picture."""
    return f"data:image/png;base64,{base64.b64encode(as_png(sprite_atlas())).decode()}"


def _hash(text: str) -> str:
    """Return the source of a security policy that lets this text, and no other, run."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
