"""Pre-training of the tiny base model: what it asks, that a killed run goes on, and that the shipped model is real."""

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from concept_icd.errors import InputError
from concept_icd.llm.base_model import load_model
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.llm.reference import TINY
from concept_icd.ontology.concepts import ConceptSet
from concept_icd.ontology.tree import load_ontology
from concept_icd.ontology.wordings import plain
from concept_icd.records import Concept, Note
from concept_icd.scoring.packed import PackedScorer
from concept_icd.warmup.data import read_open_text, sentences, text_streams, withheld
from concept_icd.warmup.notes import Mention, compose_note
from concept_icd.warmup.questions import QuestionMaker, batches, read_question_maker
from concept_icd.warmup.training import Warmup, next_tokens
from scripts.pretraining.model import Float32Muon, save_model
from scripts.pretraining.train import PretrainingOptions, pretraining


def test_phrases_read_as_a_clinician_writes_them() -> None:
    assert plain(["Typhoid (fever) (infection) [any site]"]) == ("Typhoid",)
    assert plain(["Asthma, unspecified type, unspecified"]) == ("Asthma",)
    assert plain(["Open fracture with other and unspecified injury"]) == (
        "Open fracture with other and unspecified injury",
    )
    assert plain(["Tonsil:"]) == ()


def test_a_site_alone_is_no_wording_of_a_disease(maker: QuestionMaker) -> None:
    assert "Kidney" not in maker.terms.wordings["189.0"]
    assert "Hydrocalycosis" in maker.terms.wordings["591"] + maker.terms.withheld.get("591", ())


def test_a_topic_lends_its_synonyms_to_the_code_of_the_same_name(maker: QuestionMaker) -> None:
    assert "Dilated kidney" in maker.terms.wordings["591"] + maker.terms.withheld.get("591", ())


def test_codes_of_the_open_notes_are_drawn_more_often(maker: QuestionMaker) -> None:
    assert {"486", "786.2", "591", "493.90", "780.60"} <= set(maker.terms.common[0])


@pytest.mark.parametrize("reports", [0.0, 1.0])
def test_a_made_up_note_says_every_mention(reports: float) -> None:
    mentions = [
        Mention("486", "pneumonia", "present"),
        Mention("591", "hydronephrosis", "absent"),
        Mention("786.2", "cough", "uncertain"),
        Mention("493.90", "asthma", "family"),
        Mention("599.0", "bladder infection", "present"),
        Mention("599.7", "blood in urine", "present"),
    ]
    for seed in range(20):
        note = compose_note(mentions, random.Random(seed), reports).lower()
        assert all(mention.words in note for mention in mentions), seed


def test_questions_on_the_path_of_what_is_present_are_true(maker: QuestionMaker) -> None:
    for seed in range(50):
        note = maker._ask("", [Mention("486", "Pneumonia", "present")], random.Random(seed))
        above = {maker.terms.texts[code] for code in maker.terms.paths["486"]}
        for question, label in zip(note.questions, note.labels, strict=True):
            if question in above:
                assert label == 1.0
        assert set(note.labels) == {0.0, 1.0}


def test_what_is_not_present_is_false_and_so_is_its_path(maker: QuestionMaker) -> None:
    for status in ("absent", "uncertain", "family"):
        note = maker._ask("", [Mention("486", "Pneumonia", status)], random.Random(3))
        assert set(note.labels) == {0.0}


def test_found_words_after_a_negation_or_a_doubt_are_false(maker: QuestionMaker) -> None:
    answers: dict[str, set[float]] = {}
    for seed in range(400):
        note = maker.real_note(random.Random(seed))
        if note is not None and "No pneumonia" in note.text and "hydronephrosis" in note.text:
            for question, label in zip(note.questions, note.labels, strict=True):
                answers.setdefault(question, set()).add(label)
    assert answers[maker.terms.texts["486"]] == {0.0}
    assert answers[maker.terms.texts["591"]] == {1.0}


def test_what_follows_a_token_is_learnt_for_the_note_and_the_true_questions_alone() -> None:
    instruction, note, true, false = [1, 2], [10, 11, 12], [20, 21, 22], [30, 31]
    targets = next_tokens([instruction + note], [[true, false]], [[1.0, 0.0]], instruction=2)
    # row: 1 2 10 11 12 | 20 21 | 30 || 22 31, the last tokens standing in the last columns
    assert targets.tolist() == [[-1, 10, 11, 12, -1, 21, 22, -1, -1, -1]]


