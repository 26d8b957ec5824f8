"""The benchmarks of the medication network run, small, and say what their figures need."""

import pytest

from tests.benchmarks.test_benchmarks import run


@pytest.mark.slow
def test_medication_tables(tmp_path):
    """What it writes as tables is read back as it was generated."""
    pytest.importorskip("duckdb")
    result = run("medication_tables.py", "--stays", 500, "--rows", 15_000, out=tmp_path / "tables.json")
    assert result["read_back_as_generated"]
    assert result["prescription_rows"] == 15_000
    assert 0 < result["peak_gib"] < 2


@pytest.mark.slow
def test_medication_metrics(tmp_path):
    """The same figures as scikit-learn's, to 1e-9."""
    sizes = ("--stays", 60, "--nodes", 90, "--rounds", 1)
    result = run("medication_metrics.py", *sizes, out=tmp_path / "metrics.json")
    assert len(result["families"]) == 4
    for family in result["families"].values():
        assert family["largest_gap"] < 1e-9
        assert family["seconds"] >= 0


@pytest.mark.slow
def test_medication_network(tmp_path):
    sizes = ("--stays", 300, "--training-stays", 200, "--nodes", 100, "--units", 16)
    result = run("medication_network.py", *sizes, out=tmp_path / "network.json")
    assert (result["stays"], result["inputs"], result["nodes"]) == (300, 1166, 100)
    assert result["codes"]["written_bytes"] > 0
    assert result["epoch_with_500_dev_stays"]["epochs_per_minute"] > 0


@pytest.mark.slow
def test_medication_quality(tmp_path):
    sizes = ("--stays", 150, "--folds", 1, "--units", 16, "--epochs", 1, "--draws", 20)
    result = run("medication_quality.py", *sizes, out=tmp_path / "quality.json")
    assert set(result["figures"]) == {"dummy", "multitask", "per-level", "per-tree-level"}
    assert result["wins_over_the_dummy"]["multitask"]["comparisons"] == 8 * 16  # sets of nodes; recalls in two forms
    chapter = result["figures"]["multitask"]["chapter"]["rank_errors_at_50"]
    assert chapter["low"] <= chapter["mean"] <= chapter["high"]
    assert set(result["processor_seconds_an_epoch"]) == {"multitask", "per-level", "per-tree-level"}


@pytest.mark.slow
def test_medication_quality_on_the_demo(shared_data, tmp_path):
    pytest.importorskip("duckdb")
    sizes = ("--mimic-dir", shared_data / "mimic3_demo", "--units", 8, "--epochs", 1, "--draws", 20)
    result = run("medication_quality.py", *sizes, out=tmp_path / "demo.json")
    assert (result["stays"], result["patients"]) == (129, 100)
    assert sum(fold["test"] for fold in result["folds"].values()) == 129
    assert str(shared_data) not in (tmp_path / "demo.json").read_text()
