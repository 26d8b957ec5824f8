"""Notes without end: what is looked at of them is bounded, what is read is what would be read, and the rest is said."""

from __future__ import annotations

from typing import Any

import pytest

from concept_icd.coder.coder import ConceptCoder
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.records import LONGEST, Note, beginning
from tests.conftest import build_tokenizer

LONG = ("Cough and fever. " * 60_000)[:1_000_000]
SUMMARY = "Discharge Diagnosis: pneumonia\n\nHospital Course: " + LONG[: 3 * LONGEST]


class Counting:
    """A tokenizer that notes how long the texts are that it is given."""

    def __init__(self) -> None:
        self.tokenizer, self.lengths = build_tokenizer(), [0]
        self.eos_token_id = self.tokenizer.eos_token_id

    def __call__(self, text: str, **options: Any) -> Any:
        self.lengths.append(len(text))
        return self.tokenizer(text, **options)


@pytest.mark.parametrize(("note_text", "text", "most"), [("whole", LONG, 20_000), ("sections", SUMMARY, LONGEST)])
def test_what_is_tokenised_is_bounded_and_what_is_read_stays(note_text: str, text: str, most: int) -> None:
    counting = Counting()
    found = TokenizedPrompt(PromptTemplate.load(), counting, 500, note_text).encode_note(Note("n", text), 20)
    assert max(counting.lengths) <= most
    read = TokenizedPrompt(PromptTemplate.load(), build_tokenizer(), 500, note_text)
    shorter = read.encode_note(Note("n", text[:7_000]), 20)  # of which all is tokenised
    assert (found.ids, found.read) == (shorter.ids, shorter.read)
    assert found.truncated is not None
    assert f"of {len(text):,}" in found.truncated


def test_a_note_that_the_prompt_holds_is_never_cut() -> None:
    text = LONG[: 2 * LONGEST]
    found = TokenizedPrompt(PromptTemplate.load(), build_tokenizer(), 500_000).encode_note(Note("n", text), 20)
    assert (found.truncated, found.read) == (None, ((0, len(text)),))


def test_runs_of_one_mark_are_cut_and_said_so() -> None:
    class Wide(Counting):
        """One token for a text of any length."""

        def __call__(self, text: str, **options: Any) -> Any:
            encoded = super().__call__(text, **options)
            return {"input_ids": [5], "offset_mapping": [(0, len(text))]} if "-" * 99 in text else encoded

    found = TokenizedPrompt(PromptTemplate.load(), Wide(), 500).encode_note(Note("n", "-" * 50_000), 20)
    assert found.truncated is not None
    assert found.truncated.startswith("the note's end was not read: only the first ")


def test_the_beginning_ends_at_white_space_and_is_never_blank() -> None:
    assert beginning(Note("n", "abc def"), 7).text == "abc def"
    assert beginning(Note("n", "abc def"), 5).text == "abc"
    assert beginning(Note("n", "abc\ndef ghi"), 7).text == "abc\ndef"
    assert beginning(Note("n", "abcdefghi"), 5).text == "abcde"
    assert beginning(Note("n", " " * 100 + "abc def"), 5).text.strip() == "abc"


def test_a_coder_with_views_looks_at_as_much() -> None:
    coder = ConceptCoder.from_pretrained("radiology")
    assert coder.experts
    text = "Cough and fever. No pneumonia.\n" * (LONGEST // 25)
    result, shorter = (coder.code(note) for note in (Note("n", text), beginning(Note("n", text))))
    assert [code.code for code in result.codes] == [code.code for code in shorter.codes]
    assert [code.probability for code in result.codes] == pytest.approx(
        [c.probability for c in shorter.codes], abs=1e-4
    )
    assert result.truncated is not None
    assert f"of {len(text):,}" in result.truncated
