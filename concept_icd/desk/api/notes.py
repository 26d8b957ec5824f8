"""Routes of the worklist and of reviews: what the page lives on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import Response

from concept_icd.desk.answers import (
    ERRORS,
    Client,
    NamedPerson,
    Person,
    TheDesk,
    answer,
    answer_if_changed,
    answered,
    in_record,
    note_of,
    scored,
    spans_for_javascript,
    suggestions_record,
    time_limit,
)
from concept_icd.desk.api.schemas import Decision, Nothing
from concept_icd.desk.desk import Desk, said
from concept_icd.desk.record.events import Conflict
from concept_icd.desk.review import Refused, events_of
from concept_icd.records import CodingResult, Note

NOT_THERE: dict[int | str, dict[str, Any]] = {404: {"description": "This worklist has no such note."}}
CONFLICT: dict[int | str, dict[str, Any]] = {
    409: {"description": "Somebody else was faster; `review` is how it stands now."}
}
router = APIRouter(responses={**ERRORS, **NOT_THERE}, tags=["review"])

#: Seconds after which the page, told to come again in ten, has done so.
COMES_AGAIN = 20.0

Key = Annotated[str, Path(pattern="^[0-9a-f]{16}$", description="Of a note, from `GET /v1/notes`.")]


@router.get("/v1/notes")
async def worklist(request: Request, desk: TheDesk, person: Person) -> Response:
    """The notes with the state of their reviews; with an ETag, for polling."""
    reviews, notes = await in_record(desk, desk.reviews), []
    counts = {"new": 0, "open": 0, "submitted": 0}
    for key, note in desk.worklist:
        review = reviews[key]
        counts[review.status] += 1
        last = review.last
        notes.append(
            {
                "key": key,
                "note_id": note.note_id,
                "status": review.status,
                "version": review.version,
                "characters": len(note.text),
                "accepted": len(review.accepted_codes),
                "undecided": 0 if review.submitted else len(review.undecided),
                "by": last.by if last else None,
                "at": last.at if last else None,
                "here": desk.viewers.others(key, person),
            }
        )
    return answer_if_changed(request, {"notes": notes, "counts": counts})


@router.get("/v1/notes/{key}")
async def show(desk: TheDesk, key: Key, person: Person) -> Response:
    """A note and its review, without scoring it."""
    note = note_of(desk, key)
    desk.viewers.mark(key, person)
    review = await in_record(desk, lambda: _review(desk, key, note, person))
    return answer(
        {
            "key": key,
            "note_id": note.note_id,
            "text": note.text,
            "age": note.age,
            "sex": note.sex,
            "drugs": list(note.drugs),
            "review": review,
        }
    )


@router.post("/v1/notes/{key}/open")
async def open_note(desk: TheDesk, key: Key, body: Nothing, person: NamedPerson, client: Client) -> Response:
    """Suggests codes for a note, and records who looked and what was suggested."""
    note = note_of(desk, key)
    desk.viewers.mark(key, person)
    result = await _result(desk, key, note, client)

    def record() -> dict[str, Any]:
        desk.opened(key, note.note_id, result, person)
        return {"suggestions": suggestions_record(desk, result), "review": _review(desk, key, note, person)}

    return answer(await in_record(desk, record))


@router.get("/v1/notes/{key}/evidence")
async def evidence(desk: TheDesk, key: Key, client: Client) -> Response:
    """The passages that carry each suggested code, and those against it, as spans of the note in UTF-16 units."""
    note = note_of(desk, key)
    async with time_limit(desk):
        result = await _result(desk, key, note, client)
        (found,) = await answered(lambda: desk.evidence_of(key, note, result, client), grace=COMES_AGAIN)
    return answer({**spans_for_javascript(found, note.text), "unit": "utf-16"})


@router.get("/v1/notes/{key}/review")
async def review(request: Request, desk: TheDesk, key: Key, person: Person) -> Response:
    """The review as it stands; with an ETag, for polling."""
    note = note_of(desk, key)
    desk.viewers.mark(key, person)
    return answer_if_changed(request, await in_record(desk, lambda: _review(desk, key, note, person)))


@router.post("/v1/notes/{key}/decisions", responses=CONFLICT)
async def decide(request: Request, desk: TheDesk, key: Key, body: Decision, person: NamedPerson) -> Response:
    """Records a decision; it is on disk when this answers. 409 where the review has moved on since `version`."""
    note = note_of(desk, key)
    desk.viewers.mark(key, person)

    def record() -> tuple[bool, dict[str, Any]]:
        stands = desk.history(key, note.note_id).review
        try:
            if stands.version != body.version:
                raise Conflict
            asked = body.model_dump(exclude={"version", "action"})
            events = events_of(stands, desk.ontology, body.action, person=person, **asked)
            desk.write(key, note.note_id, body.version, events, person, stands.versions)
        except Conflict:
            return False, _review(desk, key, note, person)
        return True, _review(desk, key, note, person)

    try:
        recorded, now = await in_record(desk, record)
    except Refused as refused:
        raise HTTPException(422, str(refused)) from refused
    if not recorded:
        detail = _why(now, body.version)
        return answer({"detail": detail, "request_id": request.state.request_id, "review": now}, 409)
    return answer(now)


@router.get("/v1/notes/{key}/history")
async def history(desk: TheDesk, key: Key) -> Response:
    """Every event of a review, oldest first."""
    note = note_of(desk, key)
    found = await in_record(desk, lambda: desk.history(key, note.note_id))
    return answer(
        {
            "events": [
                {
                    "version": event.version,
                    **said(event),
                    "detail": event.detail,
                    "versions": event.versions,
                    "undone": event.version in found.undone,
                }
                for event in found.events
            ]
        }
    )


async def _result(desk: Desk, key: str, note: Note, client: str) -> CodingResult:
    result = desk.results.get(key)
    if result is None:
        (result,) = await scored(desk, [note], client)
        desk.results.put(key, result)
    return result


def _review(desk: Desk, key: str, note: Note, person: str | None) -> dict[str, Any]:
    return desk.review_record(desk.history(key, note.note_id).review, person)


def _why(now: dict[str, Any], seen: int) -> str:
    if now["version"] == 0:
        return "Nobody has opened this note yet: open it first."
    if now["version"] == seen and now["submitted"]:
        return f"{now['submitted']['by']} has submitted this review; reopen it to change it."
    return f"{now['last']['by'] if now['last'] else 'Somebody'} was faster: the review is at version {now['version']}."
