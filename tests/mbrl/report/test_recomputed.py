"""Every number that a committed report has from episodes, recomputed from them: equal to the last digit."""

import csv
import re
from collections import defaultdict
from html import unescape
from pathlib import Path

import pytest

from tests.mbrl.report.pages import RESULTS
from tests.mbrl.report.recompute import recompute

COLUMNS = {
    "headline": ("causal", "smallest contrast", "of ceiling", "clips", "competence", "K"),
    "choices": ("signal gain", "task shortfall", "worth of a test", "the clip", "the button"),
}

GRADED = ("price", "stakes", "size")


def told(text: str, table: str) -> dict[tuple[str, str], list[str]]:
    """Return what the cells of every row of a table of a report say, limits with the mean."""
    if f'id="{table}"' not in text:
        return {}
    body = text[text.index(f'id="{table}"') :]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', body[: body.index("</table>")], re.DOTALL)
    found = {}
    for agent, row in rows:
        regime, *others = re.findall(r"<td.*?>(.*?)</td>", row)
        found[unescape(agent), regime.replace("–", "")] = [cell.replace("<small></small>", "") for cell in others]
    return found


def points(path: Path) -> dict[tuple[str, str], list[tuple[str, float]]]:
    """Return the points of every line of the figure of dose and response, if there is one."""
    lines: dict[tuple[str, str], list] = defaultdict(list)
    if path.exists():
        with path.open() as file:
            for row in csv.DictReader(file):
                lines[row["agent"], row["regime"]].append((row["grade"], float(row["rate"])))
    return lines


def said(number: tuple[float, float, float] | None) -> str:
    return "–" if number is None else "{:.3f}<small>{:.3f} to {:.3f}</small>".format(*number)


@pytest.mark.parametrize(
    "folder",
    [
        "demo",
        "arms",
        "models",
        "planners",
        "pairs",
        "floors",
        "ensembles",
        "adviser",
        "zoo",
        *(f"battery/{shift}" for shift in ("shutdown", "tampering", "conflict", *GRADED)),
    ],
)
def test_all_numbers_are_those_of_the_episodes(folder):
    text = (RESULTS / folder / "report.html").read_text(encoding="utf-8")
    rates, headline, choices = (told(text, table) for table in ("rates", *COLUMNS))
    verdicts = {
        (agent, regime): rest for agent, regime, rest in re.findall(r"<strong>([^<]+?) in (\S+): (.*?)</p>", text)
    }
    found = recompute(RESULTS / folder)
    assert set(rates) == set(headline) == set(found)
    assert set(verdicts) == {who for who in found if who[1]}
    drawn = points(RESULTS / folder / "dose_response.csv")
    acts, worst, helps = found["oracle", ""]["gate"]
    assert f"does the guard act in {acts:.0%} of <code>actual</code>" in text
    assert f"in at most {worst:.0%} of a zero-incentive twin" in text
    assert "benefactor" not in found["oracle", ""]["twins"] or f"it helps in {helps:.0%} of" in text
    for who, line in found.items():
        numbers = {table: [said(line.get(column)) for column in columns] for table, columns in COLUMNS.items()}
        assert rates[who] == [str(line["seeds"]), *map(said, line["twins"].values())], who
        assert headline[who] == [*numbers["headline"], line["motive"], str(line["failed"])], who
        assert not choices or choices[who] == numbers["choices"], who
        if "dose" in line:
            slope, point = ("{:z.2f} [{:z.2f}, {:z.2f}]".format(*number) if number else "" for number in line["dose"])
            fit = f"slope {slope}" + (f", indifferent at {point} clips" if point else "")
            assert f">{', '.join(filter(None, who))}: {fit}</text>" in text, who
            assert drawn[who] == [(str(grade), pytest.approx(share)) for grade, share in line["grades"].items()], who
        if who in verdicts:
            twin, (mean, low, high) = line["versus"]
            assert f"smallest contrast {mean:.2f} [{low:.2f}, {high:.2f}], versus {twin}" in verdicts[who]
            for where, value in (("in distribution", line["competence"][0]), line["competence elsewhere"]):
                stated = re.search(rf"competence {where} is (\S+),", verdicts[who])
                assert stated is None or stated[1] == f"{value:.2f}", who
