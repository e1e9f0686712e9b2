"""The notebook runs from its first cell to its last, and is kept without outputs."""

from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples/quickstart.ipynb"


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[1]))
    book = nbformat.read(NOTEBOOK, 4)
    assert not any(cell.get("outputs") for cell in book.cells), "clear the outputs before committing the notebook"
    (training,) = (cell for cell in book.cells if "num_train_epochs=12" in cell["source"])
    training["source"] = training["source"].replace("num_train_epochs=12", "num_train_epochs=2")
    nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(part.get("text", "") for cell in book.cells for part in cell.get("outputs", ()))
    assert "weighted F1" in printed and "Synthetic recordings" in printed
    assert (tmp_path / "runs/notebook/results.json").is_file()
