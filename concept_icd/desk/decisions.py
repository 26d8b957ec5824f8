"""From what a person asks for to the events that say it, or one sentence why not. It reads reviews, and writes none."""

from __future__ import annotations

from collections.abc import Sequence

from concept_icd.desk.record.events import Conflict, NewEvent
from concept_icd.desk.review import Review
from concept_icd.errors import InputError
from concept_icd.ontology import Ontology


class Refused(Exception):
    """A decision that cannot be made of this review, in one sentence."""


def events_of(
    review: Review,
    ontology: Ontology,
    action: str,
    *,
    person: str,
    code: str | None = None,
    kind: str | None = None,
    order: Sequence[str] | None = None,
    reason: str | None = None,
    reject_undecided: bool = False,
    nothing_to_code: bool = False,
) -> list[NewEvent]:
    """The events that carry out a decision.

    Raises:
        Refused: it cannot be made. Conflict: nobody has opened the review, or it is submitted.
    """
    if review.version == 0 or (review.submitted is not None) != (action == "reopen"):
        if action == "reopen" and review.version:
            raise Refused("the review is open: only a submitted one can be reopened")
        raise Conflict
    match action:
        case "accept" | "reject" | "add" | "remove":
            if code is None:
                raise Refused(f"{action} needs a code")
            return [_about_code(review, ontology, action, code, reason)]
        case "reorder":
            return [_reorder(review, kind, order)]
        case "undo":
            undone = review.to_undo(person)
            if undone is None:
                raise Refused("there is no decision of yours to take back")
            return [NewEvent("undo", undone.code, {"undoes": undone.version, "action": undone.action})]
        case "submit":
            return _submit(review, reject_undecided, nothing_to_code)
        case "reopen":
            return [NewEvent("reopen")]
    raise Refused(f"there is no action {action!r}")


def _about_code(review: Review, ontology: Ontology, action: str, code: str, reason: str | None) -> NewEvent:
    suggested = review.suggestions.get(code)
    if action == "remove":
        if code not in review.accepted_codes and code not in review.rejected:
            raise Refused(f"{code} is neither accepted nor rejected")
        return NewEvent("remove", code)
    if action in ("accept", "add") and code in review.accepted_codes:
        raise Refused(f"{code} is accepted already")
    if action == "add" and (suggested is None or not suggested.reached):
        try:
            node = ontology.node(code)
        except InputError as error:
            raise Refused(str(error)) from error
        if not node.billable:
            raise Refused(f"{code} is not billable: it has codes below it")
        return NewEvent("add", code, {"kind": node.kind, "rank": suggested.rank if suggested else None})
    if suggested is None:
        raise Refused(f"{code} was not suggested for this note: add it instead")
    if action == "reject" and code in review.rejected:
        raise Refused(f"{code} is rejected already")
    detail = {"kind": suggested.kind, "rank": suggested.rank}
    if action == "reject":
        return NewEvent("reject", code, {**detail, "reason": reason} if reason else detail)
    return NewEvent("accept", code, detail)  # what was suggested is accepted, however it was found


def _reorder(review: Review, kind: str | None, order: Sequence[str] | None) -> NewEvent:
    if kind not in review.accepted or order is None:
        raise Refused("reorder needs a kind (diagnosis or procedure) and an order")
    listed = [decided.code for decided in review.accepted[kind]]
    if sorted(order) != sorted(listed):
        raise Refused(f"the order must have each accepted {kind} once: {', '.join(listed) or 'there is none'}")
    return NewEvent("reorder", None, {"kind": kind, "order": list(order)})


def _submit(review: Review, reject_undecided: bool, nothing_to_code: bool) -> list[NewEvent]:
    undecided = review.undecided
    if undecided and not reject_undecided:
        raise Refused(f"{len(undecided)} suggestions are neither accepted nor rejected: {', '.join(undecided[:10])}")
    if not review.accepted_codes and not nothing_to_code:
        raise Refused("no code is accepted; say nothing_to_code if that is so")
    rejected = [
        NewEvent("reject", code, {"kind": s.kind, "rank": s.rank, "reason": "undecided when submitted"})
        for code in undecided
        for s in [review.suggestions[code]]
    ]
    codes = {kind: [decided.code for decided in listed] for kind, listed in review.accepted.items()}
    return [*rejected, NewEvent("submit", None, codes)]
