"""Reviews worked out by hand from their events."""

from __future__ import annotations

import datetime
from dataclasses import replace
from typing import Any

import pytest

from concept_icd.desk.record.events import Conflict, Event
from concept_icd.desk.review import History, Refused, Review, events_of
from concept_icd.desk.telemetry import measures_of, minutes_of
from concept_icd.ontology.tree import load_ontology

SUGGESTED = [
    {"code": "486", "kind": "diagnosis", "rank": 1, "probability": 0.9, "reached": True},
    {"code": "780.6", "kind": "diagnosis", "rank": 2, "probability": 0.6, "reached": True},
    {"code": "38.93", "kind": "procedure", "rank": 3, "probability": 0.5, "reached": True},
    {"code": "599.0", "kind": "diagnosis", "rank": 4, "probability": 0.1, "reached": False},
]


def happened(*what: tuple[str, str, str | None, dict[str, Any]], review: str = "r") -> list[Event]:
    """(person, action, code, detail) as events, ten seconds apart, after the suggestions."""
    events = [("desk", "suggest", None, {"codes": SUGGESTED}), *what]
    return [
        Event(n, review, "note", n, action, code, detail, by, f"2026-01-01T10:{n // 6:02d}:{n % 6 * 10:02d}.000Z", {})  # type: ignore[arg-type]
        for n, (by, action, code, detail) in enumerate(events, 1)
    ]


def fold(*what: tuple[str, str, str | None, dict[str, Any]]) -> Review:
    return History("r", "note", happened(*what)).review


DX, PX = {"kind": "diagnosis"}, {"kind": "procedure"}


def codes(review: Review) -> dict[str, list[str]]:
    return {kind: [decided.code for decided in listed] for kind, listed in review.accepted.items()}


def test_nothing_is_accepted_for_anybody() -> None:
    review = fold()
    assert codes(review) == {"diagnosis": [], "procedure": []}
    assert review.undecided == ["486", "780.6", "38.93"]
    assert review.status == "new"


def test_lists_keep_the_order_of_decisions_and_of_reordering() -> None:
    review = fold(
        ("anna", "accept", "780.6", DX),
        ("anna", "accept", "38.93", PX),
        ("anna", "add", "401.9", DX),
        ("anna", "accept", "486", DX),
        ("ben", "reorder", None, {"kind": "diagnosis", "order": ["486", "780.6", "401.9"]}),
        ("ben", "remove", "780.6", {}),
        ("ben", "reject", "780.6", {**DX, "reason": "a symptom"}),
    )
    assert codes(review) == {"diagnosis": ["486", "401.9"], "procedure": ["38.93"]}
    assert review.accepted["diagnosis"][1].origin == "added"
    assert (review.rejected["780.6"].by, review.rejected["780.6"].reason) == ("ben", "a symptom")
    assert review.undecided == []


def test_undo_takes_back_ones_own_last_decision_and_no_other() -> None:
    what = [("anna", "accept", "486", DX), ("ben", "accept", "780.6", DX), ("anna", "reject", "38.93", PX)]
    assert fold(*what).to_undo("ben").code == "780.6"  # type: ignore[union-attr]
    review = fold(*what, ("anna", "undo", "38.93", {"undoes": 4}), ("anna", "undo", "486", {"undoes": 2}))
    assert codes(review)["diagnosis"] == ["780.6"]
    assert review.undecided == ["486", "38.93"]
    assert review.to_undo("anna") is None
    assert review.version == 6


def test_an_undone_removal_returns_the_code_to_its_place() -> None:
    review = fold(
        ("anna", "accept", "486", DX),
        ("anna", "accept", "780.6", DX),
        ("anna", "remove", "486", {}),
        ("anna", "undo", "486", {"undoes": 4}),
    )
    assert codes(review)["diagnosis"] == ["486", "780.6"]


def test_what_rests_on_an_undone_decision_does_no_harm() -> None:
    review = fold(
        ("anna", "accept", "486", DX),
        ("ben", "accept", "780.6", DX),
        ("ben", "reorder", None, {"kind": "diagnosis", "order": ["780.6", "486"]}),
        ("anna", "undo", "486", {"undoes": 2}),
        ("anna", "accept", "599.0", DX),
    )
    assert codes(review)["diagnosis"] == ["780.6", "599.0"]


def ask(review: Review, action: str, **more: Any) -> list[Any]:
    return events_of(review, load_ontology(), action, person="anna", **more)


