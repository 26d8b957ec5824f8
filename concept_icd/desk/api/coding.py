"""Routes that code notes for other programs, and say what codes them. What they are given is not kept."""

from __future__ import annotations

import asyncio
import getpass
import uuid
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import Response

from concept_icd.desk.answers import (
    ERRORS,
    FHIR_JSON,
    Client,
    NamedPerson,
    Person,
    TheDesk,
    answer,
    in_record,
    scored,
)
from concept_icd.desk.api.schemas import Feedback, NoteIn, NoteOrDocument, Notes
from concept_icd.desk.desk import Desk
from concept_icd.desk.documents import Unread, document_of
from concept_icd.desk.record.events import NewEvent
from concept_icd.errors import InputError
from concept_icd.records.fhir import Document, suggested_bundle

router = APIRouter(responses=ERRORS)

#: Those who ask for health do not wait longer.
HEALTH_SECONDS = 3.0
WARNINGS = (
    "ICD-9-CM left US billing on 2015-10-01; this is for research.",
    "Suggestions must be validated by a professional coder.",
)


@router.get("/healthz", tags=["service"])
async def health(desk: TheDesk) -> Response:
    """200 when notes can be coded and decisions recorded, which is tried; 503 else, with what is missing."""
    failure = desk.queue.failure
    coder = "loading" if failure is None else failure or "ok"
    try:
        trying = asyncio.get_running_loop().run_in_executor(desk.health_thread, desk.record.check)
        await asyncio.wait_for(trying, HEALTH_SECONDS)
        record = "ok"
    except Exception:  # noqa: BLE001  whatever a driver raises
        record = "the database does not take a decision"
    well = coder == record == "ok"
    return answer({"status": "ok" if well else "not ready", "coder": coder, "record": record}, 200 if well else 503)


@router.get("/metrics", tags=["service"])
def metrics(desk: TheDesk) -> Response:
    """Prometheus' text format."""
    return Response(desk.telemetry.text(), media_type="text/plain; version=0.0.4")


@router.get("/v1/me", tags=["review"])
def me(request: Request, desk: TheDesk, person: Person) -> Response:
    """Who asks, and how that is known."""
    try:
        user: str | None = getpass.getuser()
    except (OSError, KeyError):  # a container's user may have no name
        user = None
    named_by = request.state.named_by
    needed = bool(desk.settings.tokens)
    suggested = None if needed else user  # the machine's user is nobody's business elsewhere
    return answer({"name": person, "named_by": named_by, "suggested_name": suggested, "token_needed": needed})


@router.get("/v1/model", tags=["coding"])
def model(desk: TheDesk) -> Response:
    """What suggests the codes: versions, label set, threshold; and the service's limits."""
    coder, limits = desk.coder, desk.settings.limits
    codes, threshold = coder.concepts.codes, coder.heads.threshold
    kinds = [desk.ontology.kind(coder.concepts.meaning(code)) for code in codes]
    return answer(
        {
            "versions": coder.versions,
            "classification": coder.classification,
            "codes": len(codes),
            "diagnoses": kinds.count("diagnosis"),
            "procedures": kinds.count("procedure"),
            "code_list": list(codes),
            "threshold": {
                "value": threshold.value,
                "source": threshold.source,
                "at_least_one": threshold.at_least_one,
            },
            "warnings": [*WARNINGS, f"This coder suggests its own {len(codes)} codes and no others."],
            "limits": {
                "note_characters": limits.note_characters,
                "notes_per_request": limits.notes_per_request,
                "body_bytes": limits.body_bytes,
                "queue_notes": limits.queue_notes,
                "seconds": limits.seconds,
            },
        }
    )


Top = Annotated[int | None, Query(ge=1, le=20_000, description="Only the first codes of each note.")]
Concepts = Annotated[int, Query(ge=0, le=5, description="Concepts to name for each code.")]
WithEvidence = Annotated[bool, Query(description="Also find the passages for and against each code; slower.")]


@router.post("/v1/code", tags=["coding"], responses={200: {"description": "One record a note, in their order."}})
async def code(
    desk: TheDesk,
    body: NoteIn | Notes,
    client: Client,
    top: Top = None,
    concepts: Concepts = 3,
    evidence: WithEvidence = False,
) -> Response:
    """Ranks the codes of one note, or of a list of notes; nothing of it is kept."""
    notes = [given.note() for given in (body if isinstance(body, list) else [body])]
    results = await scored(desk, notes, client, evidence=evidence)
    records = [result.to_dict(top, concepts) for result in results]
    return answer(records if isinstance(body, list) else records[0])


@router.post("/v1/code/fhir", tags=["coding"])
async def code_fhir(desk: TheDesk, body: NoteOrDocument, client: Client, evidence: WithEvidence = False) -> Response:
    """The suggested codes of a DocumentReference, or of a note, as a FHIR R4 bundle of what is unconfirmed.

    There are Conditions, Procedures and a Provenance, and no Claim. Errors are OperationOutcomes for who sends or
    accepts `application/fhir+json`.
    """
    try:
        document = Document(body.note()) if isinstance(body, NoteIn) else document_of(body.model_dump(), "1")
        if not desk.settings.limits.fits(document.note.text):
            raise Unread(document.note.note_id, "it is too long")
    except Unread as unread:
        raise HTTPException(422, str(unread)) from unread
    (result,) = await scored(desk, [document.note], client, evidence=evidence)
    return answer(suggested_bundle(document, result), media_type=FHIR_JSON)


@router.post("/v1/feedback", tags=["coding"], status_code=201)
async def feedback(desk: TheDesk, body: Feedback, person: NamedPerson) -> Response:
    """Records what became of suggestions that were shown elsewhere."""
    for judged in body.codes:
        _check_code(desk, judged.code)
    feedback_id = f"feedback-{uuid.uuid4()}"
    event = NewEvent("feedback", None, {"codes": [judged.model_dump() for judged in body.codes]})
    await in_record(desk, lambda: desk.write(feedback_id, body.note_id, None, [event], person, body.versions))
    return answer({"feedback_id": feedback_id}, 201)


def _check_code(desk: Desk, code: str) -> None:
    if code in desk.known_codes:
        return
    try:
        desk.ontology.node(code)
    except InputError as error:
        raise HTTPException(422, str(error)) from error