def test_any_batch_can_be_made_again(maker: QuestionMaker) -> None:
    source = batches(maker, seed=5, first=0, notes=2, easy_steps=20)
    all_of_them = [next(source) for _ in range(20)]
    for first in (3, 8, 15):
        assert next(batches(maker, seed=5, first=first, notes=2, easy_steps=20)) == all_of_them[first]
    assert next(batches(maker, seed=6, first=0, notes=2, easy_steps=20)) != all_of_them[0]


def test_held_out_wordings_never_reach_training(maker: QuestionMaker) -> None:
    apart = {phrase.lower() for phrases in maker.terms.withheld.values() for phrase in phrases}
    assert apart
    for seed in range(200):
        assert not set(maker.made_up(random.Random(seed)).questions) & set(maker.terms.withheld_codes)
    assert all(not set(map(str.lower, words[1:])) & apart for words in maker.terms.wordings.values())


def test_a_share_is_withheld_by_text_and_seed_alone() -> None:
    kept = [withheld(f"text {number}", 0.1) for number in range(5000)]
    assert 0.07 < np.mean(kept) < 0.13
    assert kept == [withheld(f"text {number}", 0.1) for number in range(5000)]


def test_sentences_end_at_marks_before_capitals() -> None:
    assert sentences("Temp. is 38.5 today. No cough.\nPlan: rest") == [
        "Temp. is 38.5 today.",
        "No cough.",
        "Plan: rest",
    ]


OPTIONS = PretrainingOptions(
    steps=6, layers=1, hidden=32, heads=2, mlp=48, vocabulary=600, warmup=2, notes=2, rows=2, row_tokens=32,
    checkpoint_every=3,
)  # fmt: skip


def start(maker: QuestionMaker, folder: Path) -> Warmup:
    return pretraining(OPTIONS, maker, text_streams(maker.text, maker.terms), folder)


def test_a_killed_run_goes_on_as_if_nothing_had_happened(maker: QuestionMaker, tmp_path: Path) -> None:
    whole = start(maker, tmp_path / "whole")
    whole.run(lambda _: None)
    start(maker, tmp_path / "parts").run(lambda _: None, stop_at=3)
    resumed = start(maker, tmp_path / "parts")
    assert resumed.step == 3
    resumed.run(lambda _: None)
    for name, weights in whole.model.state_dict().items():
        assert torch.equal(weights, resumed.model.state_dict()[name]), name


def test_a_run_can_start_from_a_finished_model(maker: QuestionMaker, tmp_path: Path) -> None:
    """With its weights and tokenizer, on batches that it has not seen."""
    first = start(maker, tmp_path / "first")
    first.run(lambda _: None, stop_at=2)
    save_model(tmp_path / "model", first.model, first.tokenizer)
    options = replace(OPTIONS, start_from=str(tmp_path / "model"), skip=2)
    second = pretraining(options, maker, text_streams(maker.text, maker.terms), tmp_path / "second")
    for name, weights in first.model.state_dict().items():
        torch.testing.assert_close(second.model.state_dict()[name], weights, atol=1e-3, rtol=1e-3)  # float16 on disk
    assert torch.equal(first._rows(), second._rows())
    assert second.run(lambda _: None, stop_at=1)["questions"] > 0
    assert second.step == 1


def test_a_model_to_start_from_that_is_not_there_is_named(maker: QuestionMaker, tmp_path: Path) -> None:
    options = replace(OPTIONS, start_from=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere"):
        pretraining(options, maker, text_streams(maker.text, maker.terms), tmp_path / "run")


def test_steps_in_float32_are_those_of_muon() -> None:
    shapes = ((16, 16), (16, 16), (24, 16), (16, 24))
    ours, theirs = ([torch.nn.Parameter(torch.ones(shape)) for shape in shapes] for _ in range(2))
    settings = {"lr": 0.02, "weight_decay": 0.1, "adjust_lr_fn": "match_rms_adamw"}
    optimizers = Float32Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    random = torch.Generator().manual_seed(0)
    for _ in range(5):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=random)
            b.grad = a.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() < 0.01 * (b - 1).norm()  # theirs is rounded to bfloat16 on the way


