"""Routes that hand out the record: files, and what the trade measures."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from fastapi.responses import Response

from concept_icd.desk.answers import ERRORS, TheDesk, answer
from concept_icd.desk.exports import as_csv, as_fhir, as_jsonl, chosen
from concept_icd.desk.measures import measures_of

router = APIRouter(responses=ERRORS, tags=["export"])

Status = Annotated[Literal["submitted", "all"], Query(description="`all`: reviews under way too.")]
Keys = Annotated[list[Annotated[str, Query(pattern="^[0-9a-f]{16}$")]], Query(max_length=1000)]


def _download(name: str, left_out: int) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "X-Left-Out": str(left_out)}


@router.get("/v1/export.jsonl")
def export_jsonl(desk: TheDesk, status: Status = "submitted", key: Keys = []) -> Response:  # noqa: B006
    """Training data for `concept-icd prepare jsonl`, with the notes' text."""
    reviewed, left_out = chosen(desk, status, key)
    headers = _download("reviews.jsonl", left_out)
    return Response(as_jsonl(desk, reviewed).encode(), headers=headers, media_type="application/jsonl")


@router.get("/v1/export.csv")
def export_csv(desk: TheDesk, status: Status = "submitted", key: Keys = []) -> Response:  # noqa: B006
    """A table of every decision that stands, without text."""
    reviewed, left_out = chosen(desk, status, key)
    headers = _download("reviews.csv", left_out)
    return Response(as_csv(desk, reviewed).encode(), headers=headers, media_type="text/csv; charset=utf-8")


@router.get("/v1/export.fhir.json")
def export_fhir(desk: TheDesk, status: Status = "submitted", key: Keys = []) -> Response:  # noqa: B006
    """A FHIR R4 bundle: Conditions, Procedures, a Claim for each submitted note, Provenances."""
    reviewed, left_out = chosen(desk, status, key)
    headers = _download("reviews.fhir.json", left_out)
    return answer(as_fhir(desk, reviewed), media_type="application/fhir+json", headers=headers)


@router.get("/v1/measures")
def measures(desk: TheDesk) -> Response:
    """Accepted, added and removed per coder and per code; minutes per note; errors of the order."""
    return answer(measures_of(desk.record.all_events(), desk.title))
