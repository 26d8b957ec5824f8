import shutil

import numpy as np
import pytest

from concept_icd.artifacts import write_json, write_manifest
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
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


@pytest.mark.slow
def test_vllm_reports(llama, llama_adapter, shared_data, tmp_path):
    """The whole comparison on a random model: real reports, a real server, real workers of Ray."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'concept-icd[ray]'")
    concepts = ConceptSet.expand(["486", "593.70", "599.0", "780.6", "786.2"], load_ontology("icd9cm"), levels=["code"])
    shutil.copytree(llama_adapter, tmp_path / "tuned" / "adapter")
    values = np.random.default_rng(0).normal(size=(len(concepts), 2, 128)).astype(np.float32)
    QuestionTokens(tuple(one.key for one in concepts.concepts), values).save(tmp_path / "tuned" / "adapter")
    concepts.save(tmp_path / "tuned" / "concepts.json")
    PromptTemplate.load("concept-title").save(tmp_path / "tuned" / "prompt.yaml")
    write_json(tmp_path / "tuned" / "folds.json", {})
    config = {"model_name_or_path": str(llama), "load_in_4bit": False, "levels": ["code"], "question_tokens": 2}
    config |= {"lora_r": 4, "max_steps": 1, "num_train_epochs": 1.0}
    write_manifest(tmp_path / "tuned", "finetune", inputs={}, config=config, seed=0, seconds=0.0, seen=[])
    sizes = ("--codes", 3, "--reports", 60, "--timed", 1, "--rounds", 1, "--splits", 1, "--work", tmp_path / "work")
    where = ("--tuned", tmp_path / "tuned", "--data-dir", shared_data, "--ways", "vllm, int8 base")
    result = run("vllm_reports.py", *where, *sizes, out=tmp_path / "out.json")
    for ways in result["same_scores"].values():
        assert max(way["largest_score_gap"] for way in ways.values()) < 1e-4
        assert sum(way["accepted_changed"] for way in ways.values()) == 0
    assert "vllm serve" in result["same_scores"]["words"]
    assert result["ray"]["largest_score_gap"] < 1e-4
    row = result["fewer_bits"]["ways"]["vllm, int8 base"]
    assert row["largest_gap"] > 1e-4
    assert str(tmp_path) not in result["command"]
