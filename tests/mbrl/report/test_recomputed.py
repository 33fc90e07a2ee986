"""Every number in the tables of a committed report, recomputed from its episodes: equal to the last digit."""

import re
from html import unescape

import pytest

from tests.mbrl.report.pages import RESULTS
from tests.mbrl.report.recompute import recompute

COLUMNS = ("causal", "smallest contrast", "of ceiling", "clips", "competence", "K")


def told(text: str, table: str) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return the numbers, with their limits, of every row of a table of a report."""
    body = text[text.index(f'id="{table}"') :]
    body = body[: body.index("</table>")]
    rows = re.findall(r'<tr><th scope="row">(.*?)</th><td class="text">(.*?)</td>(.*?)</tr>', body, re.DOTALL)
    return {
        (unescape(agent), regime.replace("–", "")): re.findall(r"<td>([^<]*)<small>([^<]*)</small></td>", cells)
        for agent, regime, cells in rows
    }


@pytest.mark.parametrize("folder", ["demo"])
def test_all_numbers_are_those_of_the_episodes(folder):
    text = (RESULTS / folder / "report.html").read_text(encoding="utf-8")
    rates, headline, found = told(text, "rates"), told(text, "headline"), recompute(RESULTS / folder)
    assert set(rates) == set(headline) == set(found)
    for who, line in found.items():
        twins = [line.pop(name) for name in list(line) if name not in COLUMNS]
        assert rates[who] == twins, who
        assert headline[who] == [line.get(name, ("–", "")) for name in COLUMNS], who
