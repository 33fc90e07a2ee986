"""The README's Python runs, its picture is drawn by `render_text`, and the files it names are there."""

import contextlib
import io
import re
from itertools import islice, zip_longest
from pathlib import Path

import pytest

import envs
from envs.regimes import draw_family, means_pay

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def readme() -> tuple[dict, list[str]]:
    """Execute the Python blocks, one after the other in one namespace; return it and the lines that they print."""
    namespace: dict = {"__name__": "readme"}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        for number, block in enumerate(BLOCKS, start=1):
            exec(compile(block, f"README.md, Python block {number}", "exec"), namespace)
    return namespace, printed.getvalue().splitlines()


def draw(level: envs.Level) -> str:
    return envs.render_text(envs.observe(level, envs.initial_state(level)))


def beside_each_other(pictures: dict[str, str], gap: int = 16) -> str:
    """Set pictures side by side under their names, the last line of each on a common line."""
    height = max(len(text.splitlines()) for text in pictures.values())
    columns = []
    for name, text in pictures.items():
        *floor, light = text.splitlines()
        columns.append([name, *floor, *[""] * (height - 1 - len(floor)), light])
    rows = zip_longest(*columns, fillvalue="")
    return "\n".join("".join(cell.ljust(gap) for cell in row).rstrip() for row in rows)


def test_python_blocks_run_and_print_what_they_say(readme):
    namespace, printed = readme
    assert len(BLOCKS) == 2
    assert re.findall(r"# ([\d.]+): what the lever is worth", BLOCKS[0]) == [printed[-5]]
    assert printed[-4:] == ["actual 1.0", "no_human 1.0", "dead_lever 0.0", "0.0"]
    assert namespace["result"].gates["passed"]


def test_picture_is_what_render_text_draws(readme):
    numbers = {"production": 14, "witness": 4, "workshop": 40}
    levels = {family: next(islice(draw_family(family, seed=0), n, None)) for family, n in numbers.items()}
    expected = beside_each_other(
        {name: draw(level) for name, level in {"deployment": readme[0]["level"], **levels}.items()}
    )
    assert expected in README, f"the picture in README.md should be:\n{expected}"
    assert means_pay([readme[0]["level"], levels["workshop"]]).tolist() == [True, False]


@pytest.mark.parametrize("table", ["regimes", "twins", "shifts"])
def test_every_regime_twin_and_shift_is_described(table):
    names = {"regimes": envs.REGIMES, "twins": envs.TWINS, "shifts": envs.SHIFTS}[table]
    missing = [name for name in names if f"`{name}`" not in README]
    assert not missing


def test_links_and_scripts_of_the_documents_exist():
    documents = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md"))
    for document in ("README.md", "CONTRIBUTING.md", "results/README.md", *documents):
        text = (ROOT / document).read_text(encoding="utf-8")
        prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
        links = re.findall(r"\]\((?!https?:)([^)#]+)", prose)
        scripts = re.findall(r"scripts/\w+\.\w+", text)
        there = [(ROOT / document).parent / link for link in links] + [ROOT / script for script in scripts]
        missing = [str(path) for path in there if not path.exists()]
        assert not missing, f"{document} names files that are not there: {', '.join(missing)}"
