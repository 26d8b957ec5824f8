"""CDS Hooks: at discharge an EHR sends the encounter's documents, and gets the suggested codes as a card.

The documents come with the request (prefetch): the service asks no other server for them. What becomes of a card is
told to `feedback` and goes to the record. One router, after the specification 2.0 (https://cds-hooks.hl7.org).
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException
from fastapi.responses import Response
from pydantic import BaseModel, Field

from concept_icd import __version__
from concept_icd.desk.answers import ERRORS, Client, Person, TheDesk, answer, in_record, scored, time_limit
from concept_icd.desk.api.coding import WARNINGS
from concept_icd.desk.api.schemas import Id, Reason, example_document
from concept_icd.desk.desk import Desk
from concept_icd.desk.documents import FHIR_ID, Unread, documents_of
from concept_icd.desk.record.events import NewEvent
from concept_icd.errors import InputError
from concept_icd.records import CodingResult, Note
from concept_icd.records.fhir import Document, Resource, suggested_bundle

router = APIRouter(responses=ERRORS, tags=["CDS Hooks"])

SERVICE = "suggest-icd-9-cm"
#: Suggestions on a card; the specification wants few.
SHOWN = 10
DOCUMENTS = "DocumentReference?encounter={{context.encounterId}}&status=current"
OVERRIDE_REASONS = (("wrong", "The note does not document it"), ("better", "Another code is more specific"))


class Hook(BaseModel):
    """A request of an EHR; what else it sends is ignored, as the specification asks."""

    hook: Literal["encounter-discharge"]
    hookInstance: Annotated[str, Field(max_length=100)]
    context: dict[str, Any] = {}
    prefetch: dict[str, Any] = {}

    model_config = {
        "json_schema_extra": {
            "examples": [
                {
                    "hook": "encounter-discharge",
                    "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
                    "context": {"userId": "Practitioner/1", "patientId": "2", "encounterId": "3"},
                    "prefetch": {
                        "documents": {
                            "resourceType": "Bundle",
                            "type": "searchset",
                            "entry": [{"resource": example_document()}],
                        }
                    },
                }
            ]
        }
    }


class Accepted(BaseModel):
    """A suggestion that was taken."""

    id: Id


class CardFeedback(BaseModel):
    """What became of one card."""

    card: Annotated[str, Field(pattern="^[0-9a-f-]{36}$")]
    outcome: Literal["accepted", "overridden"]
    acceptedSuggestions: Annotated[list[Accepted], Field(max_length=100)] = []
    overrideReason: dict[str, Any] | None = None
    outcomeTimestamp: Reason = ""


class CardsFeedback(BaseModel):
    """What became of cards."""

    feedback: Annotated[list[CardFeedback], Field(min_length=1, max_length=100)]


@router.get("/cds-services")
def discover() -> Response:
    """The one service, and what it needs."""
    service = {
        "hook": "encounter-discharge",
        "id": SERVICE,
        "title": "ICD-9-CM codes of the encounter's notes",
        "description": f"Suggests codes for each document. {' '.join(WARNINGS)}",
        "prefetch": {"documents": DOCUMENTS},
    }
    return answer({"services": [service]})


@router.post(f"/cds-services/{SERVICE}", responses={412: {"description": "The documents were not prefetched."}})
async def suggest(desk: TheDesk, body: Hook, person: Person, client: Client) -> Response:
    """One card for each document that could be read, with its suggested codes; and which could not be read, and why."""
    sent = body.prefetch.get("documents")
    if "documents" not in body.prefetch or (isinstance(sent, dict) and sent.get("resourceType") == "OperationOutcome"):
        raise HTTPException(412, "This service asks no other server: the prefetch must hold the documents.")
    try:
        documents, unread = documents_of(sent)
    except InputError as error:
        raise HTTPException(422, f"prefetch.documents: {error}.") from error
    limits = desk.settings.limits
    unread += [Unread(one.note.note_id, "it is too long") for one in documents if not limits.fits(one.note.text)]
    documents = [one for one in documents if limits.fits(one.note.text)]
    documents, more = documents[: limits.notes_per_request], documents[limits.notes_per_request :]
    unread += [Unread(one.note.note_id, f"only {limits.notes_per_request} are read at a time") for one in more]
    results: list[tuple[Document, CodingResult]] = []
    async with time_limit(desk):
        for document, outcome in zip(documents, await _coded(desk, documents, client), strict=True):
            if isinstance(outcome, Unread):
                unread.append(outcome)
            else:
                results.append((document, outcome))
    said = _said(unread)
    cards = [_card(_placed(document, body.context), result, said) for document, result in results]
    events = [_given_out(card, document.note) for card, (document, _) in zip(cards, results, strict=True)]
    if unread and not cards:
        cards = [_warning(said)]
        events = [_given_out(cards[0], None)]

    def record() -> None:
        for card, (note_id, event) in zip(cards, events, strict=True):
            desk.write(f"card-{card['uuid']}", note_id, 0, [event], person or "EHR")

    if cards:
        await in_record(desk, record)
    return answer({"cards": cards})


@router.post(f"/cds-services/{SERVICE}/feedback")
async def feedback(desk: TheDesk, body: CardsFeedback, person: Person) -> Response:
    """Records what became of cards."""

    def record() -> bool:
        found = [(given, desk.record.events(f"card-{given.card}")) for given in body.feedback]
        if not all(events for _, events in found):
            return False
        for given, (card, *_) in found:
            codes = [card.detail["codes"].get(taken.id, "unknown") for taken in given.acceptedSuggestions]
            detail = {
                **{"outcome": given.outcome, "codes": codes},
                **{"reason": _reason(given.overrideReason), "at": given.outcomeTimestamp},
            }
            event = NewEvent("feedback", None, detail)
            desk.write(card.review, card.note_id, None, [event], person or "EHR", card.versions)
        return True

    if not await in_record(desk, record):
        raise HTTPException(422, "No such card was given out here.")
    return answer({})


def _reason(given: dict[str, Any] | None) -> str:
    """The code of a reason, which version 1 of the specification has one level deeper."""
    given = given or {}
    deeper = given.get("reason")
    found = given.get("code") or (deeper.get("code") if isinstance(deeper, dict) else None)
    return found[:100] if isinstance(found, str) and found.isprintable() else ""


async def _coded(desk: Desk, documents: list[Document], client: str) -> list[CodingResult | Unread]:
    """The documents' results; one that cannot be coded does not stop the others."""
    try:
        return [*await scored(desk, [document.note for document in documents], client)] if documents else []
    except HTTPException as error:
        if error.status_code != 422:
            raise
        if len(documents) == 1:
            return [Unread(documents[0].note.note_id, str(error.detail))]
    return [outcome for document in documents for outcome in await _coded(desk, [document], client)]


