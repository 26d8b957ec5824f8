"""`concept-icd serve` as a process: starting, stopping, being killed, and what stops it from starting."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.desk.killing import kill_in_mid_review
from tests.desk.service import started, write_notes

TOKEN = "0123456789abcdef-secret"


@pytest.mark.slow
def test_what_was_acknowledged_outlives_a_kill(coder_folder: Path, record_url: str, tmp_path: Path) -> None:
    session, wrong = kill_in_mid_review(coder_folder, tmp_path, record_url, rounds=2, seed=0)
    assert wrong == []
    assert session.count >= 20
    assert session.unanswered > 0


@pytest.mark.slow
def test_a_served_network_asks_for_a_token_and_stops_gracefully(coder_folder: Path, tmp_path: Path) -> None:
    with started(coder_folder, tmp_path, "--host", "0.0.0.0", token=TOKEN) as service:
        assert httpx.get(f"{service.url}/v1/notes", trust_env=False).status_code == 401
        me = service.client.get("/v1/me", headers={"Host": "desk.hospital"}).json()
        assert me == {"name": None, "named_by": None, "suggested_name": None, "token_needed": True}
        answers: list[int] = []
        notes = [{"text": "cough and fever " * 8}] * 64
        sending = threading.Thread(
            target=lambda: answers.append(service.client.post("/v1/code", json=notes).status_code)
        )
        sending.start()
        while "concept_icd_queue_notes 0.0" in service.client.get("/metrics").text and not answers:
            pass
        service.process.send_signal(signal.SIGTERM)
        sending.join()
        assert answers in ([200], [503])
        assert service.process.wait(timeout=60) == -signal.SIGTERM  # uvicorn ends by the signal, when all is done
        assert TOKEN not in service.log.read_text()


def serve(*options: str, cwd: Path) -> tuple[int, str]:
    """Exit code and stderr of a server that cannot start."""
    command = [sys.executable, "-m", "concept_icd.cli.main", "serve", *options]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CONCEPT_ICD_")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "so a token is needed"),
        (["--notes", "missing.jsonl"], "cannot read missing.jsonl: no such file"),
        (["--notes", "bad.jsonl"], "bad.jsonl holds no note that can be read"),
        (["--coder", "nowhere"], "there is no coder in nowhere"),
        (["--tokens", "missing"], "cannot read missing"),
        (["--port", "70000"], "--port must be 0 to 65535"),
    ],
)
def test_what_stops_it_is_told_in_a_sentence(tmp_path: Path, options: list[str], said: str) -> None:
    (tmp_path / "bad.jsonl").write_text("{}\n")
    code, stderr = serve(*options, cwd=tmp_path)
    assert code == 2
    assert said in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_taken_port_and_a_bad_record(coder_folder: Path, tmp_path: Path) -> None:
    notes = str(write_notes(tmp_path / "notes.jsonl"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, stderr = serve("--coder", str(coder_folder), "--notes", notes, "--port", port, cwd=tmp_path)
    assert (code, "name another --port" in stderr) == (2, True)
    code, stderr = serve("--coder", str(coder_folder), "--notes", notes, "--record", "mysql://u:pw@h/d", cwd=tmp_path)
    assert (code, "neither SQLite nor PostgreSQL" in stderr, ":pw@" in stderr) == (2, True, False)
