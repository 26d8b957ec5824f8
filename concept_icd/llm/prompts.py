"""Prompt templates, checked when loaded, and their tokens. Prompt text lives in `prompts/*.yaml` and nowhere else.

A prompt is `before_note + note + after_note` (read once for all questions), then one question. The two parts are
tokenised apart and joined as ids, so a packed forward pass, a plain one and vLLM see the same tokens.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from concept_icd.artifacts import hash_of
from concept_icd.errors import InputError, did_you_mean
from concept_icd.outputs import new_file
from concept_icd.records import LONGEST, Concept, Note, OneLine, beginning
from concept_icd.resources import read_yaml
from concept_icd.text.sections import STANDARD, keep_sections, split_sections, what_was_cut

#: What is read of a note that is too long: its beginning, or its most useful sections (`concept_icd.text.sections`).
NOTE_TEXTS = ("whole", "sections")
_CONCEPT = "{concept}"
#: A text in which special tokens before and after it are seen.
_ANY_TEXT = "Note"
#: A token stands for fewer characters, but for runs of one and the same mark. Of shorter notes all is tokenised, so
#: that it can be said how many tokens they have.
CHARACTERS_A_TOKEN, SHORT = 16, 20_000


@dataclass(frozen=True, repr=False)
class PromptTemplate(OneLine):
    """The words around a note and a concept.

    Attributes:
        before_note: the instruction. after_note: what stands between the note and every question. Both reach the model
            as they are: an instruction that speaks of `{concept}` by that name keeps it.
        question: holds `{concept}`, in the place of which the concept's words come, wherever it stands.
        yes, no: spellings of the answers, the preferred one first; the same place in both lists is one pair.

        >>> print(PromptTemplate.load("concept").text_of("Cough for two days.", "Asthma"))
        Read the clinical note, then answer yes or no: does it document this condition or procedure of the patient?
        <BLANKLINE>
        Note:
        Cough for two days.
        <BLANKLINE>
        Concept: Asthma?
    """

    name: str
    before_note: str
    after_note: str
    question: str
    yes: tuple[str, ...]
    no: tuple[str, ...]

    def __post_init__(self) -> None:
        for part in ("name", "before_note", "after_note", "question"):
            if not isinstance(getattr(self, part), str):
                raise InputError(f"prompt {self.name!r}: {part} must be a string")
        if _CONCEPT not in self.question:
            raise InputError(f"prompt {self.name!r}: question must hold {_CONCEPT}, where the concept's words go")
        if not self.yes or len(self.yes) != len(self.no) or not all(isinstance(s, str) for s in self.yes + self.no):
            raise InputError(f"prompt {self.name!r}: yes and no must be lists of strings of the same length")

    @classmethod
    def load(cls, name_or_path: str | Path = "concept") -> PromptTemplate:
        """Reads a shipped template by name, or a YAML file by path.

        Raises:
            InputError: no such file, or a key that is missing, unknown or of the wrong form.
        """
        path, content = read_yaml("prompts", name_or_path)
        return cls._from_dict(content, path)

    @classmethod
    def _from_dict(cls, content: Any, path: Path) -> PromptTemplate:
        known = [field.name for field in fields(cls)]
        if not isinstance(content, dict):
            raise InputError(f"prompt {path} must be a mapping with the keys {', '.join(known)}")
        for key in content:
            if key not in known:
                raise InputError(f"prompt {path}: unknown key {key!r}{did_you_mean(str(key), known)}")
        missing = [key for key in known if key not in content]
        if missing:
            raise InputError(f"prompt {path}: {missing[0]} is missing")
        answers = {
            key: (value,) if isinstance(value, str) else tuple(value or ())
            for key, value in ((key, content[key]) for key in ("yes", "no"))
        }
        return cls(**{**content, **answers})

    def save(self, path: str | Path) -> None:
        """Writes the template as YAML that `load` reads back to the same hash."""
        content = {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}
        with new_file(path) as staging:
            staging.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")

    @property
    def hash(self) -> str:
        """Hex digest of everything that reaches the model."""
        return hash_of(asdict(self))

    def text_of(self, note_text: str, concept_text: str) -> str:
        """The whole prompt as text, to read; models are given `TokenizedPrompt`'s ids."""
        return self.before_note + note_text + self.after_note + self.question.replace(_CONCEPT, concept_text)


