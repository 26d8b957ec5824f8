"""Templates are checked when they are loaded; tokens are counted to the last one."""

import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from concept_icd.errors import InputError
from concept_icd.llm.prompts import NOTE_TEXTS, EncodedNote, PromptTemplate, TokenizedPrompt
from concept_icd.records import Note
from tests import conftest
from tests.conftest import ROOT

build_tokenizer = functools.cache(conftest.build_tokenizer)

GOOD = {"name": "t", "before_note": "Note: ", "after_note": " Concept:", "question": " {concept}?"}


def template(**changes):
    return PromptTemplate(**{**GOOD, "yes": (" yes",), "no": (" no",), **changes})


@pytest.mark.parametrize("path", sorted((ROOT / "prompts").glob("concept*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_concept_template_loads(path):
    loaded = PromptTemplate.load(path.stem)
    assert loaded == PromptTemplate.load(path)
    assert loaded.text_of("NOTE", "CONCEPT").index("NOTE") < loaded.text_of("NOTE", "CONCEPT").index("CONCEPT")


def test_saving_keeps_the_hash(tmp_path):
    PromptTemplate.load().save(tmp_path / "p.yaml")
    assert PromptTemplate.load(tmp_path / "p.yaml").hash == PromptTemplate.load().hash
    assert template(question=" {concept} ?").hash != template().hash


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"question": "no placeholder"}, r"question must hold \{concept\}"),
        ({"question": "what?", "after_note": " {concept}"}, r"question must hold \{concept\}"),
        ({"yes": (" yes", "Yes")}, "same length"),
        ({"yes": (), "no": ()}, "same length"),
    ],
)
def test_a_wrong_template_is_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        template(**changes)


def test_fixed_words_may_name_the_placeholder_and_reach_the_model_as_they_are():
    """CEC's instruction speaks of {concept} before any concept is asked; a note may hold the word too."""
    said = template(before_note="You are asked about {concept}. Note: ", question=" {concept}? Is {concept} there?")
    assert said.text_of("of {concept}", "asthma") == (
        "You are asked about {concept}. Note: of {concept} Concept: asthma? Is asthma there?"
    )
    tokenizer = build_tokenizer()
    tokens = TokenizedPrompt(said, tokenizer, 100)
    shared = tokenizer.decode(tokens.encode_note(Note("n", "of {concept}"), 5).ids)
    assert shared == "You are asked about {concept}. Note: of {concept} Concept:"
    assert tokenizer.decode(tokens.encode_question("asthma")) == " asthma? Is asthma there?"


def test_an_unknown_key_names_the_nearest(tmp_path):
    (tmp_path / "p.yaml").write_text("before_notes: x\n")
    with pytest.raises(InputError, match=r"unknown key 'before_notes' .did you mean 'before_note'"):
        PromptTemplate.load(tmp_path / "p.yaml")


@pytest.mark.parametrize("content", ["a: [", "just text", "name: t\n"])
def test_a_broken_file_is_one_sentence(tmp_path, content):
    (tmp_path / "p.yaml").write_text(content)
    with pytest.raises(InputError) as error:
        PromptTemplate.load(tmp_path / "p.yaml")
    assert "\n" not in str(error.value)


def test_a_tokenizer_without_the_answers_is_refused():
    with pytest.raises(InputError, match="no single token"):
        TokenizedPrompt(template(yes=("affirmative",), no=("negative",)), build_tokenizer(), 100)


def test_the_second_spelling_serves_where_the_first_is_two_tokens():
    tokenizer = build_tokenizer()
    tokens = TokenizedPrompt(template(yes=("affirmative", " yes"), no=("negative", " no")), tokenizer, 100)
    assert tokenizer.decode([tokens.yes_id]) == " yes"
    assert tokenizer.decode([tokens.no_id]) == " no"


def test_a_note_keeps_what_fits():
    tokens = TokenizedPrompt(template(), build_tokenizer(), 40)
    whole = tokens.encode_note(Note("n", "cough"), 5)
    cut = tokens.encode_note(Note("n", "cough " * 200), 5)
    assert whole.truncated is None
    assert len(cut.ids) == 35
    assert cut.truncated is not None
    assert cut.truncated.startswith("the note's end was not read")
    with pytest.raises(InputError, match="no room"):
        tokens.encode_note(Note("n", "cough"), 40)


SUMMARY = (
    "Chief Complaint: cough\n\nSocial History: retired\n\nHospital Course: "
    + "fever and cough, " * 20
    + "then well\n\nDischarge Diagnosis: pneumonia\n"
)


def encoded(max_length: int, text: str = SUMMARY, note_text: str = "sections") -> tuple[str, EncodedNote]:
    """What the model reads of a note, as text, and its record."""
    tokenizer = build_tokenizer()
    prompt = TokenizedPrompt(template(before_note="", after_note=""), tokenizer, max_length, note_text)
    found = prompt.encode_note(Note("n", text), 1)
    return tokenizer.decode(found.ids), found


def test_a_note_that_fits_is_read_as_it_stands():
    size = len(build_tokenizer()(SUMMARY.rstrip("\n"))["input_ids"])
    for note_text in NOTE_TEXTS:
        text, found = encoded(size + 1, note_text=note_text)
        assert text == SUMMARY.rstrip("\n")
        assert (found.truncated, found.read) == (None, ((0, len(SUMMARY)),))
        assert encoded(size, note_text=note_text)[1].truncated is not None


def test_the_most_useful_sections_are_read_in_the_notes_order():
    text, found = encoded(100)
    complaint, diagnosis = "Chief Complaint: cough\n\n", "Discharge Diagnosis: pneumonia\n"
    assert text.startswith(complaint + "Hospital Course: fever and cough, ")
    assert text.endswith("\n" + diagnosis.rstrip("\n")), "what was cut ends with a line break"
    assert len(found.ids) == 99
    assert found.truncated is not None
    assert found.truncated.startswith(
        "to fit 100 tokens, left out: Social History; Hospital Course was cut at its end ("
    )
    pieces = [SUMMARY[start:end] for start, end in found.read]
    assert pieces[0] == complaint
    assert text == pieces[0] + pieces[1] + "\n" + pieces[2].rstrip("\n")


def test_neighbours_that_are_read_whole_are_one_span():
    text = "CC: cough\nHPI: fever\nLABS: " + "normal " * 50 + "\nPMH: asthma\n"
    read, found = encoded(45, text)
    assert "LABS: normal" in read
    assert read.endswith("\nPMH: asthma")
    assert [start for start, _ in found.read] == [0, text.index("PMH")]


@pytest.mark.parametrize("text", ["cough and fever " * 50, "SOCIAL HISTORY: " + "retired " * 50])
def test_without_a_standard_section_the_beginning_is_read(text):
    assert encoded(50, text) == encoded(50, text, "whole")


@given(st.text(), st.integers(2, 60))
def test_what_is_read_fits_and_its_spans_are_in_order(text, max_length):
    read, found = encoded(max_length, f"{text}\nHPI: {text}\nDischarge Diagnosis: {text}\nLABS: {text}")
    assert 0 < len(found.ids) < max_length
    flat = [place for span in found.read for place in span]
    assert flat == sorted(flat)
    assert read


def test_an_unknown_note_text_is_refused():
    with pytest.raises(InputError, match=r"note_text must be whole or sections, it is 'sectoins' \(did you mean"):
        TokenizedPrompt(template(), build_tokenizer(), 100, "sectoins")
