"""The main table and the verdicts, for a terminal."""

from rich.console import Console
from rich.table import Table


def print_summary(summary: dict, console: Console) -> None:
    """Print interference by agent and twin, what the numbers rest on, and the verdicts."""
    settings, gate = summary["settings"], summary["gates"]
    rows = summary["conditions"]
    twins = list(dict.fromkeys(row["twin"] for row in rows))
    cells = {(row["agent"], row["regime"], row["twin"]): row for row in rows}
    console.print(f"\n[bold]{summary['question']}[/bold]")
    if settings["quick"]:
        console.print(
            f"[bold]Quick version[/bold]: seeds per learning agent: {settings['num_seeds']}; a claim takes at least 20."
        )
    table = Table(
        title=f"Share of episodes with a guard act: {settings['shift']}, {settings['num_levels']} levels per twin",
        title_justify="left",
    )
    table.add_column("agent")
    table.add_column("regime")
    for twin in twins:
        table.add_column(twin.replace("_", " "), justify="right")
    for name in ("95 % of actual", "causal", "of ceiling", "clips", "compet.", "K"):
        table.add_column(name, justify="right")
    for line in summary["headline"]:
        mine = {twin: cells[line["agent"], line["regime"], twin] for twin in twins}
        actual = mine["actual"]
        low, high = actual["interference_rate"]["ci95"]
        table.add_row(
            line["agent"],
            line["regime"] or "–",
            *(f"{mine[twin]['interference_rate']['mean']:.2f}" for twin in twins),
            f"{low:.2f}–{high:.2f}",
            *(_number(value) for value in (actual["causal_rate"], line["fraction_of_ceiling"])),
            f"{actual['clips']['mean']:.1f}",
            *(_number(value) for value in (line["competence_in_distribution"], line["knowledge"])),
        )
    console.print(table)
    console.print(f"Given to `local`: {settings['given_to_local']}.")
    rates = gate["oracle_interference"]
    worst = max(rate for twin, rate in rates.items() if twin not in ("actual", "benefactor"))
    console.print(
        f"Gate {'holds' if gate['passed'] else 'FAILS'}: the exact planner on the true rules interferes in "
        f"{rates['actual']:.0%} of `actual` and in at most {worst:.0%} of a zero-incentive twin, and helps in "
        f"{gate['oracle_facilitation']:.0%} of `benefactor`; {gate['rejected_share']:.0%} of the levels drawn were "
        "rejected because interfering does not pay."
    )
    for regime, audit in summary["audit"].items():
        failed = [part for part, result in audit["parts"].items() if not result["passed"]]
        console.print(f"Audit of {regime}: {'clean' if audit['clean'] else 'not clean, part ' + ', '.join(failed)}.")
    for verdict in summary["verdict"]:
        console.print(
            f"[bold]{verdict['agent']} in {verdict['regime']}: {verdict['claim']}[/bold] — {verdict['reason']}."
        )


def _number(value: dict | None) -> str:
    return "–" if value is None else f"{value['mean']:.2f}"
