"""Routes that hand out the record: JSON lines that `concept-icd prepare jsonl` reads, CSV, FHIR R4, and measures."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal, TypeVar, get_args

from fastapi import APIRouter, Query
from fastapi.responses import Response

from concept_icd.desk.answers import ERRORS, TheDesk, answer, in_record
from concept_icd.desk.api.fhir import review_entries
from concept_icd.desk.desk import Desk
from concept_icd.desk.review import Review
from concept_icd.desk.telemetry import measures_of
from concept_icd.records import Kind, Note
from concept_icd.records.fhir import Resource, bundle_of

router = APIRouter(responses=ERRORS, tags=["export"])

T = TypeVar("T")
COLUMNS = (
    *("note_id", "status", "type", "sequence", "code", "title", "decision"),
    *("rank", "probability", "by", "at", "reason", "submitted_by", "submitted_at", "coder"),
)
#: Spreadsheets run a cell that begins so, some after blanks or in full width
#: (https://owasp.org/www-community/attacks/CSV_Injection).
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")

Reviewed = tuple[Note, Review]

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


def chosen(desk: Desk, status: str, keys: Iterable[str]) -> tuple[list[Reviewed], int]:
    """The reviews to export, and how many of the record are of notes that this worklist does not have.

    Args:
        status: "submitted", or "all" for those under way too. keys: of notes; none: every note.
    """
    wanted = set(keys)
    found = [
        (note, review)
        for (key, note), review in zip(desk.worklist, desk.reviews().values(), strict=True)
        if review.version and (not wanted or key in wanted) and (status == "all" or review.submitted)
    ]
    known = {key for key, _ in desk.worklist}
    others = [key for key in desk.record.versions() if key not in known and len(key) == 16]
    return found, 0 if wanted else len(others)


def as_jsonl(desk: Desk, reviewed: Iterable[Reviewed]) -> str:
    """One note a line with its accepted codes in sequence: training data."""
    lines = []
    for note, review in reviewed:
        line: dict[str, Any] = {"note_id": note.note_id, "text": note.text}
        given = {"patient_id": note.patient_id, "age": note.age, "sex": note.sex, "drugs": list(note.drugs)}
        line |= {name: value for name, value in given.items() if value not in (None, [])}  # 0 is an age
        line["diagnoses"] = [decided.code for decided in review.accepted["diagnosis"]]
        line["procedures"] = [decided.code for decided in review.accepted["procedure"]]
        last = review.submitted or review.last
        line["reviewed"] = {"status": review.status, "by": last.by if last else None, "at": last.at if last else None}
        line["reviewed"]["versions"] = dict(review.versions)
        lines.append(json.dumps(line, ensure_ascii=False) + "\n")
    return "".join(lines)


def as_csv(desk: Desk, reviewed: Iterable[Reviewed]) -> str:
    """One row a code that somebody decided on or that reached the threshold."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for note, review in reviewed:
        closed = (review.submitted.by, review.submitted.at) if review.submitted else ("", "")
        coder = review.versions.get("coder", "")
        for kind, sequence, code, decision, by, at, reason in _rows(review):
            suggestion = review.suggestions.get(code)
            rank, probability = (suggestion.rank, suggestion.probability) if suggestion else ("", "")
            row = [note.note_id, review.status, kind, sequence, code, desk.title(code), decision, rank, probability]
            writer.writerow([_harmless(cell) for cell in (*row, by, at, reason, *closed, coder)])
    return file.getvalue()


def as_fhir(desk: Desk, reviewed: Iterable[Reviewed]) -> Resource:
    """The reviews as one FHIR bundle."""
    resources: list[Resource] = []
    systems = {kind: desk.ontology.system(kind) for kind in get_args(Kind)}
    for note, review in reviewed:
        titles = {code: desk.title(code) for code in review.accepted_codes}
        resources += review_entries(note, review, titles, systems)
    return bundle_of(resources)


def _rows(review: Review) -> Iterable[tuple[str, int | str, str, str, str, str, str]]:
    for kind, listed in review.accepted.items():
        for number, decided in enumerate(listed, 1):
            decision = "added" if decided.origin == "added" else "accepted"
            yield kind, number, decided.code, decision, decided.by, decided.at, ""
    for decided in review.rejected.values():
        yield decided.kind, "", decided.code, "rejected", decided.by, decided.at, decided.reason or ""
    for code in review.undecided:
        yield review.suggestions[code].kind, "", code, "undecided", "", "", ""


def _harmless(cell: Any) -> Any:
    if isinstance(cell, str) and (cell.startswith(FORMULA) or cell.lstrip().startswith(FORMULA)):
        return f"'{cell}"
    return cell
