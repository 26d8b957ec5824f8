"""What the service tells of itself and of the work: no note text, no search words.

`Telemetry` keeps Prometheus metrics and writes one JSON line a request. `measures_of` reads from the record what coders
kept, missed and cleared away, and how long it took: counted are submitted reviews, each for the person who submitted
it, and of their suggestions those that reached the threshold, since the others were hidden.
"""

from __future__ import annotations

import collections
import json
import logging
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, pairwise
from statistics import median
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from concept_icd.desk.record.events import Event, now, seconds_between
from concept_icd.desk.review import History, Review

LOG = logging.getLogger("concept_icd.desk")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Telemetry:
    """Metrics and the log of requests; each desk has a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "concept_icd_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "concept_icd_request_seconds", "Seconds of a request.", ["route"], buckets=SECONDS, registry=self.registry
        )
        self._notes = Counter("concept_icd_notes_scored", "Notes scored.", registry=self.registry)
        self._scoring = Counter("concept_icd_scoring_seconds", "Seconds spent on scoring.", registry=self.registry)
        self._batches = Histogram(
            "concept_icd_batch_notes",
            "Notes scored together.",
            buckets=(1, 2, 4, 8, 16, 32, 64),
            registry=self.registry,
        )
        self._decisions = Counter("concept_icd_decisions", "Decisions recorded.", ["action"], registry=self.registry)

    def watch_queue(self, waiting: Callable[[], int]) -> None:
        """Shows how many notes wait."""
        gauge = Gauge("concept_icd_queue_notes", "Notes that wait for the scorer.", registry=self.registry)
        gauge.set_function(waiting)

    def scored(self, notes: int, seconds: float) -> None:
        """Counts a batch."""
        self._notes.inc(notes)
        self._scoring.inc(seconds)
        self._batches.observe(notes)

    def decided(self, action: str) -> None:
        """Counts an event that reached the record."""
        self._decisions.labels(action).inc()

    def answered(self, route: str, method: str, status: int, seconds: float, request_id: str) -> None:
        """Counts and logs a request; `route` is the template of its path, which holds nothing of what was asked."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        line = {"at": now(), "id": request_id, "method": method, "route": route, "status": status}
        LOG.info(json.dumps({**line, "ms": round(seconds * 1000, 1)}))

    def failed(self, error: BaseException, request_id: str) -> None:
        """Logs a bug: its type and where it happened. Its message might hold text of a note, and is left out."""
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
        LOG.error(json.dumps({"at": now(), "id": request_id, "error": type(error).__name__, "where": where}))

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def log_to_stderr() -> None:
    """Sends the log to stderr: lines of JSON, and warnings of the server itself."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (("concept_icd.desk", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


#: A longer silence is a break, and not counted as work.
BREAK_SECONDS = 300.0

DEFINITIONS = {
    "accepted": "Codes of the submitted list that were suggested, whether above the threshold or below it.",
    "added": "Codes of the submitted list that the coder found by search: what the suggestions missed.",
    "removed": "Codes suggested above the threshold that are not in the submitted list: what had to be cleared away.",
    "recall": "accepted / (accepted + added).",
    "precision": "Suggested codes above the threshold that were kept / all of those.",
    "unchanged": "Notes whose submitted codes are exactly the suggested ones; misleading by itself.",
    "minutes_per_note": "From opening to submitting; a silence of five minutes or more is a break, and not counted.",
    "principal_changed": "Notes whose first suggested diagnosis is not the submitted principal diagnosis.",
    "read_in_vain": "Suggestions that stood above an accepted one and were not accepted.",
    "pairs_out_of_order": "Pairs of accepted suggestions of a kind that were submitted in the reverse of their ranks.",
}


def measures_of(events: Iterable[Event], title: Callable[[str], str]) -> dict[str, Any]:
    """The measures of all reviews in the record, as JSON."""
    by_review: dict[str, list[Event]] = collections.defaultdict(list)
    for event in events:
        if event.action not in ("card", "feedback"):
            by_review[event.review].append(event)
    histories = [History(key, own[0].note_id, own) for key, own in by_review.items()]
    submitted = [(history, history.review) for history in histories if history.review.submitted]
    coders: dict[str, list[tuple[History, Review]]] = collections.defaultdict(list)
    for history, review in submitted:
        assert review.submitted is not None
        coders[review.submitted.by].append((history, review))
    return {
        "notes": len(histories),
        "submitted": len(submitted),
        "minutes_per_note": _minutes([history for history, _ in submitted]),
        "coders": [{"name": name, **_of_coder(own)} for name, own in sorted(coders.items())],
        "codes": _of_codes([review for _, review in submitted], title),
        "rank_errors": rank_errors([review for _, review in submitted]),
        "definitions": DEFINITIONS,
    }


def _of_coder(own: Sequence[tuple[History, Review]]) -> dict[str, Any]:
    accepted = added = removed = kept = unchanged = 0
    for _, review in own:
        reached = {code for code, s in review.suggestions.items() if s.reached}
        final, by_hand = review.accepted_codes, _added(review)
        accepted, added = accepted + len(final - by_hand), added + len(by_hand)
        removed, kept = removed + len(reached - final), kept + len(reached & final)
        unchanged += final == reached
    return {
        "submitted": len(own),
        "accepted": accepted,
        "added": added,
        "removed": removed,
        "recall": accepted / (accepted + added) if accepted + added else None,
        "precision": kept / (kept + removed) if kept + removed else None,
        "unchanged": unchanged,
        "minutes_per_note": _minutes([history for history, _ in own]),
    }


def _of_codes(reviews: Sequence[Review], title: Callable[[str], str]) -> list[dict[str, Any]]:
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    kinds: dict[str, str] = {}
    for review in reviews:
        by_hand = _added(review)
        for listed in review.accepted.values():
            for decided in listed:
                kinds[decided.code] = decided.kind
                counts[decided.code]["added" if decided.code in by_hand else "accepted"] += 1
        for code, suggestion in review.suggestions.items():
            if suggestion.reached:
                kinds[code] = suggestion.kind
                counts[code]["suggested"] += 1
                counts[code]["removed"] += code not in review.accepted_codes
    rows = [
        {
            "code": code,
            "title": title(code),
            "kind": kinds[code],
            **{name: count[name] for name in ("suggested", "accepted", "added", "removed")},
        }
        for code, count in counts.items()
    ]
    return sorted(rows, key=lambda row: (-row["suggested"] - row["added"], row["code"]))


def rank_errors(reviews: Sequence[Review]) -> dict[str, int]:
    """What the order of the suggestions cost; see `DEFINITIONS`."""
    changed = in_vain = reversed_pairs = pairs = 0
    for review in reviews:
        diagnoses = [s for s in review.suggestions.values() if s.kind == "diagnosis"]
        principal = next((decided.code for decided in review.accepted["diagnosis"]), None)
        changed += bool(diagnoses) and principal != min(diagnoses, key=lambda s: s.rank).code
        final = review.accepted_codes
        ranks = [s.rank for s in review.suggestions.values() if s.code in final]
        in_vain += sum(s.rank < max(ranks, default=0) and s.code not in final for s in review.suggestions.values())
        for listed in review.accepted.values():
            order = [review.suggestions[d.code].rank for d in listed if d.code in review.suggestions]
            pairs += len(order) * (len(order) - 1) // 2
            reversed_pairs += sum(first > second for first, second in combinations(order, 2))
    return {
        "n": len(reviews),
        "principal_changed": changed,
        "read_in_vain": in_vain,
        "pairs_out_of_order": reversed_pairs,
        "pairs": pairs,
    }


def _added(review: Review) -> set[str]:
    return {d.code for listed in review.accepted.values() for d in listed if d.origin == "added"}


def _minutes(histories: Sequence[History]) -> dict[str, float | int | None]:
    minutes = [minutes_of(history.events) for history in histories]
    return {"median": round(median(minutes), 2) if minutes else None, "n": len(minutes)}


def minutes_of(events: Sequence[Event]) -> float:
    """Minutes of work on a note up to its last submission: the time between its events, without breaks."""
    last = max(number for number, event in enumerate(events) if event.action == "submit")
    worked = events[: last + 1]
    gaps = [seconds_between(a.at, b.at) for a, b in pairwise(worked)]
    return sum(gap for gap in gaps if gap < BREAK_SECONDS) / 60
