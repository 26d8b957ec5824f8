"""Concepts, and what a coder answers: every code of its set, ranked, with the concepts that carried it.

A result is data. The forms that it can take (a table, HTML, FHIR) stand beside this module and load when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from concept_icd.errors import InputError, OneLine
from concept_icd.records.notes import Note

Kind = Literal["diagnosis", "procedure"]
#: One of `LEVELS` or `EXPERTS`, or a level of a classification (`Ontology.levels`).
Level = str
#: Levels of a concept that a scorer can be asked about, from the widest to the narrowest.
LEVELS: tuple[Level, ...] = ("chapter", "section", "category", "subcategory", "code", "phrase")
#: Levels of what experts say of a code (`concept_icd.experts`).
EXPERTS: tuple[Level, ...] = ("words", "terms", "drugs", "spans")


@dataclass(frozen=True, repr=False)
class Concept(OneLine):
    """What a scorer is asked about (a node of the ontology, a clinical phrase), or what an expert says of a code.

    Attributes:
        key: stable and unique in its set, e.g. "category:428" or "phrase:short of breath".
        level: one of `LEVELS` or `EXPERTS`. A code of the label set has level "code" whatever its depth in the tree.
        text: the words that go into the question.
        codes: the codes of the label set that the concept covers, in label-set order.
    """

    key: str
    level: Level
    text: str
    codes: tuple[str, ...]


@dataclass(frozen=True, repr=False)
class ConceptContribution(OneLine):
    """What one concept added to the log-odds of one code.

    Attributes:
        score: logit(yes) - logit(no), natural log units. contribution: log-odds it added to the code.
    """

    key: str
    level: Level
    text: str
    score: float
    contribution: float


@dataclass(frozen=True, repr=False)
class RankedCode(OneLine):
    """One code of the coder's set as suggested for one note; rank 1 is read first.

    Attributes:
        accepted: the probability reached the coder's threshold.
        path: codes of the ancestors and the code itself, chapter first.
        evidence: character spans (start, end) of the note that carry it, where they were asked for. against: those
            that speak against it; see `concept_icd.coder.evidence`.
        expected_recall: share of the note's gold codes to expect among this suggestion and those before it; None where
            nothing was fitted that says so (see `heads.recall_cutoff`).
        system: URI of the code system, as FHIR has it.
    """

    rank: int
    code: str
    kind: Kind
    title: str
    probability: float
    accepted: bool
    path: tuple[str, ...]
    concepts: tuple[ConceptContribution, ...]
    evidence: tuple[tuple[int, int], ...] = ()
    against: tuple[tuple[int, int], ...] = ()
    expected_recall: float | None = None
    system: str = "http://hl7.org/fhir/sid/icd-9-cm"


@dataclass(frozen=True, repr=False)
class CodingResult(OneLine):
    """Every code of a coder's set, ranked, for one note.

        >>> from concept_icd import ConceptCoder
        >>> result = ConceptCoder.from_pretrained("radiology")("Cough and fever. Right lower lobe pneumonia.")
        >>> result.principal.code, result.to_dict(top=1)["codes"][0]["code"]
        ('486', '486')

    Attributes:
        truncated: None, or one sentence that says what part of the note was not read.
        versions: what produced it (package, coder, model, prompt, concept set).
        read_first: how many suggestions to read for an expected recall of 90 %; None where nothing says so.
        familiarity: share of the coder's training notes that are as unlike the others as this one, or more so; None
            where nothing was fitted that says so (see `heads.novelty`).
        unfamiliar: that share is at most 5 %: the codes deserve less trust. None as for `familiarity`.
        note: the note itself, where it was asked for (`keep_note=True`): a result holds no text of its own accord.
    """

    note_id: str
    codes: tuple[RankedCode, ...]
    truncated: str | None
    versions: Mapping[str, str]
    read_first: int | None = None
    familiarity: float | None = None
    unfamiliar: bool | None = None
    note: Note | None = None

    @property
    def accepted(self) -> tuple[RankedCode, ...]:
        """The codes that reached the coder's threshold, first-ranked first."""
        return tuple(code for code in self.codes if code.accepted)

    @property
    def principal(self) -> RankedCode | None:
        """The first-ranked accepted diagnosis: the suggested principal diagnosis."""
        return next((code for code in self.accepted if code.kind == "diagnosis"), None)

    def read_for(self, recall: float) -> int | None:
        """How many suggestions to read for an expected recall in (0, 1]; None where these suggestions do not say so."""
        reached = (code.rank for code in self.codes if (code.expected_recall or 0.0) >= recall - 1e-12)
        return next(reached, None)

    def top(self, k: int) -> tuple[RankedCode, ...]:
        """The first `k` codes."""
        return self.codes[:k]

    def to_dict(
        self, top: int | None = None, concepts: int | None = None, *, accepted_only: bool = False
    ) -> dict[str, Any]:
        """The JSON line of `concept-icd code --out`, and what the desk answers.

        Args:
            top: the first codes alone; None: all. concepts: the first concepts of each code alone; None: all.
            accepted_only: the codes that reached the threshold.
        """
        # dataclasses.asdict copies deeply, and would take longer than a small model's scoring.
        codes = [
            {**vars(code), "concepts": [dict(vars(concept)) for concept in code.concepts[:concepts]]}
            for code in self.codes[:top]
            if code.accepted or not accepted_only
        ]
        of_note = {name: value for name, value in vars(self).items() if name != "note"}
        return {**of_note, "codes": codes, "versions": dict(self.versions)}

    def to_frame(self, library: str | None = None, *, top: int | None = None, accepted_only: bool = False) -> Any:
        """A DataFrame with a row a code: `concept_icd.records.tables.COLUMNS`.

        Args:
            library: "pandas", "polars" or "pyarrow"; None: the first of these that is installed.
            top: the first codes alone. accepted_only: those that reached the threshold.

        Raises:
            MissingExtraError: the library, or Narwhals, is not installed.
        """
        from concept_icd.records.tables import as_frame, results_table

        return as_frame(results_table([self], top=top, accepted_only=accepted_only), library)

    def to_fhir(self, note: Note | str | None = None) -> dict[str, Any]:
        """A FHIR R4 Bundle of the accepted codes, unconfirmed; see `concept_icd.records.fhir`. It holds no text.

        Args:
            note: what was coded: its length, its hash and its patient stand in the bundle. None: the one that was kept.

        Raises:
            InputError: the note is not known, or is another one.
        """
        from concept_icd.records.fhir import Document, suggested_bundle

        known = Note(self.note_id, note) if isinstance(note, str) else note or self.note
        if known is None or known.note_id != self.note_id:
            raise InputError("to_fhir needs the note that was coded: give it, or code it with keep_note=True")
        return suggested_bundle(Document(known), self)

    def _repr_html_(self) -> str:
        """For notebooks: the first codes, and the note with its evidence marked where it was kept."""
        from concept_icd.records.html import as_html

        return as_html(self)
