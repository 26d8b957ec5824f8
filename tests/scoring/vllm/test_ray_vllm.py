"""Ray's workers hold vLLM's engine; the store holds what vLLM alone gives."""

from __future__ import annotations

import pytest

from concept_icd.llm.prompts import PromptTemplate
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.scoring.ray_executor import RayExecutor
from concept_icd.scoring.specs import ScorerSpec
from concept_icd.scoring.store import Job, fill_store, load_scores
from tests.fitted_coder import CODES, make_notes

pytest.importorskip("vllm", reason="vLLM has an environment of its own: make test-vllm")
pytest.importorskip("ray", reason="Ray is not installed: pip install 'concept-icd[ray]'")


@pytest.mark.slow
def test_a_worker_of_ray_holds_vllm_with_an_adapter(llama, llama_adapter, tmp_path):
    notes, concepts = make_notes(12, 0, "note"), ConceptSet.expand(CODES, load_ontology("icd9cm"))
    for kind, executor in (("vllm", RayExecutor(workers=1)), ("packed", None)):
        spec = ScorerSpec(kind, str(llama), str(llama_adapter), PromptTemplate.load(), {"dtype": "float32"})
        job, settings = Job("adapter", notes, spec), {"scorer": kind, "out_of_fold": True}
        fill_store(tmp_path / kind, [job], concepts, spec.prompt, settings=settings, shard_notes=4, executor=executor)
    found, packed = load_scores(tmp_path / "vllm"), load_scores(tmp_path / "packed")
    assert found.note_ids == packed.note_ids
    assert packed.logits.std() > 0.1
    assert abs(found.logits - packed.logits).max() < 1e-4
