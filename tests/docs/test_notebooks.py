"""The notebooks run from their first cell to their last, and are kept without what they gave."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[2] / "docs" / "notebooks").glob("*.ipynb"))


def cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(path: Path) -> None:
    for cell in cells(path):
        assert not cell.outputs and cell.execution_count is None, f"clear the outputs of {path.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proof: bool) -> None:
    if not proof and path != NOTEBOOKS[date.today().toordinal() % len(NOTEBOOKS)]:
        pytest.skip("another one's day: `make docs` runs them all")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of its kernel: other tests run beside it
    notebook = nbformat.read(path, as_version=4)
    there = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=there).execute()
    assert all(cell.execution_count for cell in notebook.cells if cell.cell_type == "code")
