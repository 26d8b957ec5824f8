"""The light scorer's scores are the packed scorer's, and a coder of a small model starts without torch."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from concept_icd.coder.coder import ConceptCoder
from concept_icd.errors import InputError
from concept_icd.records import Note
from concept_icd.resources import resource
from concept_icd.scoring import numpy_llama
from concept_icd.scoring.numpy_llama import LightScorer
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.scorer import NoteFailure
from tests.scoring.test_packed import CODES, CONCEPTS, NOTES


class AskAgain:
    """Two concepts, then two others that depend on the answers."""

    hash, fill = "ask-again", np.zeros(len(CODES), dtype=np.float32)

    def rounds(self, note):
        first = yield np.array([0, 1])
        yield np.array([2, 4] if first[0] > first[1] else [3, 5])


def same(found, expected):
    assert (found.note_ids, found.truncated) == (expected.note_ids, expected.truncated)
    assert found.logits.dtype == np.float32
    assert np.ptp(expected.logits, axis=1).min() > 0.1, "questions must differ for the comparison to say something"
    np.testing.assert_allclose(found.logits, expected.logits, atol=1e-4)


@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize(("chunk", "queries"), [(1024, 512), (30, 7)])
def test_scores_are_the_packed_scorers(llama, llama_adapter, tuned, chunk, queries, monkeypatch):
    """Of a model with grouped attention and an LM head of its own, asked in words; all at once and in small parts."""
    monkeypatch.setattr(numpy_llama, "CHUNK_TOKENS", chunk)
    monkeypatch.setattr(numpy_llama, "QUERIES", queries)
    adapter = llama_adapter if tuned else None
    expected = PackedScorer.from_pretrained(llama, adapter)
    found = LightScorer.from_pretrained(llama, adapter)
    same(found.score(NOTES, CONCEPTS), expected.score(NOTES, CONCEPTS))
    same(
        LightScorer.from_pretrained(llama, adapter, max_length=190).score(NOTES, CONCEPTS),
        PackedScorer.from_pretrained(llama, adapter, max_length=190).score(NOTES, CONCEPTS),
    )
    rounds = {one.note_id: one for one in found.iter_scores(NOTES, CONCEPTS.concepts, AskAgain())}
    for one in expected.iter_scores(NOTES, CONCEPTS.concepts, AskAgain()):
        np.testing.assert_array_equal(rounds[one.note_id].asked, one.asked)
        np.testing.assert_allclose(rounds[one.note_id].logits, one.logits, atol=1e-4)
    assert isinstance(next(found.iter_scores([Note("empty", " ")], CONCEPTS.concepts)), NoteFailure)


def test_the_shipped_coder_scores_as_with_torch():
    """With learned question tokens and tied embeddings."""
    coder = ConceptCoder.from_pretrained("radiology")
    texts = sorted((resource("examples") / "radiology").glob("*.txt"))
    notes = [Note(path.stem, path.read_text()) for path in texts]
    notes.append(Note("long", " ".join(note.text for note in notes) * 12))
    assert isinstance(coder.scorer, LightScorer)
    expected = coder.with_scorer("packed")
    assert isinstance(expected.scorer, PackedScorer)
    same(coder.scorer.score(notes, coder.asked), expected.scorer.score(notes, coder.asked))
    results = [one.code_batch(notes[:2], evidence=True) for one in (coder, expected)]
    for found, one in zip(*results, strict=True):
        assert [code.code for code in found.accepted] == [code.code for code in one.accepted]
        assert [code.evidence for code in found.accepted] == [code.evidence for code in one.accepted]


def test_coding_a_note_imports_neither_torch_nor_scikit_learn():
    note = resource("examples") / "radiology" / "reflux_follow_up.txt"
    script = (
        "import sys; from concept_icd.cli.main import main; status = main(sys.argv[1:]); "
        "print(sorted({'torch', 'transformers', 'sklearn', 'scipy.optimize'} & set(sys.modules)), file=sys.stderr); "
        "sys.exit(status)"
    )
    command = [sys.executable, "-c", script, "code", str(note), "--evidence", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "[]")
    assert json.loads(done.stdout)["codes"][0]["code"] == "593.70"


@pytest.mark.parametrize("change", ["family", "rope", "bias", "lora", "key", "tokenizer", "size", "4 bits"])
def test_what_is_no_plain_small_llama_is_left_to_the_packed_scorer(
    change, llama, llama_adapter, qwen3, tmp_path, monkeypatch
):
    model, adapter, options = tmp_path / "model", tmp_path / "adapter", {}
    shutil.copytree(qwen3 if change == "family" else llama, model)
    shutil.copytree(llama_adapter, adapter)
    edit = {
        "rope": (model / "config.json", {"rope_parameters": {"rope_type": "linear", "factor": 2.0}}),
        "bias": (model / "config.json", {"attention_bias": True}),
        "lora": (adapter / "adapter_config.json", {"use_rslora": True}),
        "tokenizer": (model / "tokenizer_config.json", {"tokenizer_class": "LlamaTokenizer"}),
    }.get(change)
    if change == "key":
        config = json.loads((model / "config.json").read_text())
        del config["rms_norm_eps"]
        (model / "config.json").write_text(json.dumps(config))
    if edit:
        path, values = edit
        path.write_text(json.dumps(json.loads(path.read_text()) | values))
    if change == "size":
        monkeypatch.setattr(numpy_llama, "MOST_BYTES", 1000)
    if change == "4 bits":
        options = {"load_in_4bit": True}
    with pytest.raises(InputError, match="takes small Llama models as they stand"):
        LightScorer.from_pretrained(model, adapter, **options)


def test_a_tokenizer_that_ends_every_text_makes_the_same_prompts(llama, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(llama, model)
    content = json.loads((model / "tokenizer.json").read_text())
    single = [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]
    end = next(token for token in content["added_tokens"] if token["id"] == 2)["content"]
    single[1]["SpecialToken"]["id"] = end
    special = {end: {"id": end, "ids": [2], "tokens": [end]}}
    content["post_processor"] = {
        "type": "TemplateProcessing", "single": single, "pair": single, "special_tokens": special
    }  # fmt: skip
    (model / "tokenizer.json").write_text(json.dumps(content))
    found = LightScorer.from_pretrained(model)
    assert found.tokens.tokenizer("cough")["input_ids"][-1] == 2
    same(found.score(NOTES, CONCEPTS), PackedScorer.from_pretrained(model).score(NOTES, CONCEPTS))


def test_a_coder_of_another_model_is_scored_by_the_packed_scorer(fitted, qwen3):
    arguments = {"model": qwen3, "adapter": None}
    train = fitted.scores.select([coded.note.note_id for coded in fitted.train])
    coder = ConceptCoder.fit(train, fitted.train, fitted.coder.concepts, **arguments)
    assert isinstance(coder.scorer, PackedScorer)
