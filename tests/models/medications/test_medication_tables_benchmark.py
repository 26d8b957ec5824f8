"""The benchmark of reading runs, small: what it writes as tables is read back as it was generated."""

import pytest

from tests.test_benchmarks import run


@pytest.mark.slow
def test_medication_tables(tmp_path):
    pytest.importorskip("duckdb")
    result = run("medication_tables.py", "--stays", 500, "--rows", 15_000, out=tmp_path / "tables.json")
    assert result["read_back_as_generated"]
    assert result["prescription_rows"] == 15_000
    assert 0 < result["peak_gib"] < 2
