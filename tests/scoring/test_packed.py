"""The packed scorer equals one plain prompt per question, for real models of two families, with and without LoRA."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.records import CodedNote, Concept, Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.scoring.scorer import NoteFailure, NoteScores

TEXTS = ["pneumonia", "asthma", "diseases of the respiratory system", "fever", "cough", "urinary tract infection"]
CODES = tuple(f"{index:03d}" for index in range(1, 1 + len(TEXTS)))
CONCEPTS = ConceptSet(
    CODES, tuple(Concept(f"code:{code}", "code", text, (code,)) for code, text in zip(CODES, TEXTS, strict=True))
)
NOTES = [
    Note("long", "cough and fever for three days. " * 12),
    Note("short", "fever"),
    Note("medium", "urinary tract infection, no hydronephrosis. normal renal ultrasound"),
    Note("unicode", "Ünïcode 漢字 µg"),
]


def plain_scores(model: Path, adapter: Path | None, notes: list[Note], max_length: int | None = None) -> np.ndarray:
    """The obvious way: one prompt per (note, concept), the full vocabulary's logits, nothing shared."""
    loaded = load_model(model, adapter, merge=False)
    tokens = TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, max_length or loaded.max_length)
    questions = [tokens.encode_question(text) for text in TEXTS]
    scores = np.empty((len(notes), len(questions)), dtype=np.float32)
    with torch.inference_mode():
        for row, note in enumerate(notes):
            ids = tokens.encode_note(note, max(map(len, questions))).ids
            for column, question in enumerate(questions):
                logits = loaded.model(torch.tensor([[*ids, *question]])).logits[0, -1]
                scores[row, column] = logits[tokens.yes_id] - logits[tokens.no_id]
    return scores


@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("tuned", [False, True])
@pytest.mark.parametrize("chunk_tokens", [1, 17, 512])
def test_packed_scores_equal_plain_prompts(family, tuned, chunk_tokens, request):
    model = request.getfixturevalue(family)
    adapter = request.getfixturevalue(f"{family}_adapter") if tuned else None
    expected = plain_scores(model, adapter, NOTES)
    scorer = PackedScorer.from_pretrained(model, adapter, chunk_tokens=chunk_tokens)
    scores = scorer.score(NOTES, CONCEPTS)
    assert scores.note_ids == ("long", "short", "medium", "unicode")
    assert scores.logits.dtype == np.float32
    assert np.ptp(expected, axis=1).min() > 0.1, "questions must differ for the comparison to mean something"
    np.testing.assert_allclose(scores.logits, expected, atol=1e-4)


def test_an_adapter_changes_the_scores(llama, llama_adapter):
    assert np.abs(plain_scores(llama, None, NOTES) - plain_scores(llama, llama_adapter, NOTES)).max() > 0.1


def test_an_unmerged_adapter_gives_the_same_scores(llama, llama_adapter):
    merged = PackedScorer.from_pretrained(llama, llama_adapter).score(NOTES, CONCEPTS)
    apart = PackedScorer.from_pretrained(llama, llama_adapter, merge=False).score(NOTES, CONCEPTS)
    np.testing.assert_allclose(merged.logits, apart.logits, atol=1e-4)


def test_batching_does_not_change_a_score(llama):
    together = PackedScorer.from_pretrained(llama).score(NOTES, CONCEPTS)
    alone = PackedScorer.from_pretrained(llama, batch_tokens=1).score(NOTES, CONCEPTS)
    np.testing.assert_allclose(together.logits, alone.logits, atol=1e-4)


def test_a_note_that_is_too_long_loses_its_end_and_says_so(llama):
    long = Note("long", "cough and fever. " * 4000)
    scores = PackedScorer.from_pretrained(llama, max_length=200).score([long, NOTES[1]], CONCEPTS)
    assert scores.truncated[1] is None
    assert scores.truncated[0] is not None
    assert "of 68,000" in scores.truncated[0]
    expected = plain_scores(llama, None, [long], max_length=200)
    np.testing.assert_allclose(scores.logits[:1], expected, atol=1e-4)


