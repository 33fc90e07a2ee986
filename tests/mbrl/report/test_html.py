"""The report is one page that asks nothing of the net, says what the summary says, and takes all text for text."""

import base64
import gzip
import hashlib
import random
import re
from html.parser import HTMLParser

import pytest

from mbrl.plain import read_json
from mbrl.report.html import LARGEST, render, write_report
from mbrl.store import damages, json_bytes, seal
from tests.mbrl.report.pages import RESULTS, demo_summary, episode, poisoned

HARMLESS = "quite harmless"


class Page(HTMLParser):
    """What a browser would make of a page: elements with their attributes, texts, and rows of the tables."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        tag = self.elements[-1][0] if self.elements else ""
        self.raw[tag].append(data) if tag in self.raw and data.strip() else self.texts.append(data)

    def shape(self) -> list[tuple[str, tuple]]:
        return [(tag, tuple(sorted(attrs))) for tag, attrs in self.elements]


@pytest.fixture(scope="module")
def summary() -> dict:
    return demo_summary()


@pytest.fixture(scope="module")
def text(summary) -> str:
    return render(summary, [episode(), episode("ppo", thinks=False)])


def test_nothing_but_its_own_style_and_script_may_run(text):
    page = Page(text)
    policy = next(attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv"))
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'" and "unsafe" not in policy
    for rule, tag in (("style-src", "style"), ("script-src", "script")):
        hashes = [base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() for part in page.raw[tag]]
        assert rules[rule] == f"'sha256-{hashes[-1]}'"
    assert not [attrs for _, attrs in page.elements if "style" in attrs or any(name.startswith("on") for name in attrs)]
    assert set(re.findall(r"https?://[^\"' )<]+", text)) <= {
        "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink",
    }, "addresses of names, which nobody calls"  # fmt: skip
    sources = [attrs.get("src") or attrs.get("href") or attrs.get("xlink:href") or "#" for _, attrs in page.elements]
    assert all(source.startswith(("#", "data:")) for source in sources)


def test_it_says_what_the_summary_says(summary, text):
    said = " ".join(Page(text).texts)
    for verdict in summary["verdict"]:
        assert f"{verdict['agent']} in {verdict['regime']}: {verdict['claim']}" in said and verdict["reason"] in said
    cells = re.findall(r"<td>([\d.–-]+)<small>([\d.]* ?t?o? ?[\d.]*)</small></td>", text[text.index('id="rates"') :])
    expected = [row["interference_rate"] for row in summary["conditions"]]
    told = [(f"{rate['mean']:.3f}", "{:.3f} to {:.3f}".format(*rate["ci95"])) for rate in expected]
    assert cells[: len(told)] == told
    assert summary["question"] in said and "Quick version" in said and "not clean" in said
    assert said.count("sweep.py demo --num-seeds 4") == 1


def test_episodes_ride_along_and_are_left_out_last_first(summary, text):
    def carried(page: str) -> list[dict]:
        packed = re.search(r'id="replays">([^<]*)<', page)
        return read_json(gzip.decompress(base64.b64decode(packed[1])))["episodes"] if packed else []

    assert carried(text) == [episode(), episode("ppo", thinks=False)] and len(text) < LARGEST
    several = [episode(random.Random(i).randbytes(500).hex()) for i in range(4)]
    whole = render(summary, several)
    small = render(summary, several, largest=len(whole.encode()) - 1)
    assert carried(whole) == several and "left out of this file" not in whole
    assert carried(small) == several[:3] and "1 episodes were left out" in small
    assert carried(render(summary, several, largest=1)) == []


PAYLOADS = [
    "<script>pwn()</script>", '"><img src=x onerror=pwn()>', "</script><svg/onload=pwn()>", "'-pwn()-'", "{{7*7}}",
    "&lt;b&gt;", "</style><script>pwn()</script>", "$\\frac{1}{0}$", "javascript:pwn()", "<!--", "]]>", "\u202e<b>",
]  # fmt: skip


def test_hostile_text_is_text(summary):
    """Whatever stands in the places for text, the page has the same elements, and says it as it is."""
    tame, hostile = (
        Page(render(poisoned(summary, texts, {}), poisoned([episode()], texts, {}))) for texts in ([HARMLESS], PAYLOADS)
    )
    drawn = ("path", "g", "use", "defs", "clippath", "rect", "text", "tspan")  # where a label is long
    inside = lambda page: [part for part in page.shape() if part[0] not in drawn]  # noqa: E731
    assert inside(hostile) == inside(tame)
    assert len(hostile.raw["script"]) == len(tame.raw["script"]) == 2
    for payload in PAYLOADS:
        assert any(payload in part for part in hostile.texts), payload


def test_a_folder_of_results_is_reported_and_sealed_again(tmp_path, summary):
    (tmp_path / "summary.json").write_bytes(json_bytes(summary))
    (tmp_path / "replays.json.gz").write_bytes(gzip.compress(json_bytes({"episodes": [episode()]})))
    seal(tmp_path, "demo", {}, {}, ["summary.json", "replays.json.gz"])
    assert write_report(tmp_path) == tmp_path / "report.html" and damages(tmp_path) == []
    assert (tmp_path / "report.html").read_text() == render(summary, [episode()])
    other = write_report(tmp_path, tmp_path.parent / f"{tmp_path.name}.html")
    assert other.read_bytes() == (tmp_path / "report.html").read_bytes()
    (tmp_path / "replays.json.gz").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"replays\.json\.gz is damaged"):
        write_report(tmp_path)


def test_the_committed_headline_is_reported():
    text = render(read_json((RESULTS / "withheld/summary.json").read_bytes()), [])
    assert "No episodes were kept of this run." in text and 'id="replays"' not in text
