"""What the routes share: the desk of a request, who asks, waiting for scores, and answers as JSON."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request
from fastapi.responses import Response

from concept_icd.desk.desk import Desk, listed
from concept_icd.desk.queue import Answers, Closed, QueueFull
from concept_icd.desk.record.store import waited_until
from concept_icd.errors import InputError
from concept_icd.records import CodingResult, Note, RankedCode

T = TypeVar("T")
R = TypeVar("R")

FHIR_JSON = "application/fhir+json"
#: Errors that any route may answer with, for the documentation.
ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"description": "Malformed: the sentence says where."},
    401: {"description": "A bearer token is needed."},
    403: {"description": "It came from another site's page."},
    413: {"description": "Larger than the limits of `GET /v1/model`."},
    422: {"description": "The sentence says what is wrong, `problems` where."},
    429: {"description": "The queue is full; `Retry-After` says when to come again."},
    503: {"description": "Starting, stopping, or the record's database does not answer."},
    504: {"description": "No answer within the time limit."},
}


async def desk_of(request: Request) -> Desk:
    """The desk that the application was made for."""
    found: Desk = request.app.state.desk
    return found


async def person_of(request: Request) -> str | None:
    """Who asks, as the middleware found out."""
    found: str | None = request.state.person
    return found


async def client_of(request: Request) -> str:
    """The name under which the client waits in the queue."""
    found: str = request.state.client
    return found


async def named_person(request: Request) -> str:
    """The person who decides.

    Raises:
        HTTPException: they did not say.
    """
    person: str | None = request.state.person
    if person is None:
        raise HTTPException(400, "Say who you are: the header X-Coder needs a name.")
    return person


TheDesk = Annotated[Desk, Depends(desk_of)]
Client = Annotated[str, Depends(client_of)]
Person = Annotated[str | None, Depends(person_of)]
NamedPerson = Annotated[str, Depends(named_person)]


def answer(
    value: Any, status: int = 200, media_type: str = "application/json", headers: dict[str, str] | None = None
) -> Response:
    """A value as a JSON answer."""
    return Response(_json(value), status, headers, media_type)


def _json(value: Any) -> bytes:
    # What half of a surrogate pair becomes is its escape in JSON too.
    return json.dumps(value, ensure_ascii=False).encode(errors="backslashreplace")


def answer_if_changed(request: Request, value: Any) -> Response:
    """A value as a JSON answer, or 304 where the client has it already."""
    body = _json(value)
    tag = f'"{hashlib.sha256(body).hexdigest()[:20]}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return Response(body, headers={"ETag": tag}, media_type="application/json")


def note_of(desk: Desk, key: str) -> Note:
    """A note of the worklist.

    Raises:
        HTTPException: there is none of this key.
    """
    note = desk.worklist.get(key)
    if note is None:
        raise HTTPException(404, "This worklist has no note of this key.")
    return note


async def scored(desk: Desk, notes: list[Note], client: str, *, evidence: bool = False) -> list[CodingResult]:
    """Results of the notes, from the queue, within one time limit for all of it.

    Raises:
        HTTPException: 422, 429, 503 or 504, with a sentence.
    """
    async with time_limit(desk):
        results = await answered(lambda: desk.queue.code(notes, client))
        if not evidence:
            return results
        pairs = zip(notes, results, strict=True)
        return [(await answered(partial(desk.queue.find_evidence, *pair, client)))[0] for pair in pairs]


@asynccontextmanager
async def time_limit(desk: Desk) -> AsyncIterator[None]:
    """Answers 504 where the block takes longer than a request may wait for its scores."""
    seconds = desk.settings.limits.seconds
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise HTTPException(504, f"Not scored within {seconds:g} s.", {"Retry-After": "10"}) from error


async def answered(submit: Callable[[], Answers[R]], *, grace: float = 0.0) -> list[R]:
    """What the queue answers; raises as `scored` does.

    The work ends when nobody waits for it any more: the client has gone, or was told to come again later.

    Args:
        submit: puts something into the queue, or finds what others wait for already.
        grace: seconds that the work goes on after the last one left, for those who come again.
    """
    try:
        waiting = submit()
        waiting.waiters += 1
        try:
            return await asyncio.shield(asyncio.wrap_future(waiting))
        finally:
            waiting.waiters -= 1
            asyncio.get_running_loop().call_later(grace, _leave, waiting)
    except QueueFull as full:
        raise HTTPException(429, "Too many notes wait to be scored.", {"Retry-After": str(full.retry_after)}) from full
    except Closed as closed:
        raise HTTPException(503, "The service is stopping.", {"Retry-After": "10"}) from closed
    except InputError as error:
        raise HTTPException(422, str(error)) from error


def _leave(waiting: Answers[Any]) -> None:
    if waiting.waiters == 0 and not waiting.done():
        waiting.give_up()


async def in_record(desk: Desk, work: Callable[[], T], seconds: float | None = None) -> T:
    """What `work` answers, which reads or writes the record, in a thread of those that are kept for it.

    Args:
        seconds: it may take; by default twice what the database may be silent for, so that it gives up first.

    Raises:
        HTTPException: 503, it took too long; what it would have written then is not written, but for a last moment.
    """
    limit = 2 * desk.settings.limits.record_seconds if seconds is None else seconds

    until = time.monotonic() + limit

    def in_time() -> T:
        with waited_until(until):
            return work()

    try:
        return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(desk.record_threads, in_time), limit)
    except TimeoutError as error:
        raise no_record() from error


def no_record() -> HTTPException:
    """The answer to a request where the record's database does not answer, or not with what was asked."""
    sentence = "The record's database does not answer. Look at what stands before you send this again."
    return HTTPException(503, sentence, {"Retry-After": "5"})


def suggestions_record(desk: Desk, result: CodingResult) -> dict[str, Any]:
    """The suggestions that the page lists, with the titles of their paths and why some are hidden."""
    threshold = desk.coder.heads.threshold.value
    return {
        "truncated": result.truncated,
        "read_first": result.read_first,
        "unfamiliar": result.unfamiliar,
        "threshold": threshold,
        "total": len(result.codes),
        "codes": [
            {
                "rank": code.rank,
                "code": code.code,
                "kind": code.kind,
                "title": code.title,
                "probability": code.probability,
                "expected_recall": code.expected_recall,
                "suggested": code.accepted,
                "why_hidden": None
                if code.accepted
                else f"probability {code.probability:.2f} is below the threshold of {threshold:.2f}",
                "path": _path(desk, code),
                "concepts": [dict(vars(concept)) for concept in code.concepts],
            }
            for code in listed(result)
        ],
        "versions": dict(result.versions),
    }


def _path(desk: Desk, code: RankedCode) -> list[dict[str, Any]]:
    scores = {concept.key.partition(":")[2]: concept.score for concept in code.concepts}
    return [{"code": step, "title": desk.title(step), "score": scores.get(step)} for step in code.path]


def spans_for_javascript(result: CodingResult, text: str) -> dict[str, dict[str, list[list[int]]]]:
    """The spans by code, "evidence" and "against", in the UTF-16 units that JavaScript's strings count."""
    wide = [place for place, character in enumerate(text) if ord(character) > 0xFFFF]

    def unit(place: int) -> int:
        return place + sum(1 for other in wide if other < place)

    def of(spans: Sequence[tuple[int, int]]) -> list[list[int]]:
        return [[unit(start), unit(end)] for start, end in spans]

    return {
        "evidence": {code.code: of(code.evidence) for code in result.codes if code.evidence},
        "against": {code.code: of(code.against) for code in result.codes if code.against},
    }