@dataclass(frozen=True, repr=False)
class EncodedNote(OneLine):
    """The tokens that all questions of a note share.

    Attributes:
        ids: before_note + note + after_note. truncated: None, or one sentence on what was not read.
        read: the characters of the note's text, as it was given, that were read, as spans (start, end) in order.
    """

    note_id: str
    ids: tuple[int, ...]
    truncated: str | None
    read: tuple[tuple[int, int], ...] = ()


def checked_note_text(note_text: str) -> str:
    """The option as it is; training, scoring and coding share it.

    Raises:
        InputError: it is none of `NOTE_TEXTS`.
    """
    if note_text not in NOTE_TEXTS:
        known = " or ".join(NOTE_TEXTS)
        raise InputError(f"note_text must be {known}, it is {note_text!r}{did_you_mean(str(note_text), NOTE_TEXTS)}")
    return note_text


class TokenizedPrompt:
    """A template in the tokens of one tokenizer.

    Args:
        max_length: tokens of the longest prompt (note and one question) that the model may be given.
        note_text: one of `NOTE_TEXTS`.
        learned: key of a concept -> ids of its learned question tokens (`concept_icd.llm.question_tokens`), or its row
            of a concept head, which then are the question, without the template's words.

    Raises:
        InputError: the tokenizer has no pair of single-token answers for this template, or an unknown `note_text`.
    """

    def __init__(
        self,
        template: PromptTemplate,
        tokenizer: Any,
        max_length: int,
        note_text: str = "whole",
        learned: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        self.template, self.tokenizer, self.max_length = template, tokenizer, max_length
        self.note_text, self.learned = checked_note_text(note_text), learned
        self.yes_id, self.no_id = self._answer_ids()
        self._before, self._after = self._beginning(), self._ids(template.after_note)
        self._line_break = self._ids("\n")

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def _beginning(self) -> list[int]:
        """Tokens before the note: once what the tokenizer begins every text with, and never what it ends one with."""
        words, text = self._ids(_ANY_TEXT), self._ids(self.template.before_note)
        whole = list(self.tokenizer(_ANY_TEXT)["input_ids"])
        starts = (k for k in range(len(whole)) if whole[k : k + len(words)] == words)
        first = whole[: next(starts, 0)]
        return text if text[: len(first)] == first else first + text  # a chat's template may name the token itself

    def _answer_ids(self) -> tuple[int, int]:
        unknown = getattr(self.tokenizer, "unk_token_id", None)
        for yes, no in zip(self.template.yes, self.template.no, strict=True):
            yes_ids, no_ids = self._ids(yes), self._ids(no)
            if len(yes_ids) == len(no_ids) == 1 and yes_ids != no_ids and unknown not in yes_ids + no_ids:
                return yes_ids[0], no_ids[0]
        raise InputError(
            f"prompt {self.template.name!r}: this tokenizer has no single token for any of the answers "
            f"{list(self.template.yes)} and {list(self.template.no)}; add a spelling that it has"
        )

    def encode_concept(self, concept: Concept) -> list[int]:
        """Tokens of the question about a concept: learned ones, or the template's words.

        Raises:
            InputError: questions were learned, but not about this concept.
        """
        if self.learned is None:
            return self.encode_question(concept.text)
        if concept.key not in self.learned:
            raise InputError(
                f"the adapter has learned no question about the concept {concept.key!r}: ask the concept set that it "
                "was tuned on, or tune one that asks in words (--asking words)"
            )
        return list(self.learned[concept.key])

    def encode_question(self, concept_text: str) -> list[int]:
        """Tokens of one question in the template's words, answer cue last."""
        return self._ids(self.template.question.replace(_CONCEPT, concept_text))

    @property
    def around(self) -> tuple[int, int]:
        """Tokens before and after a note's text in `encode_note`."""
        return len(self._before), len(self._after)

    def encode_note(self, note: Note, question_tokens: int) -> EncodedNote:
        """Tokens of the shared part, with room left for a question of `question_tokens` tokens.

        The text is the normalised one (`concept_icd.text.normalization`). A note that fits is read whole. Of one that
        is too long, "whole" reads the start up to the last token that fits; "sections" reads the most useful sections,
        in the note's own order, and the start of a note without a heading of those sections.

        Raises:
            InputError: the note is empty, or the question alone leaves no room for it.
        """
        room = self.max_length - len(self._before) - len(self._after) - question_tokens
        if room < 1:
            raise InputError(
                f"a question of {question_tokens} tokens leaves no room for a note within {self.max_length} tokens"
            )
        whole, note = len(note.text), beginning(note, self._looked_at(room))
        text, given = note.normalized.text, note.normalized.given
        if not text:
            raise InputError(f"note {note.note_id!r} is empty")
        encoded = self.tokenizer(text, add_special_tokens=False, verbose=False, return_offsets_mapping=True)
        ids: Sequence[int] = encoded["input_ids"]
        truncated, read = None, [(0, len(text))]
        if len(ids) > room:
            offsets = encoded["offset_mapping"]
            selected = self._sections_that_fit(text, ids, offsets, room) if self.note_text == "sections" else None
            if selected:
                ids, truncated, read = selected
            else:
                end = offsets[room - 1][1]
                tokens = f"{room:,} of {'more than ' * (len(note.text) < whole)}{len(ids):,} tokens fit"
                truncated = f"the note's end was not read: {tokens} (characters 0 to {given(0, end)[1]:,} of {whole:,})"
                ids, read = ids[:room], [(0, end)]
        if len(note.text) < whole and (self.note_text == "sections" or truncated is None):
            looked_at = f"only the first {len(note.text):,} of {whole:,} characters were looked at"
            truncated = f"{truncated}; {looked_at}" if truncated else f"the note's end was not read: {looked_at}"
        return EncodedNote(note.note_id, (*self._before, *ids, *self._after), truncated, _spans_as_given(read, note))

    def _looked_at(self, room: int) -> int:
        """Characters of a note that are tokenised: more than fit, and all in which sections are looked for."""
        return max(room * CHARACTERS_A_TOKEN, LONGEST if self.note_text == "sections" else SHORT)

    def _sections_that_fit(
        self, text: str, ids: Sequence[int], offsets: Sequence[tuple[int, int]], room: int
    ) -> tuple[list[int], str | None, list[tuple[int, int]]] | None:
        """Tokens of the sections that fit, what was left out, and the spans read; None without standard sections.

        A section that is cut ends with a line break, so that the next heading does not run on from its last word.
        """
        sections = split_sections(text)
        if not any(section.name in STANDARD for section in sections):
            return None
        # A token belongs to the section of its last character: a leading blank is the end of what came before.
        firsts = [0, *(bisect_left(offsets, s.start, key=lambda span: span[1] - 1) for s in sections[1:]), len(ids)]
        sizes = [end - first for first, end in pairwise(firsts)]
        kept = keep_sections(sections, sizes, room, len(self._line_break))
        chosen: list[int] = []
        read: list[tuple[int, int]] = []
        for section, first, size, count in zip(sections, firsts, sizes, kept, strict=False):
            if not count:
                continue
            cut = count < size
            chosen += [*ids[first : first + count], *(self._line_break if cut else ())]
            end = offsets[first + count - 1][1] if cut else section.end
            joins = read and read[-1][1] == section.start
            read[-1:] = [(read[-1][0], end)] if joins else [*read[-1:], (section.start, end)]
        return (chosen, what_was_cut(sections, sizes, kept, self.max_length), read) if chosen else None


def _spans_as_given(read: Sequence[tuple[int, int]], note: Note) -> tuple[tuple[int, int], ...]:
    """Spans of the normalised text in the text as it was given; white space around the note was read with it."""
    found = [note.normalized.given(*span) for span in read]
    if read[0][0] == 0:
        found[0] = (0, found[0][1])
    if read[-1][1] == len(note.normalized.text):
        found[-1] = (found[-1][0], len(note.text))
    return tuple(found)
