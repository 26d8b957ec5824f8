import pytest

from tests.benchmarks.test_benchmarks import run

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` has it")


@pytest.mark.slow
def test_vllm_scoring(tmp_path):
    sizes = ("--layers", 1, "--note-tokens", 100, 128, "--questions", 8, "--notes", 2, "--rounds", 1)
    ways = ("--plain-questions", 3, "--ways", "packed", "vllm", "plain")
    result = run("vllm_scoring.py", *sizes, *ways, out=tmp_path / "vllm.json")
    for ways in result["note_tokens"].values():
        assert max(way["largest_score_gap"] for way in ways.values()) < 1e-4
    # A note that fills its blocks is computed once, of another the last block once a question.
    cut, full = (result["note_tokens"][tokens] for tokens in ("100", "128"))
    assert full["vllm"]["tokens_computed_a_note"] == full["packed"]["tokens_computed_a_note"]
    assert cut["vllm"]["tokens_computed_a_note"] == cut["packed"]["tokens_computed_a_note"] + 7 * 4
    assert result["peak_bytes_above_weights"]["vllm"] > 0
