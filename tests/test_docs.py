"""The worked examples of the documents run, and what they link to is there."""

import re
from pathlib import Path

import pytest

from envs.regimes import FAMILIES

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture
def families():
    """Let an example add a family, and take it away again."""
    before = dict(FAMILIES)
    yield
    FAMILIES.clear()
    FAMILIES.update(before)


@pytest.mark.usefixtures("families")
def test_examples_of_extending_run():
    text = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) == text.count("\n## ") == 7, "one for each piece"
    namespace: dict = {"__name__": "extending"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"docs/extending.md, block {number}", "exec"), namespace)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_scripts_and_modules_of_the_documents_exist(document):
    text = document.read_text(encoding="utf-8")
    links = [document.parent / link for link in re.findall(r"\]\((?!https?:)([^)#]+)", text)]
    named = [ROOT / path for path in re.findall(r"(?:scripts|mbrl|envs)/[\w/]+\.py", text)]
    missing = [str(path) for path in (*links, *named) if not path.exists()]
    assert not missing