def test_sections_of_a_long_note_score_as_the_text_that_they_are(llama):
    """Read by sections, a note is the same as one that was cut to them by hand."""
    course = "Hospital Course: " + "fever and cough. " * 20 + "\n\n"
    results = "Pertinent Results: " + "normal chest, normal renal line. " * 200 + "\n\n"
    start, end = "Chief Complaint: cough.\n\n", "Discharge Diagnosis: pneumonia\n"
    by_hand = Note("n", start + course + "Pertinent Results: normal\n" + end)
    loaded = load_model(llama)
    tokens = TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, loaded.max_length)
    room = len(tokens.encode_note(by_hand, 0).ids)
    longest = max(len(tokens.encode_question(concept.text)) for concept in CONCEPTS.concepts)
    scorer = PackedScorer(
        loaded, TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, room + longest, note_text="sections")
    )
    long = Note("n", start + course + results + end)
    scores = scorer.score([long], CONCEPTS)
    expected = PackedScorer.from_pretrained(llama).score([by_hand], CONCEPTS)
    np.testing.assert_allclose(scores.logits, expected.logits, atol=1e-4)
    assert scores.truncated[0] is not None
    assert "Pertinent Results was cut at its end" in scores.truncated[0]
    assert [long.text[a:b] for a, b in scorer.text_read(long, CONCEPTS.concepts)] == [
        start + course + "Pertinent Results: normal",
        end,
    ]


def test_the_longest_prompt_fills_the_model_exactly(llama):
    loaded = load_model(llama)
    tokens = TokenizedPrompt(PromptTemplate.load(), loaded.tokenizer, 100)
    assert len(tokens.encode_note(Note("n", "cough " * 500), 20).ids) == 80


def test_no_scorer_takes_gold_codes(llama):
    with pytest.raises(TypeError, match="gold codes must not reach it"):
        PackedScorer.from_pretrained(llama).score([CodedNote(NOTES[0], ("486",))], CONCEPTS)  # type: ignore[list-item]


def test_an_empty_note_is_named(llama):
    with pytest.raises(InputError, match="note 'blank' is empty"):
        PackedScorer.from_pretrained(llama).score([Note("blank", " \n")], CONCEPTS)


def test_a_note_id_stands_for_one_note(llama):
    with pytest.raises(InputError, match="same id"):
        PackedScorer.from_pretrained(llama).score([NOTES[0], NOTES[0]], CONCEPTS)


class Halves:
    """A plan: first the even concepts, then the odd ones of notes whose first answer is positive."""

    def rounds(self, note):
        even = np.arange(0, len(TEXTS), 2)
        logits = yield even
        assert logits.shape == even.shape
        if logits[0] > 0:
            yield np.arange(1, len(TEXTS), 2)


@pytest.mark.parametrize("sizes", [{}, {"batch_tokens": 1}, {"chunk_tokens": 17}])
def test_a_plan_asks_in_rounds_and_gets_the_scores_of_asking_all(llama, sizes):
    scorer = PackedScorer.from_pretrained(llama, **sizes)
    notes = [*NOTES, *(Note(f"more-{word}", f"{word} " * 9) for word in ("renal", "fever", "history", "yes"))]
    exhaustive = scorer.score(notes, CONCEPTS)
    found = {scores.note_id: scores for scores in scorer.iter_scores(notes, CONCEPTS.concepts, Halves())}
    assert set(found) == {note.note_id for note in notes}
    stopped = 0
    for note, logits in zip(notes, exhaustive.logits, strict=True):
        expected = range(len(TEXTS)) if logits[0] > 0 else range(0, len(TEXTS), 2)
        stopped += logits[0] <= 0
        assert found[note.note_id].asked.tolist() == list(expected)
        np.testing.assert_allclose(found[note.note_id].logits, logits[list(expected)], atol=1e-4)
    assert 0 < stopped < len(notes), "both kinds of notes must be there"


