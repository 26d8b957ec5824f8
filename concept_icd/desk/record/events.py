"""One event of the record. Events that change a review are numbered 1, 2, ... within it; opening a note is not."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: What a person decides, and what is noted beside it.
DecisionAction = Literal["accept", "reject", "add", "remove", "reorder", "undo", "submit", "reopen"]
Action = DecisionAction | Literal["open", "suggest", "card", "feedback"]


@dataclass(frozen=True)
class NewEvent:
    """What is to be added.

    Attributes:
        code: that it is about, where it is about one.
        detail: what else there is to say: the suggestions, an order, a reason; JSON.
    """

    action: Action
    code: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Event:
    """What the record holds.

    Attributes:
        number: grows over all events. review: the note's key, or that of a card or a feedback.
        version: its place among the events that change the review; None for "open".
        by: who. at: UTC, "2026-11-21T17:03:11.123Z". versions: of what suggested the codes.
    """

    number: int
    review: str
    note_id: str
    version: int | None
    action: Action
    code: str | None
    detail: Mapping[str, Any]
    by: str
    at: str
    versions: Mapping[str, str]


class Conflict(Exception):
    """The review has moved on since the version that the writer saw; nothing was written."""


def now() -> str:
    """UTC to the millisecond, in a form that sorts."""
    moment = datetime.datetime.now(datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def seconds_between(earlier: str, later: str) -> float:
    """Seconds from one moment of the record to another; 0 where the clock was set back in between.

    >>> seconds_between("2026-11-21T17:03:11.500Z", "2026-11-21T17:03:13.000Z")
    1.5
    """
    moments = [datetime.datetime.fromisoformat(moment) for moment in (earlier, later)]
    return max(0.0, (moments[1] - moments[0]).total_seconds())
