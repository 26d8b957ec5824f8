"""A desk whose record's database stands still, or whose evidence takes long: everything else goes on."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from concept_icd.desk.desk import Desk
from tests.desk.postgresql import empty_database, standing_still
from tests.desk.service import Person, desk_here
from tests.fitted_coder import make_notes

pytestmark = pytest.mark.slow

#: More than there are threads for the record, and than FastAPI has for everything else.
MANY = 50
LONG = "".join(f"Cough and fever {number}. No pneumonia, asthma {number}.\n" for number in range(60))


def test_a_postgresql_that_stands_still(coder_folder: Path, postgresql: str, tmp_path: Path) -> None:
    record = empty_database(postgresql)
    with desk_here(coder_folder, tmp_path, record, record_seconds=2.0) as (client, _):
        anna = Person(client, "anna", "n0")
        anna.open()
        assert client.get("/healthz").status_code == 200
        with standing_still(postgresql), ThreadPoolExecutor(MANY) as threads:
            asking = [threads.submit(lambda: httpx.get(f"{client.base_url}/v1/notes", timeout=90)) for _ in range(MANY)]
            assert client.get("/healthz").status_code == 503
            assert client.get("/").status_code == 200
            assert client.post("/v1/code?top=1", json={"text": "cough"}).status_code == 200
            refused = anna.decide("add", "428.0")
            assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
            assert {asked.result().status_code for asked in asking} == {503}
        anna.does("add", "428.0")  # what was answered 503 is not recorded afterwards
        assert client.get("/healthz").status_code == 200


def test_a_locked_sqlite(coder_folder: Path, tmp_path: Path) -> None:
    with desk_here(coder_folder, tmp_path, record_seconds=0.5) as (client, _):
        anna = Person(client, "anna", "n0")
        anna.open()
        other = sqlite3.connect(tmp_path / "record.sqlite", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        health = client.get("/healthz")
        assert (health.status_code, health.json()["coder"]) == (503, "ok")
        assert anna.decide("add", "428.0").status_code == 503
        other.execute("ROLLBACK")
        other.close()
        anna.does("add", "428.0")
        assert client.get("/healthz").status_code == 200


def test_health_on_a_full_disk(coder_folder: Path, tmp_path: Path, small_disk: Path) -> None:
    with desk_here(coder_folder, tmp_path, f"sqlite:///{small_disk}/record.sqlite") as (client, _):
        anna = Person(client, "anna", "n0")
        anna.open()
        assert client.get("/healthz").status_code == 200
        with contextlib.suppress(OSError), (small_disk / "fill").open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        while (decided := anna.decide("remove" if anna.review()["diagnoses"] else "add", "428.0")).status_code == 200:
            pass
        assert decided.status_code == 503
        assert client.get("/healthz").status_code == 503
        (small_disk / "fill").unlink()
        assert client.get("/healthz").status_code == 200


def test_one_limit_for_a_list_and_its_evidence(coder_folder: Path, tmp_path: Path) -> None:
    notes = [{"text": f"{LONG} {number}"} for number in range(64)]
    with desk_here(coder_folder, tmp_path, seconds=2.0) as (client, desk):
        client.post("/v1/code", json={"text": "cough"})
        answered = client.post("/v1/code?top=1&evidence=true", json=notes)
        assert (answered.status_code, "Not scored within 2 s" in answered.text) == (504, True)
        wait_until_idle(desk)
        note = make_notes(1, 7, "x")[0]
        (result,) = desk.queue.code([note]).result(90)
        assert desk.queue.find_evidence(note, result).result(90)


def test_evidence_ends_with_the_client(coder_folder: Path, tmp_path: Path) -> None:
    body = json.dumps([{"text": f"{LONG} {number}"} for number in range(64)]).encode()
    head = f"POST /v1/code?top=1&evidence=true HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with desk_here(coder_folder, tmp_path) as (client, desk):
        line = desk.queue._evidence
        address = urlsplit(str(client.base_url))
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
            while not line._begun:
                time.sleep(0.01)
        wait_until_idle(desk)


def wait_until_idle(desk: Desk) -> None:
    """Until no evidence is looked for; what goes on without end would take an hour."""
    line = desk.queue._evidence
    for _ in range(6000):
        if not line.waiting and all(job.answers.done() for job in line._begun):
            return
        time.sleep(0.01)
    raise AssertionError("the work goes on")
