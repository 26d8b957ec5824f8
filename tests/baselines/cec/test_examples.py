"""Training prompts of CEC: which questions, their answers, their layout, what is cut, and what the loss sees."""

from __future__ import annotations

import functools
import random

import pytest

from concept_icd.baselines.cec.examples import (
    CodeQuestion,
    ConceptQuestion,
    code_examples,
    code_questions,
    collate,
    concept_examples,
    concept_questions,
)
from concept_icd.baselines.cec.prompts import CodePrompt, read_sections
from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.records import CodedNote, Note
from tests.conftest import build_tokenizer

PHRASES = {
    "486": ("cough", "fever", "infiltrate", "crackles", "sputum", "pneumonia", "lobar"),
    "428.0": ("oedema", "fever", "furosemide", "orthopnoea", "cardiomegaly", "CHF", "failure"),
    "401.9": ("pressure", "amlodipine", "lisinopril", "headache", "hypertensive", "HTN", "essential"),
    "96.04": ("airway", "sedation", "tube", "ventilator", "hypoxia", "intubation", "intubated"),
}
ALL = {phrase for found in PHRASES.values() for phrase in found}


def note(*codes: str, text: str = "Cough and fever.", number: int = 0) -> CodedNote:
    return CodedNote(Note(f"n{number}", text), tuple(code for code in codes if code != "96.04"), tuple(
        code for code in codes if code == "96.04"))  # fmt: skip


tokenizer = functools.cache(build_tokenizer)  # byte by byte: what is decoded is what was written


def concept_prompt(max_length: int = 500) -> TokenizedPrompt:
    return TokenizedPrompt(PromptTemplate.load("cec-concept"), tokenizer(), max_length)


def test_phrases_of_gold_codes_are_yes_and_all_others_no() -> None:
    questions = concept_questions([note("486", "96.04", "999.9")], PHRASES, 1.0, 1.0, random.Random(0))
    asked = {question.phrase: question.answer for question in questions}
    assert len(questions) == len(ALL) == 27  # "fever" is of two codes, and one concept
    assert {phrase for phrase, answer in asked.items() if answer} == {*PHRASES["486"], *PHRASES["96.04"]}


def test_false_phrases_are_kept_with_the_stated_probability_and_notes_too() -> None:
    notes = [note("486", number=number) for number in range(2000)]
    questions = concept_questions(notes, PHRASES, 0.045, 1.0, random.Random(0))
    assert sum(question.answer for question in questions) == 7 * 2000
    kept, of = sum(not question.answer for question in questions), 20 * 2000
    assert kept / of == pytest.approx(0.045, abs=4 * (0.045 * 0.955 / of) ** 0.5)
    tenth = concept_questions(notes, PHRASES, 0.045, 0.1, random.Random(0))
    share = len({question.note.note.note_id for question in tenth}) / 2000
    assert share == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / 2000) ** 0.5)


def test_a_code_is_asked_with_five_phrases_of_its_own_and_three_of_the_other_side() -> None:
    questions = code_questions([note("486")], PHRASES, random.Random(0))
    assert [question.answer for question in questions].count(True) == 1
    assert len(questions) == 3  # the gold code and two others
    for question in questions:
        own = [answer for phrase, answer in question.answers if phrase in PHRASES[question.label]]
        others = [(phrase, answer) for phrase, answer in question.answers if phrase not in PHRASES[question.label]]
        assert set(own) == {question.answer}
        assert {answer for _, answer in others} <= {not question.answer}
        if question.answer:
            assert len(question.answers) == 8
        else:  # one code is gold: one phrase of the other side
            assert len(question.answers) == 6


def test_the_layout_of_stage_one() -> None:
    prompt = concept_prompt()
    (example,) = concept_examples([ConceptQuestion(note("486"), "cough", True)], prompt, 9)
    text = tokenizer().decode(example["input_ids"], skip_special_tokens=True)
    template = PromptTemplate.load("cec-concept")
    assert text == f"{template.before_note}Cough and fever.\n{template.question.replace('{concept}', 'cough')} yes"
    assert "{concept}" in text.split("Cough")[0]  # the instruction names the placeholder
    (no,) = concept_examples([ConceptQuestion(note("486"), "cough", False)], prompt, 9)
    assert tokenizer().decode(no["input_ids"][-1:]) == " no"


def test_stage_one_reads_the_twelve_sections_and_leaves_out_what_does_not_fit() -> None:
    text = "Chief Complaint: cough\n\nSocial History: retired\n\nDischarge Diagnosis: pneumonia\n"
    assert read_sections(Note("n", text)).text == "Chief Complaint: cough\n\nDischarge Diagnosis: pneumonia"
    assert read_sections(Note("n", "no heading")).text == "no heading"
    questions = [
        ConceptQuestion(note("486", text="cough " * 500), "cough", True),
        ConceptQuestion(note(), "fever", True),
    ]
    (only,) = concept_examples(questions, concept_prompt(), 9)
    assert "'fever'" in tokenizer().decode(only["input_ids"])
    with pytest.raises(InputError, match="nothing to learn from: every prompt is longer"):
        concept_examples(questions[:1], concept_prompt(), 9)


@pytest.mark.parametrize("stated", [True, False])
def test_the_layout_of_stage_two(stated: bool) -> None:
    words = CodePrompt.load()
    asked = CodeQuestion(note("486"), "486", (("cough", True), ("{title} tube", False)), True)
    prompt = words.tokenized(tokenizer(), 1000)
    (example,) = code_examples([asked], prompt, words, {"486": "Pneumonia"}, 9, state_truth=stated)
    text = tokenizer().decode(example["input_ids"], skip_special_tokens=True)
    truth = "The patient in the note contains Pneumonia.\n" if stated else ""
    assert text == (
        f"{words.before_note}Cough and fever.\n{truth}{words.before_answers}"
        "Question: Does the patient contain 'cough'?\nAnswer: Yes\n"
        "Question: Does the patient contain '{title} tube'?\nAnswer: No\n"
        f"{words.question.replace('{title}', 'Pneumonia')} yes"
    )


def test_stage_two_cuts_the_note_to_what_is_left() -> None:
    words, limit = CodePrompt.load(), 500
    prompt = words.tokenized(tokenizer(), limit)
    asked = CodeQuestion(note("486", text="cough " * 500), "428.0", (("cough", True),), False)
    (example,) = code_examples([asked], prompt, words, {"428.0": "Heart failure"}, 9, state_truth=True)
    assert len(example["input_ids"]) == limit
    text = tokenizer().decode(example["input_ids"], skip_special_tokens=True)
    assert text.startswith(words.before_note + "cough cough")
    assert text.endswith(words.question.replace("{title}", "Heart failure") + " no")
    assert "does not contain Heart failure." in text


def test_the_loss_sees_the_whole_sequence_and_no_padding() -> None:
    batch = collate([{"input_ids": [5, 6, 7, 8]}, {"input_ids": [9, 2]}], padding_id=2)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8], [2, 2, 9, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 1, 1]]
    assert batch["labels"].tolist() == [[5, 6, 7, 8], [-100, -100, 9, 2]]  # its own end-of-text token counts
