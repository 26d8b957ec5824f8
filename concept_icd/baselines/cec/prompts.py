"""The phrases of each label, parent and leaf apart, CEC's only concepts; and the prompts of both stages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from concept_icd.errors import InputError
from concept_icd.llm.prompts import PromptTemplate, TokenizedPrompt
from concept_icd.ontology.phrases import KINDS, merge_phrases, read_phrases_by_kind
from concept_icd.ontology.tree import Ontology
from concept_icd.records import Note
from concept_icd.resources import read_yaml
from concept_icd.text.sections import STANDARD, split_sections

#: What a prompt of stage 2 calls the answers of stage 1.
WORDS = {True: "Yes", False: "No"}


def read_phrases(
    path: str | Path,
    labels: Sequence[str],
    ontology: Ontology,
    aliases: Mapping[str, str],
    most: Mapping[str, int],
) -> dict[str, dict[str, tuple[str, ...]]]:
    """The phrases of a file as `concept-icd phrases` writes it, or with the kinds told apart.

    `{"428.0": {"parent": [...], "leaf": [...]}}` says which is which. A plain list of a code are its leaf phrases, and
    all that the file has of a category or subcategory above it are parent phrases after those of its own.

    Args:
        labels: the label set. aliases: label -> the code that it means. most: kind -> phrases kept a label, the first.

    Raises:
        InputError: the file is malformed, or has no phrase of a kind for any label.
    """
    found = read_phrases_by_kind(path)
    chosen: dict[str, dict[str, tuple[str, ...]]] = {kind: {} for kind in KINDS}
    for label in labels:
        code = aliases.get(label, label)
        own = found.get(code, found.get(label, {}))
        above = [node for node in ontology.ancestors(code) if ontology.level(node) in ("category", "subcategory")]
        wider = [phrases for node in above for phrases in found.get(node, {}).values()]
        parent = merge_phrases({label: own.get("parent", [])}, *({label: phrases} for phrases in wider))[label]
        leaf = [phrase for phrase in own.get("leaf", []) if phrase not in parent]
        for kind, phrases in (("parent", parent), ("leaf", leaf)):
            chosen[kind][label] = tuple(phrases[: most[kind]])
    for kind in KINDS:
        if not any(chosen[kind].values()):
            raise InputError(
                f"{path} has no {kind} phrase of any label: "
                'write {"428.0": {"parent": ["dyspnea"], "leaf": ["low EF"]}, ...}'
            )
    return chosen


def all_phrases(phrases: Mapping[str, Sequence[str]], labels: Iterable[str] | None = None) -> tuple[str, ...]:
    """The phrases of some labels (all by default), each once, in the order of the labels.

    >>> all_phrases({"428.0": ("dyspnea", "oedema"), "486": ("dyspnea", "cough")})
    ('dyspnea', 'oedema', 'cough')
    """
    return tuple(dict.fromkeys(p for label in (phrases if labels is None else labels) for p in phrases.get(label, ())))


@dataclass(frozen=True)
class CodePrompt:
    """The words of stage 2; see prompts/cec-code.yaml."""

    name: str
    before_note: str
    after_note: str
    stated_yes: str
    stated_no: str
    before_answers: str
    answered: str
    question: str
    yes: tuple[str, ...]
    no: tuple[str, ...]

    @classmethod
    def load(cls, name_or_path: str = "cec-code") -> CodePrompt:
        """Reads the shipped words, or a YAML file of yours with the same keys.

        Raises:
            InputError: no such file, or other keys.
        """
        path, content = read_yaml("prompts", name_or_path)
        if not isinstance(content, dict) or set(content) != {field.name for field in fields(cls)}:
            raise InputError(f"prompt {path} must have the keys {', '.join(field.name for field in fields(cls))}")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        return cls(**values)

    def text_after_note(self, title: str, answers: Sequence[tuple[str, bool]], truth: bool | None = None) -> str:
        """All that follows the note.

        Args:
            title: of the code. answers: (phrase, answered yes), in order. truth: None but in training, where the
                release states it.
        """
        stated = "" if truth is None else _filled(self.stated_yes if truth else self.stated_no, title=title)
        asked = [_filled(self.answered, concept=phrase, answer=WORDS[yes]) for phrase, yes in answers]
        return stated + self.before_answers + "".join(asked) + _filled(self.question, title=title)

    def tokenized(self, tokenizer: Any, max_length: int) -> TokenizedPrompt:
        """The prompt in tokens: `encode_note` cuts a note to what a question of `text_after_note` leaves."""
        template = PromptTemplate(self.name, self.before_note, self.after_note, "{concept}", self.yes, self.no)
        return TokenizedPrompt(template, tokenizer, max_length)


def read_sections(note: Note) -> Note:
    """The note as stage 1 reads it: its twelve sections in its own order; whole where it has none of them."""
    text = note.normalized.text
    kept = [text[s.start : s.end] for s in split_sections(text) if s.name in STANDARD]
    return Note(note.note_id, "".join(kept) or text)


def _filled(template: str, **values: str) -> str:
    """Each {name} replaced once; braces within a value are the value's own."""
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)
