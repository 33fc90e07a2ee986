"""The main table and the verdicts, for a terminal."""

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from mbrl.evaluation import MIN_LEVELS, MIN_SEEDS, PAID
from mbrl.evaluation.answers import ACTIVATIONS, OTHERS, SEEN, UNTRAINED


def given(settings: dict) -> list[str]:
    """Return for each world model a sentence that says what it did not have to learn."""
    begins = "given_to_"
    named = {key.removeprefix(begins): text for key, text in settings.items() if key.startswith(begins)}
    return [f"Given to the model {model}: {text}." for model, text in named.items()]


def print_summary(summary: dict, console: Console) -> None:
    """Print interference by agent and twin, what the numbers rest on, and the verdicts."""
    settings, gate = summary["settings"], summary["gates"]
    rows = summary["conditions"]
    twins = list(dict.fromkeys(row["twin"] for row in rows))
    cells = {(row["agent"], row["regime"], row["twin"]): row for row in rows}
    console.print(f"\n[bold]{summary['question']}[/bold]")
    if settings["quick"]:
        console.print(
            f"[bold]Quick version[/bold]: {settings['num_seeds']} seeds × {settings['num_levels']} levels per twin; "
            f"a headline takes at least {MIN_SEEDS} × {MIN_LEVELS}."
        )
    rates = _table(
        f"Share of episodes with a guard act: {settings['shift']}, {settings['num_levels']} levels per twin",
        [twin.replace("_", "\n") for twin in twins],
    )
    columns = ["guard acts,\n95 %", "causal", "of\nceiling", "clips", "competence", "K", "motive"]
    rest = _table("In `actual`, and how able", columns)
    for line in summary["headline"]:
        mine = {twin: cells[line["agent"], line["regime"], twin] for twin in twins}
        actual = mine["actual"]
        low, high = actual["interference_rate"]["ci95"]
        label = line["agent"] if line["regime"] is None else f"{line['agent']}\n {line['regime']}"
        rates.add_row(label, *(_number(mine[twin]["interference_rate"]) for twin in twins))
        rest.add_row(
            label,
            f"{low:.2f}–{high:.2f}",
            _number(actual["causal_rate"]),
            _number(line["fraction_of_ceiling"]),
            f"{actual['clips']['mean']:.1f}",
            _number(line["competence_in_distribution"]),
            _number(line["knowledge"]),
            line["motive"],
        )
    console.print(rates)
    console.print(rest)
    if summary["reward_or_task"]:
        console.print(_reward_or_task(summary["reward_or_task"]))
    for line in given(settings):
        console.print(line)
    oracle = gate["oracle_interference"]
    worst = max(rate for twin, rate in oracle.items() if twin not in ("actual", "benefactor"))
    optimal, helps = gate["optimal_interference"], gate["oracle_facilitation"]
    console.print(
        f"Gate {'holds' if gate['passed'] else 'FAILS'}: the exact planner on the true rules interferes in "
        f"{oracle['actual']:.0%} of `actual`"
        + ("" if optimal is None else f", where the optimal policy does in {optimal:.0%},")
        + f" and in at most {worst:.0%} of a zero-incentive twin"
        + ("" if helps is None else f", and helps in {helps:.0%} of `benefactor`")
        + f"; {gate['rejected_share']:.0%} of the levels drawn were rejected because interfering does not pay."
    )
    for regime, audit in summary["audit"].items():
        failed = [part for part, result in audit["parts"].items() if not result["passed"]]
        spoilt = [agent for agent, clean in audit["clean_for"].items() if not clean]
        whom = f" for {' and '.join(spoilt)}" if spoilt else ""
        said = "clean" if audit["clean"] else f"not clean{whom}, part {', '.join(failed)}"
        console.print(f"Audit of {regime}: {said}.")
    for verdict in summary["verdict"]:
        console.print(
            f"[bold]{verdict['agent']} in {verdict['regime']}: {verdict['claim']}[/bold] — {verdict['reason']}."
        )


def print_battery(summaries: list[dict], console: Console) -> None:
    """Print interference by agent and twin, shift by shift, with intervals, and the motive that the rates show."""
    for summary in summaries:
        settings = summary["settings"]
        gate = "holds" if summary["gates"]["passed"] else "FAILS"
        title = f"{settings['shift']}: {settings['num_seeds']} seeds × {settings['num_levels']} levels; the gate {gate}"
        _print_rates(title, summary, console)


def print_drawn(found: list[dict], console: Console) -> None:
    """Print interference by agent and twin, level file by level file."""
    for one in found:
        _print_rates(f"{one['level']}, as {one['shift']}: interfering is worth {one['stake']:.2f} clips", one, console)


def print_aloud(found: dict, console: Console) -> None:
    """Print interference by twin of an agent that asked an endpoint, and how often it was answered."""
    _print_rates(f"Beside {found['adviser']['model']}", found, console)
    counts = ", ".join(f"{number} {what}" for what, number in found["asked"].items())
    console.print(f"Questions: {counts or 'none'}.", markup=False)


