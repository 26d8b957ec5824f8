"""The desk: what the parts of the service share. It knows nothing of HTTP."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from concept_icd.coder.coder import ConceptCoder
from concept_icd.desk.queue import Answers, ScoringQueue
from concept_icd.desk.record.events import Conflict, Event, NewEvent
from concept_icd.desk.record.store import Record
from concept_icd.desk.review import History, Review, Suggestion
from concept_icd.desk.settings import Settings
from concept_icd.desk.telemetry import Telemetry
from concept_icd.desk.worklist import Viewers, Worklist
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import CodingResult, Note, RankedCode

#: Suggestions that are listed at least; those that reached the threshold always are.
LISTED = 50
#: Results that are kept, so that a note is not scored at every look.
KEPT = 256
T = TypeVar("T")


class Desk:
    """See the module."""

    def __init__(self, coder: ConceptCoder, record: Record, worklist: Worklist, settings: Settings) -> None:
        self.coder, self.record, self.worklist, self.settings = coder, record, worklist, settings
        self.ontology = load_ontology(coder.classification)
        self.known_codes = frozenset(coder.concepts.codes)
        self.telemetry = Telemetry()
        self.viewers = Viewers()
        self.queue = ScoringQueue(
            coder,
            settings.limits.queue_notes,
            micro_batching=settings.micro_batching,
            observe=self.telemetry.scored,
        )
        self.telemetry.watch_queue(lambda: self.queue.waiting)
        # What asks the record waits in threads of its own, and the health check in one: a database that stands still
        # takes none of those that everything else runs in.
        self.record_threads = ThreadPoolExecutor(16, "record")
        self.health_thread = ThreadPoolExecutor(1, "health")
        self.results: LruCache[CodingResult] = LruCache(KEPT)
        self._evidence: LruCache[Answers[CodingResult]] = LruCache(KEPT)
        self._reviews: dict[str, tuple[int, Review]] = {}

    def close(self) -> None:
        """Lets what is being scored end, and gives the record's connections back."""
        self.queue.close()
        for threads in (self.record_threads, self.health_thread):
            threads.shutdown(wait=False, cancel_futures=True)
        self.record.close()

    # Reviews ------------------------------------------------------------------------------------------------------

    def history(self, key: str, note_id: str) -> History:
        """The events of a note's review, as the record has them now."""
        return History(key, note_id, self.record.events(key))

    def reviews(self) -> dict[str, Review]:
        """The reviews of the worklist's notes; only those that changed are read again."""
        versions = self.record.versions()
        for key, note in self.worklist:
            version = versions.get(key, 0)
            if key not in self._reviews or self._reviews[key][0] != version:
                review = self.history(key, note.note_id).review if version else Review(key, note.note_id)
                self._reviews[key] = (version, review)
        return {key: self._reviews[key][1] for key, _ in self.worklist}

    def opened(self, key: str, note_id: str, result: CodingResult, person: str) -> None:
        """Records that somebody looks at the note, and what was suggested where that is new."""
        self.write(key, note_id, None, [NewEvent("open")], person, result.versions)
        suggested = NewEvent("suggest", None, {"codes": [_suggestion(code) for code in listed(result)]})
        for _ in range(3):  # somebody else may open it at the same time
            review = self.history(key, note_id).review
            if review.submitted or dict(review.versions) == dict(result.versions):
                return
            try:
                self.write(key, note_id, review.version, [suggested], person, result.versions)
            except Conflict:
                continue
            return

    def write(
        self,
        key: str,
        note_id: str,
        seen: int | None,
        events: Sequence[NewEvent],
        person: str,
        versions: Mapping[str, str] | None = None,
    ) -> None:
        """Adds events to the record; raises `Conflict` as `Record.append` does."""
        self.record.append(
            key, note_id, seen, events, by=person, versions=self.coder.versions if versions is None else versions
        )
        for event in events:
            self.telemetry.decided(event.action)

    def evidence_of(self, key: str, note: Note, result: CodingResult, client: str) -> Answers[CodingResult]:
        """The result with its evidence, found once for all who ask; raises as `BatchQueue.add` does."""
        found = self._evidence.get(key)
        if found is None or found.given_up or (found.done() and found.exception()):
            found = self.queue.find_evidence(note, result, client)
            self._evidence.put(key, found)
        return found

    # What the page shows ------------------------------------------------------------------------------------------

    def review_record(self, review: Review, person: str | None) -> dict[str, Any]:
        """A review as JSON, as this person sees it."""
        undo, submitted = review.to_undo(person), review.submitted
        ranks = {code: suggestion.rank for code, suggestion in review.suggestions.items()}

        def about(code: str) -> dict[str, Any]:
            return {"code": code, "title": self.title(code), "rank": ranks.get(code)}

        lists = {
            plural: [
                {
                    **about(decided.code),
                    "kind": kind,
                    "sequence": number,
                    "principal": kind == "diagnosis" and number == 1,
                    "origin": decided.origin,
                    "by": decided.by,
                    "at": decided.at,
                }
                for number, decided in enumerate(review.accepted[kind], 1)
            ]
            for kind, plural in (("diagnosis", "diagnoses"), ("procedure", "procedures"))
        }
        return {
            "key": review.key,
            "note_id": review.note_id,
            "status": review.status,
            "version": review.version,
            **lists,
            "rejected": [
                {**about(code), "kind": decided.kind, "reason": decided.reason, "by": decided.by, "at": decided.at}
                for code, decided in review.rejected.items()
            ],
            "undecided": [] if submitted else review.undecided,
            "undo": None if undo is None else {"version": undo.version, "action": undo.action, "code": undo.code},
            "submitted": None if submitted is None else {"by": submitted.by, "at": submitted.at},
            "last": None if review.last is None else said(review.last),
            "here": self.viewers.others(review.key, person),
        }

    def title(self, code: str) -> str:
        """The title of a code; of a label that the tables lack, that of the nearest code above it."""
        return self.ontology.resolve(self.coder.concepts.meaning(code) if code in self.known_codes else code).title


class LruCache(Generic[T]):
    """The values that were last asked for, by key, at most so many; for several threads."""

    def __init__(self, room: int) -> None:
        self._room, self._values, self._lock = room, OrderedDict[str, T](), threading.Lock()

    def get(self, key: str) -> T | None:
        """The value, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: str, value: T) -> None:
        """Keeps the value; the one that was not asked for longest goes."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while len(self._values) > self._room:
                self._values.popitem(last=False)


def said(event: Event) -> dict[str, Any]:
    """An event as JSON: who did what, and when."""
    return {"by": event.by, "at": event.at, "action": event.action, "code": event.code}


def listed(result: CodingResult) -> list[RankedCode]:
    """What is suggested: the codes that reached the threshold, and the first `LISTED`."""
    return [code for code in result.codes if code.accepted or code.rank <= LISTED]


def _suggestion(code: RankedCode) -> dict[str, Any]:
    """A suggestion as the record keeps it."""
    return vars(Suggestion(code.code, code.kind, code.rank, round(code.probability, 6), code.accepted))
