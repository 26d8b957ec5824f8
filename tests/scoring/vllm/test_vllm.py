"""vLLM's scores equal the packed scorer's, on real engines: `make test-vllm` runs this where vLLM is installed."""

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from concept_icd.errors import InputError
from concept_icd.llm.merging import merge_adapter
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.llm.question_tokens import QuestionTokens
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import CodedNote, Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.specs import ScorerSpec
from tests.conftest import ROOT, build_adapter
from tests.scoring.test_packed import CODES, CONCEPTS, NOTES

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` has it")
sys.path.insert(0, str(ROOT / "benchmarks"))
from quantised_model import quantise

from concept_icd.scoring import vllm as module
from concept_icd.scoring.vllm import VllmScorer

#: A small cache, so that an engine costs little.
SMALL = {"kv_cache_memory_bytes": 2**28}


@pytest.fixture(scope="module", autouse=True)
def _engine_stopped():
    yield
    module.close_engine()


@pytest.fixture(scope="session")
def second_adapter(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another adapter of the same shapes."""
    from safetensors.torch import load_file, save_file

    folder = build_adapter(llama, tmp_path_factory.mktemp("second"))
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({name: -1.5 * tensor for name, tensor in weights.items()}, folder / "adapter_model.safetensors")
    return folder


def same(vllm_scores, packed_scores):
    assert vllm_scores.note_ids == packed_scores.note_ids
    assert vllm_scores.truncated == packed_scores.truncated
    assert vllm_scores.logits.dtype == np.float32
    assert np.ptp(packed_scores.logits, axis=1).min() > 0.1, "questions must differ for the comparison to say something"
    np.testing.assert_allclose(vllm_scores.logits, packed_scores.logits, atol=1e-4)


class AskAgain:
    """The first two concepts, then two of the others, which depend on the answers, then nothing or the last."""

    hash, fill = "ask-again", np.zeros(len(CODES), dtype=np.float32)

    def rounds(self, note):
        first = yield np.array([0, 1])
        second = yield np.array([2, 4] if first[0] > first[1] else [3, 5])
        if second[0] > second[1]:
            yield np.array([3 if first[0] > first[1] else 2])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_scores_equal_the_packed_scorers(family, request):
    model = request.getfixturevalue(family)
    scores = VllmScorer.from_pretrained(model, **SMALL).score(NOTES, CONCEPTS)
    same(scores, PackedScorer.from_pretrained(model).score(NOTES, CONCEPTS))


@pytest.mark.slow
def test_the_mean_of_two_adapters_round_by_round(llama, llama_adapter, second_adapter, tmp_path):
    for name, adapter in (("a", llama_adapter), ("b", second_adapter)):
        shutil.copytree(adapter, tmp_path / name)
    both = {
        kind: ScorerSpec(kind, str(llama), str(tmp_path), PromptTemplate.load(), options).make()
        for kind, options in (("vllm", SMALL), ("packed", {}))
    }
    same(both["vllm"].score(NOTES, CONCEPTS), both["packed"].score(NOTES, CONCEPTS))
    assert len(module._engine.adapters) == 2, "two adapters in one engine, which is not started again for each"
    found = {
        kind: {one.note_id: one for one in scorer.iter_scores(NOTES, CONCEPTS.concepts, AskAgain())}
        for kind, scorer in both.items()
    }
    assert found["vllm"].keys() == found["packed"].keys() == {note.note_id for note in NOTES}
    for note_id, one in found["vllm"].items():
        np.testing.assert_array_equal(one.asked, found["packed"][note_id].asked)
        np.testing.assert_allclose(one.logits, found["packed"][note_id].logits, atol=1e-4)


@pytest.mark.slow
def test_adapters_of_a_base_take_turns_in_one_engine(llama, llama_adapter, second_adapter):
    engines = []
    for adapter in (llama_adapter, second_adapter, llama_adapter):
        scorer = VllmScorer.from_pretrained(llama, adapter, merge=False, **SMALL)
        same(scorer.score(NOTES, CONCEPTS), PackedScorer.from_pretrained(llama, adapter).score(NOTES, CONCEPTS))
        engines.append(module._engine)
    assert engines[0] is engines[1] is engines[2]


@pytest.mark.slow
def test_on_a_cpu_the_adapter_is_merged_and_no_copy_stays(llama, llama_adapter, second_adapter, tmp_path, monkeypatch):
    """Each scorer's engine has its own adapter's weights, whichever ran before."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    first, second = (VllmScorer.from_pretrained(llama, adapter, **SMALL) for adapter in (llama_adapter, second_adapter))
    for scorer, adapter in ((first, llama_adapter), (second, second_adapter)):
        same(scorer.score(NOTES, CONCEPTS), PackedScorer.from_pretrained(llama, adapter).score(NOTES, CONCEPTS))
        assert not module._engine.llm.llm_engine.vllm_config.lora_config
    assert not list(tmp_path.glob("concept-icd-*"))


@pytest.mark.slow
def test_in_half_precision_the_margins_are_not_rounded(llama, llama_adapter):
    """Two logits in bfloat16 lie on its grid, and so does their difference; the LM head in float32 leaves it."""

    def on_grid(**options) -> float:
        scorer = VllmScorer.from_pretrained(llama, llama_adapter, dtype="bfloat16", **options, **SMALL)
        steps = scorer.score(NOTES, CONCEPTS).logits * 2**10
        return float((np.abs(steps - np.round(steps)) < 0.01).mean())

    assert on_grid(hf_overrides={"head_dtype": "model"}) > 0.8
    assert on_grid() < 0.2


@pytest.mark.slow
def test_quantised_bases(llama, llama_adapter, tmp_path):
    """Near the float32 scores and not equal; what the CPU build cannot do is one sentence, before or with a prompt."""
    packed = PackedScorer.from_pretrained(llama, llama_adapter).score(NOTES, CONCEPTS).logits
    merge_adapter(llama, llama_adapter, tmp_path / "merged")
    int8 = quantise(tmp_path / "merged", tmp_path / "int8", "int8")
    int4 = quantise(llama, tmp_path / "int4", "int4")
    for base, adapter, options in ((int8, None, {}), (int4, llama_adapter, {"dtype": "bfloat16"})):
        found = VllmScorer.from_pretrained(base, adapter, **options, **SMALL).score(NOTES, CONCEPTS).logits
        assert np.abs(found - packed).max() > 1e-3
        assert np.corrcoef(found.ravel(), packed.ravel())[0, 1] > 0.9
    with pytest.raises(InputError, match="8-bit integers: merge the adapter into the base before it is quantised"):
        VllmScorer.from_pretrained(int8, llama_adapter, **SMALL)
    scorer = VllmScorer.from_pretrained(int4, llama_adapter, dtype="float32", **SMALL)
    with pytest.raises(InputError, match="vLLM cannot run this model: NotImplementedError"):
        scorer.score(NOTES, CONCEPTS)
    with pytest.raises(InputError, match="is quantised in a way that takes no adapter here: score with vLLM"):
        PackedScorer.from_pretrained(int4, llama_adapter)


@pytest.mark.slow
def test_a_long_note_is_cut_where_the_packed_scorer_cuts_it(llama, llama_adapter):
    """Prompts as long as the model's window, to the token, and shorter ones by choice."""
    long = Note("long", "cough and fever. " * 400)
    headings = (
        "Chief Complaint: cough.\n\nPertinent Results: " + "normal chest. " * 300 + "\n\nDischarge Diagnosis: fever"
    )
    notes = [long, Note("sections", headings), NOTES[1]]
    for options in ({}, {"max_length": 200}, {"max_length": 200, "note_text": "sections"}):
        scores = VllmScorer.from_pretrained(llama, llama_adapter, **options, **SMALL).score(notes, CONCEPTS)
        assert scores.truncated[0] is not None
        same(scores, PackedScorer.from_pretrained(llama, llama_adapter, **options).score(notes, CONCEPTS))


@pytest.mark.slow
def test_rounds_of_a_plan_ask_what_the_packed_scorer_asks(llama, llama_adapter):
    notes = [*NOTES, *(Note(f"n{i}", "fever " * i + "cough") for i in range(9))]
    packed = PackedScorer.from_pretrained(llama, llama_adapter)
    expected = {s.note_id: s for s in packed.iter_scores(notes, CONCEPTS.concepts, AskAgain())}
    scorer = VllmScorer.from_pretrained(llama, llama_adapter, notes_at_once=4, **SMALL)
    found = {s.note_id: s for s in scorer.iter_scores(notes, CONCEPTS.concepts, AskAgain())}
    assert set(found) == set(expected) == {note.note_id for note in notes}
    assert len({tuple(scores.asked) for scores in expected.values()}) > 1, "every note was asked the same"
    for note_id, scores in found.items():
        assert scores.asked.tolist() == expected[note_id].asked.tolist()
        np.testing.assert_allclose(scores.logits, expected[note_id].logits, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 4])
def test_learned_question_tokens_go_in_as_embeddings(llama, llama_adapter, tmp_path, size):
    """The note's blocks are shared between prompts that end in vectors."""
    shutil.copytree(llama_adapter, tmp_path / "learned")
    values = np.random.default_rng(size).normal(size=(len(CODES), size, 128)).astype(np.float32)
    QuestionTokens(tuple(concept.key for concept in CONCEPTS.concepts), values).save(tmp_path / "learned")
    scorer = VllmScorer.from_pretrained(llama, tmp_path / "learned", **SMALL)
    same(
        scorer.score(NOTES, CONCEPTS), PackedScorer.from_pretrained(llama, tmp_path / "learned").score(NOTES, CONCEPTS)
    )
    (scores,) = scorer.iter_scores([Note("fresh", "wheezing and asthma and cough " * 15)], CONCEPTS.concepts)
    assert scores.reused > scores.computed


@pytest.mark.slow
def test_the_note_is_read_once_for_all_its_questions(llama, llama_adapter):
    note = Note("fresh", "wheezing and asthma and cough " * 15)
    scorer = VllmScorer.from_pretrained(llama, llama_adapter, **SMALL)
    (scores,) = scorer.iter_scores([note], CONCEPTS.concepts)
    questions = [len(scorer.tokens.encode_concept(concept)) for concept in CONCEPTS.concepts]
    tokens = len(scorer.tokens.encode_note(note, max(questions)).ids)
    assert scores.computed + scores.reused == sum(tokens + question for question in questions)
    blocks = tokens // 32 * 32
    assert blocks > 64
    assert scores.reused >= blocks * (len(questions) - 1)


@pytest.mark.slow
def test_an_older_vllm_is_asked_for_two_allowed_tokens(llama, llama_adapter):
    old = VllmScorer.from_pretrained(llama, llama_adapter, logprobs_mode="processed_logprobs", **SMALL)
    same(old.score(NOTES, CONCEPTS), PackedScorer.from_pretrained(llama, llama_adapter).score(NOTES, CONCEPTS))


@pytest.mark.slow
def test_a_scorer_whose_engine_made_room_for_another_starts_it_again(llama, llama_adapter):
    first = VllmScorer.from_pretrained(llama, llama_adapter, **SMALL)
    before = first.score(NOTES, CONCEPTS)
    VllmScorer.from_pretrained(llama, max_length=300, **SMALL)
    assert module._engine.key != ""
    np.testing.assert_allclose(first.score(NOTES, CONCEPTS).logits, before.logits, atol=1e-4)


@pytest.mark.slow
def test_the_shipped_model_in_float32():
    """It is float16 on disk, where vLLM would leave it."""
    scores = VllmScorer.from_pretrained("tiny", **SMALL).score(NOTES[:3], CONCEPTS)
    expected = PackedScorer.from_pretrained("tiny").score(NOTES[:3], CONCEPTS)
    np.testing.assert_allclose(scores.logits, expected.logits, atol=1e-4)


def test_no_scorer_takes_gold_codes(llama):
    scorer = VllmScorer.from_pretrained(llama, **SMALL)
    with pytest.raises(TypeError, match="gold codes must not reach it"):
        scorer.score([CodedNote(NOTES[0], ("486",))], CONCEPTS)


def test_a_note_that_cannot_be_asked_does_not_keep_the_others(llama):
    scorer = VllmScorer.from_pretrained(llama, **SMALL)
    records = {r.note_id: r for r in scorer.iter_scores([Note("blank", " \n"), NOTES[1]], CONCEPTS.concepts)}
    assert "empty" in records["blank"].reason
    assert len(records["short"].logits) == len(CODES)


def test_nothing_asked_is_nothing_answered(llama):
    scorer = VllmScorer.from_pretrained(llama, **SMALL)
    (scores,) = scorer.iter_scores([NOTES[1]], [])
    assert scores.logits.shape == (0,)


def changed(adapter: Path, folder: Path, **config) -> Path:
    shutil.copytree(adapter, folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return folder


def test_bad_models_and_adapters_are_one_sentence(llama, llama_adapter, tmp_path):
    from safetensors.torch import load_file, save_file

    def start(model, adapter=None, **options):
        VllmScorer.from_pretrained(model, adapter, **SMALL, **options)

    with pytest.raises(InputError, match="cannot load the base model"):
        start(tmp_path / "nothing")
    with pytest.raises(InputError, match=r"it has no adapter_config\.json"):
        start(llama, tmp_path)
    with pytest.raises(InputError, match="4 bits on the CPU"):
        start(llama, load_in_4bit=True)
    with pytest.raises(InputError, match=r"vLLM cannot run this model: .*DoRA"):
        start(llama, changed(llama_adapter, tmp_path / "dora", use_dora=True), merge=False)
    damaged = changed(llama_adapter, tmp_path / "damaged")
    (damaged / "adapter_model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="damaged"):
        start(llama, damaged)
    weights = load_file(llama_adapter / "adapter_model.safetensors")
    head = changed(llama_adapter, tmp_path / "head")
    matrix = next(iter(weights.values())).clone()
    save_file(weights | {"base_model.model.lm_head.lora_A.weight": matrix}, head / "adapter_model.safetensors")
    with pytest.raises(InputError, match="LM head"):
        start(llama, head)


def test_an_adapter_of_another_base_does_not_fit_by_accident(llama, llama_adapter, tmp_path):
    """Smaller matrices would fit into vLLM's buffers."""
    from safetensors.torch import load_file, save_file

    small = changed(llama_adapter, tmp_path / "small")
    weights = load_file(llama_adapter / "adapter_model.safetensors")
    cut = {n: (t[:, :64] if "lora_A" in n else t[:64]).contiguous() for n, t in weights.items()}
    save_file(cut, small / "adapter_model.safetensors")
    with pytest.raises(InputError, match="does not fit the base model"):
        VllmScorer.from_pretrained(llama, small, **SMALL)
    with pytest.raises(InputError, match="does not fit the base model"):
        VllmScorer.from_pretrained("tiny", llama_adapter, **SMALL)


def test_an_answer_of_two_tokens_is_refused_before_an_engine_starts(llama):
    prompt = PromptTemplate("two", "Note: ", "\n", "{concept}?", yes=(" affirmative",), no=(" no",))
    module.close_engine()
    with pytest.raises(InputError, match="no single token"):
        VllmScorer.from_pretrained(llama, prompt=prompt, **SMALL)
    assert module._engine is None


def test_too_little_memory_is_one_sentence(llama):
    with pytest.raises(InputError, match=r"vLLM is out of memory: .*--max-length"):
        VllmScorer.from_pretrained(llama, kv_cache_memory_bytes=2**16)
    assert module._engine is None


def test_concept_sets_are_scored_whole(llama):
    """The scores follow the order of notes and concepts as given."""
    scorer, packed = VllmScorer.from_pretrained(llama, **SMALL), PackedScorer.from_pretrained(llama)
    backwards = ConceptSet(CODES, CONCEPTS.concepts[::-1])
    same(scorer.score(NOTES[::-1], backwards), packed.score(NOTES[::-1], backwards))
