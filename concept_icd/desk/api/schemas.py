"""What requests hold, checked; and examples for the documentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from concept_icd.corpora.reading import flaw
from concept_icd.desk.record.events import DecisionAction
from concept_icd.desk.settings import Limits
from concept_icd.errors import InputError
from concept_icd.records import OLDEST_AGE, Note, age_of, sex_of

EXAMPLE_NOTE = (
    "CLINICAL HISTORY: Fever and cough for three days.\n"
    "IMPRESSION: Right lower lobe pneumonia. No pleural effusion. Line placed in the right subclavian vein."
)


def _readable(text: str) -> str:
    if reason := flaw(text):
        raise ValueError(reason)
    return text


def _plain(text: str) -> str:
    if not text.isprintable():
        raise ValueError("only printable characters on one line")
    return text


def _told(read: Callable[[object], object]) -> Callable[[object], object]:
    """The reader of a value that every corpus uses, its sentence as the answer's."""

    def told(value: object) -> object:
        try:
            return read(value)
        except InputError as error:
            raise ValueError(str(error)) from error

    return told


Text = Annotated[str, Field(min_length=1, max_length=Limits.note_characters), AfterValidator(_readable)]
Id = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_plain)]
Code = Annotated[str, Field(min_length=1, max_length=16), AfterValidator(_plain)]
Reason = Annotated[str, Field(max_length=200), AfterValidator(_plain)]


class Strict(BaseModel):
    """A misspelt field is refused, not ignored."""

    model_config = ConfigDict(extra="forbid")


class NoteIn(Strict):
    """A note to be coded."""

    text: Text
    note_id: Id = "note"
    patient_id: Id | None = None
    age: Annotated[Annotated[float, Field(ge=0, le=OLDEST_AGE)] | None, BeforeValidator(_told(age_of))] = None
    sex: Annotated[Literal["F", "M"] | None, BeforeValidator(_told(sex_of))] = None
    drugs: Annotated[list[Id], Field(max_length=500)] = []

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"note_id": "a1", "text": EXAMPLE_NOTE, "age": 71, "sex": "F"}]},
    )

    def note(self) -> Note:
        """The record of it."""
        return Note(self.note_id, self.text, self.patient_id, self.age, self.sex, tuple(self.drugs))


def example_document(**more: Any) -> dict[str, Any]:
    """A FHIR R4 DocumentReference as the documentation shows it."""
    attachment = {"contentType": "text/plain", "data": "RmV2ZXIgYW5kIGNvdWdoLiBQbmV1bW9uaWEu"}
    content = [{"attachment": attachment}]
    return {"resourceType": "DocumentReference", "id": "7", "status": "current", **more, "content": content}


class DocumentIn(BaseModel):
    """A FHIR R4 DocumentReference whose text is part of it; `documents` reads it."""

    resourceType: Literal["DocumentReference"]

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"examples": [example_document(subject={"reference": "Patient/2"})]},
    )


def _form(body: Any) -> str:
    return "document" if isinstance(body, dict) and "resourceType" in body else "note"


NoteOrDocument = Annotated[
    Annotated[NoteIn, Tag("note")] | Annotated[DocumentIn, Tag("document")], Discriminator(_form)
]
Notes = Annotated[list[NoteIn], Field(min_length=1, max_length=Limits.notes_per_request)]


class Nothing(Strict):
    """`{}`."""


class Decision(Strict):
    """A decision on a note, with the version of the review that the person saw."""

    version: Annotated[int, Field(ge=0, le=2**31 - 2)]
    action: DecisionAction
    code: Code | None = None
    reason: Reason | None = None
    kind: Literal["diagnosis", "procedure"] | None = None
    order: Annotated[list[Code], Field(max_length=500)] | None = None
    reject_undecided: bool = False
    nothing_to_code: bool = False

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"version": 1, "action": "accept", "code": "486"},
                {"version": 2, "action": "reorder", "kind": "diagnosis", "order": ["780.6", "486"]},
                {"version": 3, "action": "submit", "reject_undecided": True},
            ]
        },
    )


class Judged(Strict):
    """What became of one code."""

    code: Code
    outcome: Literal["accepted", "rejected", "added"]


class Feedback(Strict):
    """What became of suggestions that `POST /v1/code` gave to another program."""

    note_id: Id
    codes: Annotated[list[Judged], Field(min_length=1, max_length=500)]
    versions: Annotated[dict[Id, Reason], Field(max_length=20)] = {}

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "note_id": "a1",
                    "codes": [{"code": "486", "outcome": "accepted"}, {"code": "38.93", "outcome": "added"}],
                    "versions": {"coder": "1f2e3d4c5b6a"},
                }
            ]
        },
    )
