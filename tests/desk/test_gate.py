"""The gate and the protocol around small applications, on a real uvicorn in this process."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from concept_icd.desk import server as server_module
from concept_icd.desk.gate import Gate
from concept_icd.desk.server import HurriedProtocol
from concept_icd.desk.settings import (
    Limits,
    Settings,
    digest_of,
    is_loopback,
    read_tokens,
    require_token_beyond_loopback,
)
from concept_icd.desk.telemetry import Telemetry
from concept_icd.errors import InputError

ANNA, BEN = "anna-anna-anna-anna", "ben-ben-ben-ben-ben"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answers with who asks and what the body is; fails where it is told so."""
    body = (await receive())["body"] if scope["method"] == "POST" else b""
    if body.startswith(b"fail"):
        raise RuntimeError(f"a bug with {body.decode()}")
    said = json.dumps({"person": scope["state"]["person"], "by": scope["state"]["named_by"], "body": len(body)})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": said.encode()})


@contextmanager
def gated(**settings: Any) -> Iterator[httpx.Client]:
    gate = Gate(echo, Settings(**settings), Telemetry())
    config = uvicorn.Config(gate, host="127.0.0.1", port=0, http=HurriedProtocol, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    listening = config.bind_socket()
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listening.getsockname()[1]}", trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port), timeout=30)


def test_a_body_that_does_not_come_is_given_up() -> None:
    with gated(limits=Limits(body_seconds=0.3)) as client, connect(client) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc")
        assert b" 408 " in connection.recv(4096).split(b"\r\n")[0]


def test_headers_that_do_not_come_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "HEADER_SECONDS", 0.3)
    with gated() as client, connect(client) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        assert connection.recv(4096) == b""
        kept = client.get("/")  # one that asked in time is not cut off
        time.sleep(0.6)
        assert kept.status_code == client.get("/").status_code == 200


def test_a_bug_is_a_500_whose_message_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("concept_icd.desk").propagate = True
    with caplog.at_level(logging.INFO, "concept_icd.desk"), gated() as client:
        answered = client.post("/", content=b"fail: text of a note", headers={"X-Request-ID": "r-1"})
    assert (answered.status_code, answered.json()["request_id"]) == (500, "r-1")
    assert "RuntimeError" in caplog.text
    assert '"r-1"' in caplog.text
    assert "text of a note" not in caplog.text + answered.text


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    """Of a gate that asks for tokens."""
    with gated(tokens={digest_of(ANNA): "anna", digest_of(BEN): None}) as client:
        yield client


class TestTokens:
    @pytest.mark.parametrize(
        "given",
        [
            None,
            "",
            "Bearer",
            f"Basic {ANNA}",
            f"Bearer {ANNA}x",
            ANNA,
            "Bearer \xff",
            "Bearer " + "a" * 9000,
        ],
    )
    def test_wrong_ones(self, client: httpx.Client, given: str | None) -> None:
        headers = {} if given is None else {"Authorization": given.encode("latin-1")}
        answered = client.get("/v1/notes", headers=headers)
        assert answered.status_code == 401
        assert answered.headers["www-authenticate"] == "Bearer"

    def test_a_token_says_whose_it_is_whatever_is_claimed(self, client: httpx.Client) -> None:
        headers = {"Authorization": f"Bearer {ANNA}", "X-Coder": "ben"}
        assert client.get("/v1/me", headers=headers).json()["person"] == "anna"

    def test_people_name_themselves_with_a_shared_one(self, client: httpx.Client) -> None:
        headers = {"Authorization": f"bearer {BEN}", "X-Coder": "Zo%C3%AB"}
        assert client.get("/v1/me", headers=headers).json() == {"person": "Zoë", "by": "header", "body": 0}

    @pytest.mark.parametrize("path", ["/", "/healthz", "/page/desk.js"])
    def test_the_page_itself_is_open(self, client: httpx.Client, path: str) -> None:
        assert client.get(path).status_code == 200

    @pytest.mark.parametrize(
        "path", ["/metrics", "/docs", "/openapi.json", "/healthz/", "//page/x", "/PAGE/x", "/v1/notes?/page/"]
    )
    def test_nothing_else_is(self, client: httpx.Client, path: str) -> None:
        assert client.get(path).status_code == 401


def test_beyond_loopback_a_token_is_needed() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9")] == [True] * 4
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "hospital", "")] == [False] * 5
    with pytest.raises(InputError, match="a token is needed"):
        require_token_beyond_loopback(Settings(host="0.0.0.0"))
    require_token_beyond_loopback(Settings(host="0.0.0.0", tokens={digest_of(ANNA): None}))


def test_tokens_come_from_a_file_and_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONCEPT_ICD_TOKEN", BEN)
    file = tmp_path / "tokens"
    file.write_text(f"# who\n\nAnna Müller {ANNA}\n", encoding="utf-8")
    settings = Settings(tokens=read_tokens(file))
    assert settings.owner(ANNA) == (True, "Anna Müller")
    assert settings.owner(BEN) == (True, None)
    assert settings.owner(ANNA[:-1]) == (False, None)


@pytest.mark.parametrize("line", ["anna short", ANNA, f"anna {ANNA}\nben {ANNA}"])
def test_a_malformed_line_is_told_without_its_token(tmp_path: Path, line: str) -> None:
    (tmp_path / "tokens").write_text(line)
    with pytest.raises(InputError, match=r"tokens, line \d: ") as raised:
        read_tokens(tmp_path / "tokens")
    assert ANNA not in str(raised.value)
