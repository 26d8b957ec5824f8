"""Templates are checked when they are loaded; tokens are counted to the last one."""

import pytest

from concept_icd.errors import InputError
from concept_icd.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.records import Note
from tests.conftest import ROOT, build_tokenizer

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
        ({"question": "no placeholder"}, r"\{concept\} exactly once"),
        ({"before_note": "{concept}"}, "belongs in question"),
        ({"yes": (" yes", "Yes")}, "same length"),
        ({"yes": (), "no": ()}, "same length"),
    ],
)
def test_a_wrong_template_is_refused(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        template(**changes)


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
