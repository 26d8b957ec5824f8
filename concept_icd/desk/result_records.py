"""Results as JSON: the record that `concept-icd code` writes, and what the page shows of a note."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from concept_icd.desk.desk import LISTED, Desk
from concept_icd.records import CodingResult, RankedCode


def result_record(result: CodingResult, top: int | None, concepts: int) -> dict[str, Any]:
    """As `CodingResult.to_dict`, with the first `top` codes and `concepts` concepts of each alone."""
    return {
        "note_id": result.note_id,
        "codes": [_code_record(code, concepts) for code in result.codes[:top]],
        "truncated": result.truncated,
        "versions": dict(result.versions),
        "read_first": result.read_first,
        "familiarity": result.familiarity,
        "unfamiliar": result.unfamiliar,
    }


def _code_record(code: RankedCode, concepts: int) -> dict[str, Any]:
    # dataclasses.asdict copies deeply and would take longer than a small model's scoring.
    return {**vars(code), "concepts": [dict(vars(concept)) for concept in code.concepts[:concepts]]}


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
            for code in result.codes
            if code.accepted or code.rank <= LISTED
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
