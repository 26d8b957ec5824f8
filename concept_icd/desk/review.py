"""A review of a note: what its events come to, and the events that carry out a decision, or one sentence why not.

It knows nothing of the database.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from concept_icd.desk.record.events import Conflict, Event, NewEvent
from concept_icd.errors import InputError
from concept_icd.ontology.tree import Ontology
from concept_icd.records import OneLine

#: What "undo" can take back; a submitted review is reopened instead.
UNDOABLE = ("accept", "reject", "add", "remove", "reorder")


@dataclass(frozen=True, repr=False)
class Suggestion(OneLine):
    """A code as it was suggested; `reached` the coder's threshold."""

    code: str
    kind: str
    rank: int
    probability: float
    reached: bool


@dataclass(frozen=True, repr=False)
class Decided(OneLine):
    """A code that a person accepted, added or rejected."""

    code: str
    kind: str
    origin: str
    by: str
    at: str
    reason: str | None = None


@dataclass(repr=False)
class Review(OneLine):
    """What the events of a review come to.

    Attributes:
        version: number of events that changed it. suggestions: by code, as last suggested.
        accepted: "diagnosis" and "procedure" -> codes in sequence. rejected: by code.
        submitted: the event that closed it, while it is closed. last: the newest decision.
        versions: of what suggested the codes.
    """

    key: str
    note_id: str
    version: int = 0
    suggestions: dict[str, Suggestion] = field(default_factory=dict)
    accepted: dict[str, list[Decided]] = field(default_factory=lambda: {"diagnosis": [], "procedure": []})
    rejected: dict[str, Decided] = field(default_factory=dict)
    submitted: Event | None = None
    last: Event | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    undoable: list[Event] = field(default_factory=list)

    @property
    def status(self) -> str:
        """ "new", "open" or "submitted"."""
        if self.submitted:
            return "submitted"
        return "open" if self.last else "new"

    @property
    def undecided(self) -> list[str]:
        """Suggestions that reached the threshold and are neither accepted nor rejected, by rank."""
        decided = self.accepted_codes | self.rejected.keys()
        return [s.code for s in self.suggestions.values() if s.reached and s.code not in decided]

    @property
    def accepted_codes(self) -> set[str]:
        """The accepted diagnoses and procedures."""
        return {decided.code for listed in self.accepted.values() for decided in listed}

    def to_undo(self, person: str | None) -> Event | None:
        """What this person's "undo" would take back: their last decision that still counts."""
        own = [event for event in self.undoable if event.by == person]
        return own[-1] if own else None


class History:
    """The events of one review, oldest first, and what follows from them."""

    def __init__(self, key: str, note_id: str, events: Sequence[Event]) -> None:
        self.key, self.note_id, self.events = key, note_id, events

    @cached_property
    def undone(self) -> set[int]:
        """Versions of the events that were taken back."""
        return {event.detail["undoes"] for event in self.events if event.action == "undo"}

    @cached_property
    def review(self) -> Review:
        """What the events come to."""
        review = Review(self.key, self.note_id)
        for event in self.events:
            if event.version is None:
                continue
            review.version = event.version
            if event.action != "suggest":
                review.last = event
            if event.version not in self.undone:
                _apply(review, event)
        return review


def _apply(review: Review, event: Event) -> None:
    """An event that was not taken back. What it rests on may have been, so nothing is taken for granted."""
    if event.action in UNDOABLE:
        review.undoable.append(event)
    code = event.code or ""
    match event.action:
        case "suggest":
            review.suggestions = {item["code"]: Suggestion(**item) for item in event.detail["codes"]}
            review.versions = event.versions
        case "accept" | "add":
            review.rejected.pop(code, None)
            if code not in review.accepted_codes:
                origin = "suggested" if event.action == "accept" else "added"
                kind = event.detail["kind"]
                review.accepted[kind].append(Decided(code, kind, origin, event.by, event.at))
        case "reject":
            _leave_lists(review, code)
            kind, reason = event.detail["kind"], event.detail.get("reason")
            review.rejected[code] = Decided(code, kind, "suggested", event.by, event.at, reason)
        case "remove":
            _leave_lists(review, code)
            review.rejected.pop(code, None)
        case "reorder":
            place = {listed: number for number, listed in enumerate(event.detail["order"])}
            review.accepted[event.detail["kind"]].sort(key=lambda decided: place.get(decided.code, len(place)))
        case "submit":
            review.submitted = event
            review.undoable.clear()
        case "reopen":
            review.submitted = None


def _leave_lists(review: Review, code: str) -> None:
    for kind, listed in review.accepted.items():
        review.accepted[kind] = [decided for decided in listed if decided.code != code]


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
