"""The report in a browser: by mouse and keyboard, small and large, light and dark; nothing is fetched, nothing runs.

Chromium is Debian's, installed here where it is missing; axe-core examines accessibility.
"""

import shutil
import subprocess
from pathlib import Path

import axe_playwright_python
import pytest
from playwright import sync_api as playwright

from mbrl.report.html import render
from tests.mbrl.report.pages import demo_summary, episode, poisoned
from tests.mbrl.report.test_html import PAYLOADS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
NUM_PAYLOADS = 300


@pytest.fixture(scope="module")
def browser():
    if shutil.which("chromium") is None:
        for command in (["apt-get", "update", "-q"], ["apt-get", "install", "-y", "-q", "chromium"]):
            subprocess.run(command, check=True, capture_output=True)
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def page_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(demo_summary(), [episode(), episode("ppo", thinks=False)]), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, page_file, request):
    width, scheme = getattr(request, "param", (1400, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("request", lambda made: None if made.url.startswith(("file:", "data:")) else noise.append(made.url))
    page.goto(page_file.as_uri())
    playwright.expect(page.locator("#status")).to_contain_text("Tick")
    yield page
    assert noise == [], "no errors, no requests"
    context.close()


VIEWS = [(width, scheme) for width in (360, 1400) for scheme in ("light", "dark")]


@pytest.mark.parametrize("opened", VIEWS, indirect=True)
def test_keys_and_mouse_move_through_an_episode(opened):
    status = opened.locator("#status")
    said = [status.inner_text()]
    for key in ("ArrowRight", "ArrowRight", "ArrowLeft", "]", "[", "n", "p", "ArrowRight"):
        opened.keyboard.press(key)
        said.append(status.inner_text())
    assert [text.split(":")[0] for text in said] == [f"Tick {tick}" for tick in (0, 1, 2, 1, 1, 1, 0, 0, 1)]
    assert opened.evaluate("location.hash") == "#ep0.t1"
    opened.locator("#gallery button").nth(1).click()
    assert "ppo" in opened.locator("#about").inner_text() and opened.locator("#figure-planned").is_hidden()
    opened.locator("#gallery button").nth(0).click()
    assert opened.locator("#plan-rows tr").count() == 2 and opened.locator("#figure-planned").is_visible()
    opened.locator("#strip").click(position={"x": 58 + 5, "y": 10})
    opened.locator("#forth").click()
    assert "Tick 1" in status.inner_text()
    opened.locator("#play").click()
    playwright.expect(status).to_contain_text("Tick 5")
    opened.evaluate("location.hash = '#ep1.t3'")
    playwright.expect(status).to_contain_text("Tick 3")
    assert "guard act" not in status.inner_text()
    assert opened.evaluate("document.scrollingElement.scrollWidth <= innerWidth"), "nothing sticks out"


def test_the_floor_is_drawn(opened):
    """The robot's cell differs from bare floor, and from one tick to the next it moves by a cell."""
    read = """(at) => { const c = document.getElementById('real'), k = c.width / 6;
        return [...c.getContext('2d').getImageData(at * k, k, k, k).data].join() }"""
    opened.locator("#ways").uncheck()
    first = [opened.evaluate(read, at) for at in range(3)]
    opened.evaluate("document.activeElement.blur()")
    opened.keyboard.press("ArrowRight")
    second = [opened.evaluate(read, at) for at in range(3)]
    assert first[0] != first[1] == first[2] and second[1] == first[0] and second[0] == first[1]


@pytest.mark.parametrize("opened", VIEWS, indirect=True)
def test_axe_finds_nothing_serious(opened):
    source = next(Path(axe_playwright_python.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8")
    opened.evaluate(source)
    found = opened.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    assert [(rule["id"], [node["html"][:90] for node in rule["nodes"][:3]]) for rule in found
            if rule["impact"] in ("serious", "critical")] == []  # fmt: skip


def test_nothing_hostile_runs(browser, tmp_path):
    """Each of 300 payloads stands in every place for text."""
    payloads = [f"{PAYLOADS[number % len(PAYLOADS)]}<i>{number}" for number in range(NUM_PAYLOADS)]
    context = browser.new_context()
    page, ran = context.new_page(), []
    page.on("dialog", lambda dialog: (ran.append(dialog.message), dialog.dismiss()))
    page.expose_function("pwn", lambda: ran.append("pwn"))
    for first in range(0, NUM_PAYLOADS, 25):
        several = payloads[first : first + 25]
        path = tmp_path / f"{first}.html"
        known: dict[str, str] = {}
        hostile = (poisoned(part, several, known) for part in (demo_summary(), [episode()]))
        path.write_text(render(*hostile), encoding="utf-8")
        page.goto(path.as_uri())
        playwright.expect(page.locator("#status")).to_contain_text("Tick")
        page.keyboard.press("ArrowRight")
        assert set(several) <= set(known.values())
    assert ran == []
    context.close()
