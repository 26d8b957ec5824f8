"""Routes that hand out the record: files, and what the trade measures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Query
from fastapi.responses import Response

from concept_icd.desk.answers import ERRORS, TheDesk, answer, in_record
from concept_icd.desk.desk import Desk
from concept_icd.desk.exports import Reviewed, as_csv, as_fhir, as_jsonl, chosen
from concept_icd.desk.measures import measures_of

router = APIRouter(responses=ERRORS, tags=["export"])

T = TypeVar("T")

Status = Annotated[Literal["submitted", "all"], Query(description="`all`: reviews under way too.")]
Keys = Annotated[list[Annotated[str, Query(pattern="^[0-9a-f]{16}$")]], Query(max_length=1000)]


async def _file(
    desk: Desk, written: Callable[[Desk, Iterable[Reviewed]], T], status: str, keys: Iterable[str]
) -> tuple[T, int]:
    """What is written of the reviews, and how many are left out; in the record's threads, since all of it is read."""

    def work() -> tuple[T, int]:
        reviewed, left_out = chosen(desk, status, keys)
        return written(desk, reviewed), left_out

    return await in_record(desk, work, desk.settings.limits.seconds)


def _download(name: str, left_out: int) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "X-Left-Out": str(left_out)}


@router.get("/v1/export.jsonl")
async def export_jsonl(desk: TheDesk, status: Status = "submitted", key: Keys = []) -> Response:  # noqa: B006
    """Training data for `concept-icd prepare jsonl`, with the notes' text."""
    file, left_out = await _file(desk, as_jsonl, status, key)
    headers = _download("reviews.jsonl", left_out)
    return Response(file.encode(), headers=headers, media_type="application/jsonl")


@router.get("/v1/export.csv")
async def export_csv(desk: TheDesk, status: Status = "submitted", key: Keys = []) -> Response:  # noqa: B006
    """A table of every decision that stands, without text."""
    file, left_out = await _file(desk, as_csv, status, key)
    headers = _download("reviews.csv", left_out)
    return Response(file.encode(), headers=headers, media_type="text/csv; charset=utf-8")


@router.get("/v1/export.fhir.json")
async def export_fhir(desk: TheDesk, status: Status = "submitted", key: Keys = []) -> Response:  # noqa: B006
    """A FHIR R4 bundle: Conditions, Procedures, a Claim for each submitted note, Provenances."""
    file, left_out = await _file(desk, as_fhir, status, key)
    headers = _download("reviews.fhir.json", left_out)
    return answer(file, media_type="application/fhir+json", headers=headers)


@router.get("/v1/measures")
async def measures(desk: TheDesk) -> Response:
    """Accepted, added and removed per coder and per code; minutes per note; errors of the order."""

    def work() -> dict[str, Any]:
        return measures_of(desk.record.all_events(), desk.title)

    return answer(await in_record(desk, work, desk.settings.limits.seconds))