@pytest.mark.parametrize(
    ("action", "more", "said"),
    [
        ("accept", {}, "needs a code"),
        ("accept", {"code": "401.9"}, "add it instead"),
        ("accept", {"code": "486"}, "accepted already"),
        ("add", {"code": "486"}, "accepted already"),
        ("add", {"code": "428"}, "not billable"),
        ("add", {"code": "4280"}, "did you mean"),
        ("add", {"code": "'; DROP TABLE events;--"}, "not in icd9cm"),
        ("reject", {"code": "401.9"}, "not suggested"),
        ("remove", {"code": "401.9"}, "neither accepted nor rejected"),
        ("reorder", {"kind": "diagnosis", "order": ["486", "486"]}, "each accepted diagnosis once: 486"),
        ("reorder", {"kind": "diagnosis"}, "needs a kind"),
        ("submit", {}, "2 suggestions are neither accepted nor rejected: 780.6, 38.93"),
        ("reopen", {}, "only a submitted one"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(action: str, more: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        ask(fold(("anna", "accept", "486", DX)), action, **more)


def test_an_added_code_that_was_suggested_counts_as_accepted() -> None:
    (above,), (below,) = ask(fold(), "add", code="486"), ask(fold(), "add", code="599.0")
    assert (above.action, below.action, below.detail["rank"]) == ("accept", "add", 4)


def test_submitting_rejects_the_rest_where_told_so_and_closes() -> None:
    review = fold(("anna", "accept", "486", DX))
    events = ask(review, "submit", reject_undecided=True)
    assert [(event.action, event.code) for event in events] == [
        ("reject", "780.6"),
        ("reject", "38.93"),
        ("submit", None),
    ]
    assert events[-1].detail == {"diagnosis": ["486"], "procedure": []}
    closed = fold(("anna", "accept", "486", DX), ("anna", "submit", None, events[-1].detail))
    with pytest.raises(Conflict):
        ask(closed, "add", code="401.9")
    assert ask(closed, "reopen")[0].action == "reopen"
    assert closed.to_undo("anna") is None


def test_an_empty_list_must_be_meant() -> None:
    with pytest.raises(Refused, match="nothing_to_code"):
        ask(fold(), "submit", reject_undecided=True)
    assert ask(fold(), "submit", reject_undecided=True, nothing_to_code=True)[-1].action == "submit"


def test_measures_by_hand() -> None:
    first = happened(
        ("anna", "accept", "780.6", DX),
        ("anna", "accept", "486", DX),
        ("anna", "add", "401.9", DX),
        ("anna", "reject", "38.93", PX),
        ("anna", "submit", None, {}),
    )
    second = happened(("ben", "accept", "599.0", DX), ("ben", "submit", None, {}), review="s")
    third = happened(("ben", "accept", "486", DX), review="t")  # not submitted
    found = measures_of([*first, *second, *third], title=str)
    anna, ben = found["coders"]
    assert (found["notes"], found["submitted"]) == (3, 2)
    assert [anna[name] for name in ("accepted", "added", "removed")] == [2, 1, 1]
    assert (anna["recall"], anna["precision"]) == (2 / 3, 2 / 3)
    assert [ben[name] for name in ("accepted", "added", "removed", "precision")] == [1, 0, 3, 0.0]
    by_code = {row["code"]: row for row in found["codes"]}
    assert [by_code["486"][name] for name in ("suggested", "accepted", "added", "removed")] == [2, 1, 0, 1]
    assert [by_code["401.9"][name] for name in ("suggested", "accepted", "added", "removed")] == [0, 0, 1, 0]
    # anna: 780.6 before 486 is one pair reversed, the principal is not rank 1; ben reads three to get to rank 4.
    wrong = {"n": 2, "principal_changed": 2, "read_in_vain": 3, "pairs_out_of_order": 1, "pairs": 1}
    assert found["rank_errors"] == wrong
    assert anna["minutes_per_note"] == {"median": round(50 / 60, 2), "n": 1}


def test_a_break_is_not_work() -> None:
    events = happened(("anna", "accept", "486", DX), ("anna", "submit", None, {}))
    late = [events[0], events[1], Event(**{**vars(events[2]), "at": "2026-01-01T10:30:00.000Z"})]
    assert minutes_of(late) == pytest.approx(10 / 60)


@pytest.mark.parametrize("back", [3600, 1, 10])
def test_a_clock_that_is_set_back_makes_no_negative_time(back: int) -> None:
    events = happened(("anna", "accept", "486", DX), ("anna", "submit", None, {}))
    earlier = datetime.datetime.fromisoformat(events[0].at) - datetime.timedelta(seconds=back)
    moments = [earlier + datetime.timedelta(seconds=seconds) for seconds in (0, 20)]
    late = [events[0], *(replace(e, at=m.isoformat()) for e, m in zip(events[1:], moments, strict=True))]
    assert minutes_of(late) == pytest.approx(20 / 60)
    assert measures_of(late, title=str)["minutes_per_note"] == {"median": 0.33, "n": 1}
    assert History("r", "note", late).review.submitted == late[-1]  # the order is that of the events' numbers
