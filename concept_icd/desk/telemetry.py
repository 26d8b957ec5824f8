"""What the service says of itself: Prometheus metrics, and one JSON line a request. No note text, no search words."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from concept_icd.desk.record.events import now

LOG = logging.getLogger("concept_icd.desk")
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Telemetry:
    """See the module. Each desk has a registry of its own."""

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
        """A batch."""
        self._notes.inc(notes)
        self._scoring.inc(seconds)
        self._batches.observe(notes)

    def decided(self, action: str) -> None:
        """An event that reached the record."""
        self._decisions.labels(action).inc()

    def answered(self, route: str, method: str, status: int, seconds: float, request_id: str) -> None:
        """A request; `route` is the template of its path, which holds nothing of what was asked."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)
        line = {"at": now(), "id": request_id, "method": method, "route": route, "status": status}
        LOG.info(json.dumps({**line, "ms": round(seconds * 1000, 1)}))

    def failed(self, error: BaseException, request_id: str) -> None:
        """A bug: its type and where it happened. Its message might hold text of a note, and is left out."""
        frames = traceback.extract_tb(error.__traceback__)[-8:]
        where = [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
        LOG.error(json.dumps({"at": now(), "id": request_id, "error": type(error).__name__, "where": where}))

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def log_to_stderr() -> None:
    """Lines of JSON, and what the server itself has to say beside them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for name, level in (("concept_icd.desk", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