def _placed(document: Document, context: dict[str, Any]) -> Document:
    """The document with the patient and the encounter of the request, where it names none itself."""

    def of(kind: str, name: str) -> Resource | None:
        given = context.get(name)
        return {"reference": f"{kind}/{given}"} if isinstance(given, str) and FHIR_ID.fullmatch(given) else None

    subject = document.subject or of("Patient", "patientId")
    return replace(document, subject=subject, encounter=document.encounter or of("Encounter", "encounterId"))


def _given_out(card: dict[str, Any], note: Note | None) -> tuple[str, NewEvent]:
    """The id of a card's note, and the event that says which code each suggestion is."""
    codes = {item["uuid"]: item["label"].split(" ")[0] for item in card.get("suggestions", ())}
    return note.note_id if note else "none", NewEvent("card", None, {"codes": codes})


def _said(unread: list[Unread]) -> list[str]:
    """How many documents could not be read, which, and why; nothing where all could."""
    if not unread:
        return []
    count = f"{len(unread)} document{'s' if len(unread) > 1 else ''} could not be read"
    more = ["..."] if len(unread) > SHOWN else []
    return [f"{count}:", *(str(failure) for failure in unread[:SHOWN]), *more]


def _warning(said: list[str]) -> dict[str, Any]:
    """The card that says that nothing was read, which is not the same as that there is nothing to code."""
    return {
        "uuid": str(uuid.uuid4()),
        "summary": f"No codes suggested: {said[0].rstrip(':')}",
        "detail": "\n".join(said),
        "indicator": "warning",
        "source": {"label": f"concept-icd {__version__}"},
    }


def _card(document: Document, result: CodingResult, said: list[str]) -> dict[str, Any]:
    shown = result.accepted[:SHOWN]
    resources = _resources(document, result)
    lines = [f"{code.rank}. **{code.code}** {code.title} ({code.probability:.0%})" for code in shown]
    if result.unfamiliar:
        lines.append("This note is unlike those the coder was trained on: trust it less.")
    if result.truncated:
        lines.append(f"Not all was read: {result.truncated}.")
    lines += said
    return {
        "uuid": str(uuid.uuid4()),
        "summary": f"{len(result.accepted)} ICD-9-CM codes suggested, to be validated by a coder",
        "detail": "\n".join(lines),
        "indicator": "warning" if said else "info",
        "source": {"label": f"concept-icd {__version__}"},
        "selectionBehavior": "any",
        "suggestions": [
            {
                "label": f"{code.code} {code.title}",
                "uuid": str(uuid.uuid4()),
                "actions": [
                    {
                        "type": "create",
                        "description": f"Take {code.code} over as unconfirmed",
                        "resource": resources[code.kind, code.code],
                    }
                ],
            }
            for code in shown
        ],
        "overrideReasons": [
            {"code": code, "system": "urn:concept-icd:override", "display": display}
            for code, display in OVERRIDE_REASONS
        ],
    }


def _resources(document: Document, result: CodingResult) -> dict[tuple[str, str], Resource]:
    found = {}
    for entry in suggested_bundle(document, result)["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] in ("Condition", "Procedure"):
            kind = "diagnosis" if resource["resourceType"] == "Condition" else "procedure"
            found[kind, resource["code"]["coding"][0]["code"]] = resource
    return found
