"""The notebook runs as it is written, shows its sliders, and is stored without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

PATH = Path(__file__).parents[2] / "docs" / "quickstart.ipynb"


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    notebook = nbformat.read(PATH, as_version=4)
    folder = str(tmp_path_factory.mktemp("notebook"))
    return NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
    ).execute()


def shown(notebook, kind: str) -> list[str]:
    return [
        output["data"][kind]
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if kind in output.get("data", {})
    ]


@pytest.mark.slow
def test_it_enlarges_as_it_says(executed):
    texts = shown(executed, "text/plain")
    assert "((160, 120), (320, 240))" in texts
    assert "((400, 225), (365, 274))" in texts


@pytest.mark.slow
def test_it_shows_two_sliders(executed):
    sliders = shown(executed, "text/html")
    assert len(sliders) == 2
    for html in sliders:
        assert html.count("data:image/png;base64,") == 2
        assert 'type="range"' in html
    assert "max-width:320px" in sliders[0]
    assert "max-width:256px" in sliders[1]


@pytest.mark.slow
def test_it_says_nothing_on_stderr_that_a_reader_must_wonder_about(executed):
    said = [output["text"] for cell in executed.cells for output in cell.get("outputs", []) if "text" in output]
    assert "Traceback" not in "".join(said)


def test_it_is_stored_without_outputs():
    notebook = nbformat.read(PATH, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)