def test_a_checkpoint_of_another_run_is_refused(maker: QuestionMaker, tmp_path: Path) -> None:
    start(maker, tmp_path).run(lambda _: None, stop_at=1)
    with pytest.raises(InputError, match="other options"):
        pretraining(PretrainingOptions(steps=7), maker, text_streams(maker.text, maker.terms), tmp_path)


def test_both_losses_fall_and_the_saved_model_loads(maker: QuestionMaker, tmp_path: Path) -> None:
    run = pretraining(replace(OPTIONS, steps=60), maker, text_streams(maker.text, maker.terms), tmp_path)
    notes = next(batches(maker, 1, 0, 4))
    language, told, question = zip(*(run._take_step(notes) for _ in range(60)), strict=True)
    assert language[-1] < language[0] - 0.5
    assert told[-1] < told[0] - 1.0
    assert question[-1] < question[0] - 0.05
    save_model(tmp_path / "model", run.model, run.tokenizer)
    loaded = load_model(tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    prompt = TokenizedPrompt(PromptTemplate.load("concept"), loaded.tokenizer, loaded.max_length)
    assert prompt.yes_id != prompt.no_id


def test_bad_open_text_is_named_by_file_and_line(tmp_path: Path) -> None:
    import gzip

    with pytest.raises(InputError, match="none of the corpora"):
        read_open_text(tmp_path)
    (tmp_path / "open_medical_text").mkdir()
    with gzip.open(tmp_path / "open_medical_text" / "aci_bench_notes.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "A note."}) + "\n{broken\n")
    with pytest.raises(InputError, match="line 2"):
        read_open_text(tmp_path)


# The shipped model ----------------------------------------------------------------------------------------------------


def test_the_shipped_model_is_small_and_answers_in_single_tokens() -> None:
    assert sum(file.stat().st_size for file in TINY.iterdir()) < 6_500_000
    loaded = load_model("tiny")
    assert loaded.max_length >= 2048
    assert loaded.model.num_parameters() < 3_000_000
    prompt = TokenizedPrompt(PromptTemplate.load("concept"), loaded.tokenizer, loaded.max_length)
    assert loaded.tokenizer.decode([prompt.yes_id]) == " yes"
    assert loaded.tokenizer.decode([prompt.no_id]) == " no"


def test_the_shipped_model_tells_chapters_apart() -> None:
    """Notes of ours, in words that are not the chapters' own."""
    notes = {
        "460-519": "CLINICAL HISTORY: Six year old with wheezing.\nIMPRESSION: Findings consistent with asthma.",
        "580-629": "CLINICAL HISTORY: Pyelonephritis.\nIMPRESSION: Moderate left hydronephrosis.",
        "390-459": "The patient was admitted for congestive heart failure and atrial fibrillation.",
        "140-239": "DIAGNOSES: carcinoma of the breast; acute lymphoid leukemia",
        "520-579": "She has appendicitis and an inguinal hernia.",
        "290-319": "He was treated for schizophrenia. Major depression is well controlled.",
    }
    ontology = load_ontology("icd9cm")
    concepts = [Concept(f"chapter:{code}", "chapter", ontology.title(code), (code,)) for code in notes]
    chapters = ConceptSet(tuple(notes), tuple(concepts))
    scores = PackedScorer.from_pretrained("tiny").score([Note(code, text) for code, text in notes.items()], chapters)
    assert roc_auc_score(np.eye(len(notes)).ravel(), scores.logits.ravel()) > 0.8


@pytest.mark.slow
def test_the_shipped_model_answers_about_wordings_it_never_saw(shared_data: Path) -> None:
    """As its card says: notes that use withheld phrases and codes; 0.5 is chance."""
    text = read_open_text(shared_data, synthetic_notes=500, seed=1)
    maker = read_question_maker(shared_data, text, seed=1)
    rng = random.Random("shipped")
    drawn = [maker.held_out(rng) for _ in range(60)]
    scorer = PackedScorer.from_pretrained("tiny")
    margins: list[float] = []
    for note in drawn:
        asked = [Concept(f"phrase:{place}", "phrase", words, ("-",)) for place, words in enumerate(note.questions)]
        margins += scorer.score([Note("note", note.text)], ConceptSet(("-",), tuple(asked))).logits[0].tolist()
    labels = [label for note in drawn for label in note.labels]
    assert roc_auc_score(labels, margins) > 0.75
