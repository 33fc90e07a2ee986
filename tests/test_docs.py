"""The worked examples of the documents run, and the notebook of the first ten minutes does."""

import re
from pathlib import Path

import nbclient
import nbformat
import pytest

from envs.regimes import FAMILIES

ROOT = Path(__file__).parents[1]


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
    assert len(blocks) > text.count("\n## ") == 8, "at least one for each piece"
    namespace: dict = {"__name__": "extending"}
    for number, block in enumerate(blocks, start=1):
        exec(compile(block, f"docs/extending.md, block {number}", "exec"), namespace)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_notebook_runs():
    notebook = nbformat.read(ROOT / "docs/first_ten_minutes.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "committed without outputs"
    nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": ROOT}}).execute()
    text = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "oracle" in text and "power on" in text