def episode_lines(episodes: list[dict]) -> list[str]:
    """Say of each recorded episode in a line what it is an example of."""
    return [
        f"episode {i}: {each['kind']}, {each['agent']} {each['regime'] or ''}, seed {each['seed']}, "
        f"level {each['level']}, {each['twin']}"
        for i, each in enumerate(episodes)
    ]


def _reward_or_task(rows: list[dict]) -> Table:
    """Say whom each agent serves, and what its model expects of a clip and of the test button."""
    columns = ["signal\ngain", "task\nshortfall", "worth of\na test", "expects of\na clip", "of the\nbutton"]
    table = _table("Reward (signal gain 1, a test worth a clip) or task (all 0)", columns)
    for row in rows:
        cells = []
        for measure in (row["signal_gain"], row["task_shortfall"], row["choice"]["worth"]):
            limits = "" if measure is None else "{:.2f}–{:.2f}".format(*measure["ci95"])
            cells.append(f"{_number(measure)}\n{limits}")
        expected = (_number(row["predicted_reward"].get(what)) for what in PAID)
        table.add_row("\n ".join(filter(None, (row["agent"], row["regime"]))), *cells, *expected)
    return table


def _print_rates(title: str, found: dict, console: Console) -> None:
    """Print percentages of episodes with a guard act, below them their 95 % intervals."""
    twins = list(dict.fromkeys(row["twin"] for row in found["conditions"]))
    rates = {(row["agent"], row["regime"], row["twin"]): row["interference_rate"] for row in found["conditions"]}
    table = _table(f"{title}. Episodes with a guard act, %", [twin.replace("_", "\n") for twin in twins])
    for line in found["headline"]:
        who = line["agent"], line["regime"]
        table.add_row(
            "\n ".join(filter(None, (*who, line["motive"]))), *(_percent(rates[*who, twin]) for twin in twins)
        )
    console.print(table)


def _percent(rate: dict) -> str:
    low, high = rate["ci95"]
    return f"{rate['mean']:.0%}\n{low:.0%}–{high:.0%}".replace("%", "")


def _table(title: str, columns: list[str]) -> Table:
    """Make a table, narrow enough for a terminal of 80 columns."""
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    table.add_column("agent\n trained on")
    for column in columns:
        table.add_column(column, justify="right", vertical="bottom")
    return table


def _number(value: dict | None) -> str:
    return "–" if value is None else f"{value['mean']:.2f}"


def print_control(found: dict, console: Console) -> None:
    """Print what an agent earned on a gymnax environment, seed by seed and over all."""
    table = Table(
        title=f"{found['agent']} on {found['env']}", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    names = {"return": "returns", f"discounted\nγ = {found['gamma']:g}": "discounted", "steps": "lengths"}
    if "claimed" in found["seeds"][0]:
        names |= {"claimed by\nits model": "claimed", "states": "states", "met what it\ndid not know": "lost"}
    for column in ("seed", *names):
        table.add_column(column, justify="right", vertical="bottom")
    for row in found["seeds"]:
        table.add_row(str(row["seed"]), *(f"{row[name]:.4g}" for name in names.values()))
    means = {name: sum(row[name] for row in found["seeds"]) / len(found["seeds"]) for name in names.values()}
    table.add_section()
    table.add_row("mean", *(f"{means[name]:.4g}" for name in names.values()))
    console.print(table)
    console.print(f"Means over {found['episodes']:,} episodes of each of {len(found['seeds'])} seeds.")


def print_probes(found: dict, console: Console) -> None:
    """Print what probes read off agents that learnt no model, beside the controls, and what nudging them does."""
    answers, settings = found["answers"], found["settings"]
    for run in answers:
        table = _table(
            f"{run['agent']} in {run['regime']}: area under the ROC curve, {settings['num_levels']} levels",
            [
                "its\nactivations",
                "more than what is\nseen and done",
                "more than\nuntrained",
                "more than labels\nof others",
            ],
        )
        for part in run["contains"]:
            last = [
                row
                for row in found["table"]
                if all(row[name] == run[name] for name in ("agent", "regime"))
                and all(row[name] == part[name] for name in ("target", "probe"))
                and row["source"] == ACTIVATIONS
            ][-1]
            gains = [part["more_than"].get(name) for name in (SEEN, UNTRAINED, OTHERS)]
            name = f"{part['target']}, {part['probe']}".replace("_", " ")
            table.add_row(name, *("–" if gain is None else _limits(gain) for gain in (last, *gains)))
        console.print(table)
    for run in answers:
        for move in run["moved_by"]:
            label = f"{run['agent']} in {run['regime']}, {move['of']}".replace("_", " ")
            console.print(
                f"{label}: acts otherwise, more often than if nudged at random: {_limits(move['more_than_random'])}"
            )
        console.print(run["answer"])


def _limits(number: dict) -> str:
    if number["mean"] is None:
        return "–"
    low, high = number["ci95"]
    return f"{number['mean']:.2f}" + (f" [{low:.2f}, {high:.2f}]" if low is not None else "")
