"""What the routes share: the desk of a request, who asks, answers with and without an ETag, waiting for scores."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request
from fastapi.responses import Response

from concept_icd.desk.desk import Desk
from concept_icd.desk.line import Closed, QueueFull
from concept_icd.errors import InputError
from concept_icd.records import CodingResult, Note

T = TypeVar("T")

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


def desk_of(request: Request) -> Desk:
    """The desk that the application was made for."""
    found: Desk = request.app.state.desk
    return found


def person_of(request: Request) -> str | None:
    """Who asks, as the gate found out."""
    found: str | None = request.state.person
    return found


def named_person(request: Request) -> str:
    """Who decides.

    Raises:
        HTTPException: they did not say.
    """
    person = person_of(request)
    if person is None:
        raise HTTPException(400, "Say who you are: the header X-Coder needs a name.")
    return person


TheDesk = Annotated[Desk, Depends(desk_of)]
Person = Annotated[str | None, Depends(person_of)]
NamedPerson = Annotated[str, Depends(named_person)]


def answer(
    value: Any, status: int = 200, media_type: str = "application/json", headers: dict[str, str] | None = None
) -> Response:
    """JSON."""
    return Response(json.dumps(value, ensure_ascii=False).encode(), status, headers, media_type)


def answer_if_changed(request: Request, value: Any) -> Response:
    """JSON, or 304 where the asker has it already."""
    body = json.dumps(value, ensure_ascii=False).encode()
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


async def scored(desk: Desk, notes: list[Note], *, evidence: bool = False) -> list[CodingResult]:
    """Results of the notes, from the queue.

    Raises:
        HTTPException: 422, 429, 503 or 504, with a sentence.
    """
    results = await answered(desk, lambda: desk.queue.code(notes))
    if not evidence:
        return results
    pairs = zip(notes, results, strict=True)
    return [(await answered(desk, partial(desk.queue.find_evidence, note, result)))[0] for note, result in pairs]


async def answered(desk: Desk, submit: Callable[[], Future[T]], *, shared: bool = False) -> T:
    """What the queue answers, within the time limit; raises as `scored` does.

    Args:
        submit: puts something into the queue. shared: others may wait for the same answer, so it is worked out even
            when this request has given up.
    """
    try:
        waiting = asyncio.wrap_future(submit())
        return await asyncio.wait_for(asyncio.shield(waiting) if shared else waiting, desk.settings.limits.seconds)
    except QueueFull as full:
        raise HTTPException(429, "Too many notes wait to be scored.", {"Retry-After": str(full.retry_after)}) from full
    except Closed as closed:
        raise HTTPException(503, "The service is stopping.", {"Retry-After": "10"}) from closed
    except TimeoutError as error:
        sentence = f"Not scored within {desk.settings.limits.seconds:g} s."
        raise HTTPException(504, sentence, {"Retry-After": "10"}) from error
    except InputError as error:
        raise HTTPException(422, str(error)) from error
