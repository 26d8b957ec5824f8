"""Routes that search and show codes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, HTTPException, Query
from fastapi.responses import Response

from concept_icd.desk.answers import ERRORS, TheDesk, answer
from concept_icd.desk.desk import Desk
from concept_icd.errors import InputError
from concept_icd.ontology.tree import Node

router = APIRouter(responses={**ERRORS, 404: {"description": "No such code; names the nearest."}}, tags=["codes"])

Words = Annotated[str, Query(min_length=1, max_length=200, description="Words, or the beginning of a code.")]
OneKind = Annotated[Literal["diagnosis", "procedure"] | None, Query()]
#: Titles that are looked at when only some of what is found is wanted.
LOOKED_AT = 400


@router.get("/v1/codes")
def search(
    desk: TheDesk,
    q: Words,
    kind: OneKind = None,
    billable: Annotated[bool | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> Response:
    """Codes by the words of their titles or by their beginning, best first.

    `notice` says so where no word of two letters or more was found in any title.
    """
    found = desk.ontology.search(q, limit if (kind, billable) == (None, None) else LOOKED_AT)
    nodes = [node for node, _ in found if kind in (None, node.kind) and billable in (None, node.billable)]
    path = desk.ontology.path
    codes = [{**_about(desk, node), "path": path(node.code)} for node in nodes[:limit]]
    return answer({"codes": codes, "notice": desk.ontology.search_notice(q)})


@router.get("/v1/codes/{code}")
def show(desk: TheDesk, code: str, kind: OneKind = None) -> Response:
    """A code with its path, the codes below it, and what there is to say about it."""
    ontology = desk.ontology
    try:
        node = ontology.node(ontology.parse(code[:40], kind))
    except InputError as error:
        raise HTTPException(404, str(error)) from error
    nodes = [ontology.node(step) for step in ontology.path(node.code)]
    children = [ontology.node(child) for child in ontology.children(node.code)]
    return answer(
        {
            **_about(desk, node),
            "path": [{"code": step.code, "title": step.title, "level": step.level} for step in nodes],
            "children": [
                {"code": child.code, "title": child.title, "level": child.level, "billable": child.billable}
                for child in children
            ],
            "notes": _notes(desk, node, len(children)),
        }
    )


def _about(desk: Desk, node: Node) -> dict[str, Any]:
    return node.to_dict() | {"known_to_coder": node.code in desk.known_codes}


def _notes(desk: Desk, node: Node, children: int) -> list[str]:
    notes = []
    if not node.billable:
        notes.append(f"Not billable: {children} codes stand below it.")
    if same := desk.ontology.namesakes(node.code):
        notes.append(f"Other codes have the same title: {', '.join(same)}.")
    if node.billable and node.code not in desk.known_codes:
        notes.append("This coder never suggests it: it was not among the codes of its training notes.")
    return notes
