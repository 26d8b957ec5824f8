"""`concept-icd serve` in a process of its own, and requests to it over loopback."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import uvicorn
from starlette.types import ASGIApp

from concept_icd.coder.coder import ConceptCoder
from concept_icd.desk.app import make_app
from concept_icd.desk.desk import Desk
from concept_icd.desk.record.store import Record
from concept_icd.desk.server import TimeoutProtocol
from concept_icd.desk.settings import Limits, Settings
from concept_icd.desk.worklist import read_worklist

#: Notes of the worklist; texts of which the small coder suggests something.
NOTES = 24


def write_notes(path: Path, count: int = NOTES) -> Path:
    """A worklist of notes with ids n0, n1, ..."""
    who = {"patient_id": "p", "age": 0, "sex": "female"}  # a newborn girl
    lines = [
        {"note_id": f"n{number}", "text": f"Cough and fever, visit {number}. Chest normal.\nNo asthma. 😀 Line placed."}
        | who
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


class Person:
    """Somebody at the desk: decides on a note with the version they saw last."""

    def __init__(self, client: httpx.Client, name: str, note_id: str) -> None:
        self.client, self.name = client, name
        self.headers = {"X-Coder": quote(name)}
        listed = client.get("/v1/notes", headers=self.headers).json()["notes"]
        self.key = next(note["key"] for note in listed if note["note_id"] == note_id)
        self.url = f"/v1/notes/{self.key}"
        self.version = 0
        self.suggestions: list[dict[str, Any]] = []

    def open(self) -> dict[str, Any]:
        answered = self.client.post(f"{self.url}/open", json={}, headers=self.headers)
        assert answered.status_code == 200, answered.text
        body: dict[str, Any] = answered.json()
        self.version, self.suggestions = body["review"]["version"], body["suggestions"]["codes"]
        return body

    def decide(self, action: str, code: str | None = None, **more: Any) -> httpx.Response:
        body = {"version": self.version, "action": action, **({"code": code} if code else {}), **more}
        answered = self.client.post(f"{self.url}/decisions", json=body, headers=self.headers)
        if answered.status_code == 200:
            self.version = answered.json()["version"]
        return answered

    def does(self, action: str, code: str | None = None, **more: Any) -> dict[str, Any]:
        """A decision that must be recorded."""
        answered = self.decide(action, code, **more)
        assert answered.status_code == 200, answered.text
        state: dict[str, Any] = answered.json()
        return state

    def review(self) -> dict[str, Any]:
        state: dict[str, Any] = self.client.get(f"{self.url}/review", headers=self.headers).json()
        return state


class Service:
    """A running server."""

    def __init__(self, process: subprocess.Popen[bytes], url: str, log: Path, token: str | None = None) -> None:
        self.process, self.url, self.log = process, url, log
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(base_url=url, timeout=90, headers=headers, trust_env=False)

    def person(self, name: str, note_id: str) -> Person:
        return Person(self.client, name, note_id)

    def wait_until_ready(self) -> None:
        while self.client.get("/healthz").status_code != 200:
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.5)


@contextmanager
def started(
    coder: Path,
    folder: Path,
    *options: str,
    record: str | None = None,
    token: str | None = None,
    environment: Mapping[str, str] | None = None,
    ready: bool = True,
) -> Iterator[Service]:
    """A server on a free port; stopped, if it still runs, when the block ends."""
    notes = folder / "notes.jsonl"
    if not notes.exists():
        write_notes(notes)
    record = record or f"sqlite:///{folder}/record.sqlite"
    command: Sequence[str] = [
        *(sys.executable, "-m", "concept_icd.cli.main", "serve", "--coder", str(coder)),
        *("--notes", str(notes), "--record", record, "--port", "0", *options),
    ]
    own = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        **({"CONCEPT_ICD_TOKEN": token} if token else {}),
        **(environment or {}),
    }
    log = folder / "log"
    with log.open("ab") as file:
        begin = file.tell()
        process = subprocess.Popen(command, stdout=file, stderr=file, env=own)
        try:
            service = Service(process, _url(process, log, begin), log, token)
            if ready:
                service.wait_until_ready()
            with closing(service.client):
                yield service
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait(timeout=60)


@contextmanager
def listening(app: ASGIApp, **options: Any) -> Iterator[httpx.Client]:
    """An application behind the server's own protocol, in a thread of this process."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, http=TimeoutProtocol, log_config=None, **options)
    server = uvicorn.Server(config)
    bound = config.bind_socket()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])), daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with httpx.Client(base_url=url, timeout=90, trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def desk_here(
    coder: Path, folder: Path, record: str | None = None, **limits: Any
) -> Iterator[tuple[httpx.Client, Desk]]:
    """A desk in this process, with limits of the test's own; ready to code."""
    settings = Settings(limits=Limits(**limits))
    worklist = read_worklist(write_notes(folder / "notes.jsonl", 4), None, settings.limits.note_characters)
    url = record or f"sqlite:///{folder}/record.sqlite"
    opened = Record.open(url, settings.limits.record_seconds)
    desk = Desk(ConceptCoder.from_pretrained(coder), opened, worklist, settings)
    with listening(make_app(desk)) as client:
        while desk.queue.failure is None:
            time.sleep(0.05)
        yield client, desk


def _url(process: subprocess.Popen[bytes], log: Path, begin: int) -> str:
    while True:
        said = log.read_bytes()[begin:].decode()
        if found := re.search(r"http://(\S+):(\d+)/", said):
            return f"http://127.0.0.1:{found[2]}"
        assert process.poll() is None, said
        time.sleep(0.05)
