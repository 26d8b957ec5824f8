"""The notebooks of the documentation run from the first cell to the last, and are committed without outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_committed_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert [cell["outputs"] for cell in cells if cell["cell_type"] == "code" and cell["outputs"]] == []
    assert {cell.get("execution_count") for cell in cells} == {None}


def run(path: Path, folder: Path) -> list[str]:
    """What each cell of code prints."""
    import nbformat
    from nbclient import NotebookClient

    notebook: Any = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return ["".join(out.text for out in cell.outputs if out.get("name") == "stdout") for cell in cells]


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The kernel imports this checkout and keeps its files in a folder of the test."""
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.mark.slow(minutes=0.2)
def test_code_a_note(tmp_path: Path) -> None:
    _, suggestions, why, where, data = run(ROOT / "docs" / "notebooks" / "code-a-note.ipynb", tmp_path)
    assert suggestions.startswith("1. 593.70")
    assert why.startswith("580-629 > 590-599 > 593 > 593.7 > 593.70\n+")
    assert where.startswith("for: ")
    assert "vesicoureteral reflux" in where
    assert "'concept-icd'" in data


@pytest.mark.slow(minutes=0.6)
def test_fit_and_evaluate(tmp_path: Path) -> None:
    *_, figures, folder = run(ROOT / "docs" / "notebooks" / "fit-and-evaluate.ipynb", tmp_path)
    values = {line.split()[0]: float(line.split()[1]) for line in figures.splitlines()[:5]}
    assert 0.3 < values["micro_f1"] < 1
    assert {"coder.json", "heads.json", "heads.safetensors"} <= set(eval(folder.splitlines()[0]))
