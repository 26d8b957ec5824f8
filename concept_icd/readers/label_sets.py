"""Text as a label: a code in any spelling, or a label of a known set exactly as it stands there.

A published label need not be a code: where a procedure code went through a number, 04.07 became 40.7 and 00.66 became
66. with nothing after the dot.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from concept_icd.errors import InputError
from concept_icd.files import lines, printable
from concept_icd.ontology.code_checks import never_had, not_billable, require_had
from concept_icd.ontology.tree import DEFAULT, Ontology, load_ontology
from concept_icd.progress import say
from concept_icd.records import CodedNote, Kind, Note

#: What is left of a procedure code that went through a number, and then got its dot.
_SPOILT = re.compile(r"\d{1,2}\.\d{0,2}", re.ASCII)

#: A line of a label set that an error may quote; other text may be a note's.
_LIKE_A_CODE = re.compile(r"[A-Z]?\d[\dA-Z]{0,6}|[A-Z]?\d[\dA-Z]{0,3}\.[\dA-Z]{0,4}", re.ASCII | re.IGNORECASE)
_LONGEST = 20


class LabelReader:
    """Reads labels; each spelling is looked up once."""

    def __init__(self, labels: Iterable[str] = (), classification: str = DEFAULT) -> None:
        self.ontology = load_ontology(classification)
        self.labels = frozenset(labels)
        self._known: dict[tuple[Any, Any], str] = {}

    def read(self, text: Any, kind: Any = None) -> str:
        """The label that `text` spells; `kind` is "diagnosis", "procedure" or None.

        Raises:
            InputError: no text, no label of the set and no code of the classification.
        """
        if not isinstance(text, str):
            raise InputError(f"a code is text in quotes, not {text!r}: numbers lose leading zeros")
        if kind not in (None, "diagnosis", "procedure"):
            raise InputError(f'the kind of {text!r} is "diagnosis" or "procedure", not {kind!r}')
        if (text, kind) not in self._known:
            label = text.strip()
            if len(label) > _LONGEST:  # it may be a note: not to be quoted
                raise InputError(f"a text of {len(label)} characters stands where a code is expected")
            self._known[text, kind] = label if label in self.labels else self.ontology.parse(label, kind)
        return self._known[text, kind]

    def read_all(self, texts: Iterable[Any]) -> tuple[str, ...]:
        """The labels of texts such as "428.0" and "428.0;401.9", each once, in order; blanks are skipped."""
        parts = (part for text in texts for part in (text.split(";") if isinstance(text, str) else [text]))
        return tuple(dict.fromkeys(self.read(part) for part in parts if not isinstance(part, str) or part.strip()))


def told_codes(counts: Mapping[str, int], labels: Collection[str], what: str, ontology: Ontology) -> list[str]:
    """Sentences on codes that no edition had and on those that cannot be billed, but for labels of a known set.

    Args:
        counts: label -> how often it stands there.
    """
    found = (check(counts, ontology, what, labels) for check in (never_had, not_billable))
    return [sentence for sentence in found if sentence]


def kind_of(label: str, ontology: Ontology) -> Kind:
    """Of a label. One that is no code is a procedure: those alone were published spoilt."""
    try:
        return ontology.kind(label)
    except InputError:
        return "procedure"


def label_titles(labels: Iterable[str], aliases: Mapping[str, str], ontology: Ontology) -> dict[str, str]:
    """Titles of what labels mean; a retired code gets that of its nearest ancestor, a label that is no code none.

    Args:
        aliases: label -> the code that it means, where that is another.
    """
    titles = {}
    for label in labels:
        with suppress(InputError):
            titles[label] = ontology.resolve(aliases.get(label, label)).title
    return titles


def billed_note(note_id: str, labels: Iterable[str], ontology: Ontology, principal: str | None = None) -> CodedNote:
    """Labels in billing order as a note without text; `principal` as in `CodedNote`."""
    by_kind: dict[Kind, list[str]] = {"diagnosis": [], "procedure": []}
    for label in labels:
        by_kind[kind_of(label, ontology)].append(label)
    return CodedNote(Note(note_id, ""), tuple(by_kind["diagnosis"]), tuple(by_kind["procedure"]), principal=principal)


def read_codes(path: str | Path, classification: str = DEFAULT, *, must_exist: bool = False) -> tuple[str, ...]:
    """A label set: one label a line, `a;b` is two; blank lines and lines that start with # are skipped.

    A code may be spelled in any way that names it. A spoilt label of the published spelling ("66.") is taken as it
    stands. Codes that cannot be billed, or that no edition had, are told on stderr.

    Args:
        must_exist: refuse a code that no edition had, since questions are to be asked about it.

    Raises:
        InputError: no label, or a line is none. The line is quoted only where it looks like a code: the file may be a
            note, named by mistake.
    """
    found, ontology = dict[str, None](), load_ontology(classification)
    for number, line in lines(path):
        if line.startswith("#"):
            continue
        labels = [part.strip() for part in line.split(";") if part.strip()]
        spoilt = [label for label in labels if _SPOILT.fullmatch(label)] if classification == DEFAULT else []
        reader = LabelReader(spoilt, classification)
        try:
            found |= dict.fromkeys(reader.read_all(labels))
        except InputError as error:
            reason = (
                error
                if all(_LIKE_A_CODE.fullmatch(label) for label in labels)
                else f"not a code of {ontology.full_name}"
            )
            raise InputError(f"{printable(path)}, line {number}: {reason}") from None
    if not found:
        raise InputError(f"{printable(path)} names no code")
    whole = [label for label in found if not label.endswith(".")]  # "66." is spoilt on purpose
    if must_exist:
        try:
            require_had(whole, ontology, "labels")
        except InputError as error:
            raise InputError(f"{printable(path)}: {error}") from None
    for sentence in told_codes(dict.fromkeys(whole, 1), (), "labels", ontology):
        say(f"{printable(path)}: {sentence}")
    return tuple(found)
