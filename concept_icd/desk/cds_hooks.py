"""CDS Hooks: at discharge an EHR sends the encounter's documents, and gets the suggested codes as a card.

The documents come with the request (prefetch): the service asks no other server for them. What becomes of a card is
told to `feedback` and goes to the record. One router, after the specification 2.0 (https://cds-hooks.hl7.org).
"""

from __future__ import annotations

import base64
import binascii
import uuid
from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, Field

from concept_icd.corpora.reading import decode, flaw
from concept_icd.desk.answers import ERRORS, Person, TheDesk, answer, scored
from concept_icd.desk.coding_api import WARNINGS
from concept_icd.desk.desk import Desk
from concept_icd.desk.fhir import Resource, suggested_bundle
from concept_icd.desk.record.events import NewEvent
from concept_icd.desk.schemas import Id, Reason
from concept_icd.errors import InputError
from concept_icd.records import CodingResult, Note

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
                            "entry": [
                                {
                                    "resource": {
                                        "resourceType": "DocumentReference",
                                        "id": "7",
                                        "status": "current",
                                        "content": [
                                            {
                                                "attachment": {
                                                    "contentType": "text/plain",
                                                    "data": "RmV2ZXIgYW5kIGNvdWdoLiBQbmV1bW9uaWEu",
                                                }
                                            }
                                        ],
                                    }
                                }
                            ],
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
async def suggest(desk: TheDesk, body: Hook, person: Person) -> Response:
    """One card for each document that has text, with its suggested codes."""
    if "documents" not in body.prefetch:
        raise HTTPException(412, "This service asks no other server: the prefetch must hold the documents.")
    notes = _notes(body.prefetch["documents"], desk.settings.limits.note_characters)
    if len(notes) > desk.settings.limits.notes_per_request:
        raise HTTPException(422, f"{desk.settings.limits.notes_per_request} documents are the most.")
    results = await scored(desk, notes) if notes else []
    cards = [_card(desk, note, result) for note, result in zip(notes, results, strict=True)]

    def record() -> None:
        for note, result, card in zip(notes, results, cards, strict=True):
            detail = {"codes": {item["uuid"]: item["label"].split(" ")[0] for item in card["suggestions"]}}
            event = NewEvent("card", None, detail)
            desk.write(f"card-{card['uuid']}", note.note_id, 0, [event], person or "EHR", result.versions)

    await run_in_threadpool(record)
    return answer({"cards": cards})


@router.post(f"/cds-services/{SERVICE}/feedback")
def feedback(desk: TheDesk, body: CardsFeedback, person: Person) -> Response:
    """Records what became of cards."""
    found = []
    for given in body.feedback:
        events = desk.record.events(f"card-{given.card}")
        if not events:
            raise HTTPException(422, "No such card was given out here.")
        found.append((given, events[0]))
    for given, card in found:
        codes = [card.detail["codes"].get(taken.id, "unknown") for taken in given.acceptedSuggestions]
        reason = given.overrideReason or {}
        detail = {
            "outcome": given.outcome,
            "codes": codes,
            "reason": str(reason.get("code") or (reason.get("reason") or {}).get("code") or "")[:100],
            "at": given.outcomeTimestamp,
        }
        desk.write(
            card.review, card.note_id, None, [NewEvent("feedback", None, detail)], person or "EHR", card.versions
        )
    return answer({})


def _notes(documents: Any, longest: int) -> list[Note]:
    """The documents of a bundle that hold plain text, or of one DocumentReference.

    Raises:
        HTTPException: 422 where a document is damaged or too long.
    """
    entries = documents.get("entry") or [] if isinstance(documents, dict) else []
    resources = [entry.get("resource") for entry in entries if isinstance(entry, dict)] or [documents]
    notes = []
    for number, resource in enumerate(resources):
        if not isinstance(resource, dict) or resource.get("resourceType") != "DocumentReference":
            continue
        for content in resource.get("content") or []:
            attachment = content.get("attachment") if isinstance(content, dict) else None
            attachment = attachment if isinstance(attachment, dict) else {}
            data = attachment.get("data")
            if not isinstance(data, str) or not str(attachment.get("contentType", "")).startswith("text/plain"):
                continue
            try:
                text = decode(base64.b64decode(data, validate=True))
            except (binascii.Error, ValueError, InputError) as error:
                raise HTTPException(422, f"Document {number} is not base64 of UTF-8 text.") from error
            if (reason := flaw(text)) or len(text) > longest:
                raise HTTPException(422, f"Document {number}: {reason or 'it is too long'}.")
            name = resource.get("id")
            notes.append(Note(name if isinstance(name, str) and name.isprintable() and name else str(number), text))
    return notes


def _card(desk: Desk, note: Note, result: CodingResult) -> dict[str, Any]:
    shown = result.accepted[:SHOWN]
    resources = _resources(note, result)
    lines = [f"{code.rank}. **{code.code}** {code.title} ({code.probability:.0%})" for code in shown]
    if result.unfamiliar:
        lines.append("This note is unlike those the coder was trained on: trust it less.")
    if result.truncated:
        lines.append(f"Not all was read: {result.truncated}.")
    return {
        "uuid": str(uuid.uuid4()),
        "summary": f"{len(result.accepted)} ICD-9-CM codes suggested, to be validated by a coder",
        "detail": "\n".join(lines),
        "indicator": "info",
        "source": {"label": "concept-icd " + result.versions.get("concept-icd", "")},
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


def _resources(note: Note, result: CodingResult) -> dict[tuple[str, str], Resource]:
    found = {}
    for entry in suggested_bundle(note, result)["entry"]:
        resource = entry["resource"]
        if resource["resourceType"] in ("Condition", "Procedure"):
            kind = "diagnosis" if resource["resourceType"] == "Condition" else "procedure"
            found[kind, resource["code"]["coding"][0]["code"]] = resource
    return found