def test_tokens_are_counted(llama):
    scorer = PackedScorer.from_pretrained(llama)
    note, questions = scorer.tokens.encode_note(NOTES[0], 30).ids, [scorer.tokens.encode_question(t) for t in TEXTS]
    [scores] = scorer.iter_scores(NOTES[:1], CONCEPTS.concepts)
    assert (scores.computed, scores.reused) == (len(note) + sum(map(len, questions)), 5 * len(note))
    [scores] = [s for s in scorer.iter_scores(NOTES, CONCEPTS.concepts, Halves()) if s.note_id == "long"]
    asked = [questions[k] for k in scores.asked]
    assert (scores.computed, scores.reused) == (len(note) + sum(map(len, asked)), (len(asked) - 1) * len(note))


def test_a_note_that_cannot_be_asked_does_not_stop_the_others(llama):
    found = list(PackedScorer.from_pretrained(llama).iter_scores([NOTES[0], Note("blank", " ")], CONCEPTS.concepts))
    failures = [scores for scores in found if isinstance(scores, NoteFailure)]
    assert failures == [NoteFailure("blank", "note 'blank' is empty")]
    assert [scores.note_id for scores in found if isinstance(scores, NoteScores)] == ["long"]


#: Scores once with room for everything, then with so little that a chunk of all questions does not fit, then a note
#: that does not fit at all.
SHORT_OF_MEMORY = """
import dataclasses, resource, sys
from pathlib import Path
import numpy as np
from concept_icd.llm.base_model import load_model
from concept_icd.llm.prompts import PromptTemplate
from concept_icd.records import Concept, Note
from concept_icd.scoring.packed import PackedScorer

words = ["fever", "cough", "renal", "normal", "history", "days"]
concepts = [Concept(str(n), "code", f"{words[n % 6]} {words[n // 6 % 6]}", ("486",)) for n in range(800)]
notes = [Note("a", "fever and cough"), Note("b", "normal renal ultrasound " * 40)]
loaded = dataclasses.replace(load_model(sys.argv[1]), max_length=10**6)
scorer = PackedScorer(loaded, PromptTemplate.load())
expected = {s.note_id: s.logits for s in scorer.iter_scores(notes, concepts)}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 150 * 2**20,) * 2)
scorer.chunk_tokens, scorer.batch_tokens = 8000, 32000
for s in scorer.iter_scores(notes, concepts):
    np.testing.assert_allclose(s.logits, expected[s.note_id], atol=1e-4)
print(scorer.chunk_tokens)
list(scorer.iter_scores([Note("long", "fever " * 100_000)], concepts))
"""


@pytest.mark.slow
def test_without_memory_less_is_done_at_a_time_until_a_note_does_not_fit_at_all(llama):
    command = [sys.executable, "-c", SHORT_OF_MEMORY, str(llama)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.stdout, done.stderr
    assert 100 < int(done.stdout) < 5000
    assert done.stderr.count("going on with half as much at a time") == 1
    assert done.returncode == 1
    assert "InputError: out of memory: a note of" in done.stderr.splitlines()[-1]


def test_four_bit_scores_stay_near_full_precision(llama):
    pytest.importorskip("bitsandbytes")
    full = PackedScorer.from_pretrained(llama).score(NOTES, CONCEPTS).logits
    quantised = PackedScorer.from_pretrained(llama, load_in_4bit=True).score(NOTES, CONCEPTS).logits
    assert np.isfinite(quantised).all()
    assert np.corrcoef(full.ravel(), quantised.ravel())[0, 1] > 0.7
    assert np.abs(full - quantised).max() > 1e-3, "nothing was quantised"


def test_a_missing_model_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="cannot load the base model"):
        load_model(tmp_path / "nothing")


def test_a_missing_or_foreign_adapter_is_one_sentence(llama, qwen3_adapter, tmp_path):
    with pytest.raises(InputError, match=r"adapter_config\.json"):
        load_model(llama, tmp_path)
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in qwen3_adapter.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "adapter_model.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(InputError, match="does not fit the base model"):
        load_model(llama, broken)
