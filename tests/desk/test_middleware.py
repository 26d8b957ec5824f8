"""The gate and the protocol around small applications, on a real uvicorn in this process."""

from __future__ import annotations

import asyncio
import contextlib
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

from concept_icd.desk import server as server_module
from concept_icd.desk.middleware import RequestMiddleware
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
from tests.desk.service import listening

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
def gated(app: Any = echo, most: int | None = None, **settings: Any) -> Iterator[httpx.Client]:
    with listening(
        RequestMiddleware(app, Settings(**settings), Telemetry()), lifespan="off", limit_concurrency=most
    ) as client:
        yield client


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


class TestConnections:
    """None of them keeps others out, whichever of its requests does not come."""

    @pytest.mark.parametrize("rest", [b"GET / HTTP/1.1\r\nHost: loc", b"\r\nGET", b""])
    def test_a_later_request_that_does_not_come(self, monkeypatch: pytest.MonkeyPatch, rest: bytes) -> None:
        monkeypatch.setattr(server_module, "HEADER_SECONDS", 0.3)
        with gated() as client, connect(client) as connection:
            for _ in range(2):
                ask(connection)
            connection.sendall(rest)
            if rest:
                assert ended(connection)
            else:  # one that is idle has the time of `timeout_keep_alive`
                time.sleep(0.6)
                ask(connection)

    @pytest.mark.parametrize("method", [b"GET", b"POST", b"HEAD"])
    def test_a_later_body_that_does_not_come(self, method: bytes) -> None:
        with gated(limits=Limits(body_seconds=0.3)) as client, connect(client) as connection:
            ask(connection)
            connection.sendall(method + b" / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc")
            assert b" 408 " in connection.recv(4096).split(b"\r\n")[0]

    def test_a_body_that_trickles_on_after_the_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "BODY_SECONDS", 0.5)
        with gated(limits=Limits(body_bytes=10)) as client, connect(client) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 999\r\n\r\n")
            assert b" 413 " in connection.recv(4096).split(b"\r\n")[0]
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    connection.sendall(b"x")
                    time.sleep(0.05)
                pytest.fail("it went on for ten times the limit")

    def test_an_answer_that_is_not_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "TAKING_SECONDS", 0.3)
        ended_with = threading.Event()

        async def endless(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            try:
                while True:
                    await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
                    await asyncio.sleep(0)
            finally:
                ended_with.set()

        with gated(endless) as client, connect(client) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert ended_with.wait(30)

    def test_one_more_takes_the_place_of_the_one_that_has_waited_longest(self) -> None:
        with gated(most=6) as client:
            held = [connect(client) for _ in range(5)]
            for number, connection in enumerate(held):
                ask(connection)
                if number % 2:
                    connection.sendall(b"GET / HTTP/1.1\r\nX: ")
            for _ in range(5):
                with connect(client) as other:
                    assert b" 200 " in ask(other)
            assert ended(held[0])
            for connection in held:
                connection.close()

    def test_what_is_being_answered_is_not_ended_for_another(self) -> None:
        may = threading.Event()

        async def slow(scope: Any, receive: Any, send: Any) -> None:
            while scope["path"] == "/slow" and not may.is_set():
                await asyncio.sleep(0.01)
            await echo(scope, receive, send)

        with gated(slow, most=3) as client:
            busy = [connect(client) for _ in range(2)]
            for connection in busy:
                connection.sendall(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
            time.sleep(0.2)
            with connect(client) as other:
                assert b" 503 " in ask(other)
            may.set()
            for connection in busy:
                assert b" 200 " in connection.recv(4096)
                connection.close()

    def test_the_work_ends_when_the_client_has_gone(self) -> None:
        begun, stopped = threading.Event(), threading.Event()

        async def working(scope: Any, receive: Any, send: Any) -> None:
            begun.set()
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                stopped.set()
                raise

        with gated(working) as client:
            for request in (b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.1\r\nContent-Length: 1\r\n"):
                begun.clear()
                stopped.clear()
                with connect(client) as connection:
                    connection.sendall(request + b"Host: localhost\r\n\r\n" + b"x" * (b"POST" in request))
                    assert begun.wait(30)
                assert stopped.wait(30)


def ask(connection: socket.socket) -> bytes:
    """The answer to a request on a connection that is kept."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    got = b""
    while b"\r\n\r\n" not in got or not got.endswith((b"0\r\n\r\n", b"Service Unavailable")):
        got += connection.recv(4096) or pytest.fail(f"the connection ended after {got!r}")
    return got


def ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection, within the socket's own limit."""
    try:
        while connection.recv(4096):
            pass
    except ConnectionError:
        pass
    return True


def test_what_a_client_makes_up_fills_neither_metrics_nor_log(caplog: pytest.LogCaptureFixture) -> None:
    telemetry = Telemetry()
    logging.getLogger("concept_icd.desk").propagate = True
    with (
        caplog.at_level(logging.INFO, "concept_icd.desk"),
        listening(RequestMiddleware(echo, Settings(), telemetry), lifespan="off") as client,
    ):
        client.get("/")
        client.request("MADEUP", "/")
        # A client may have its answer a moment before the server counts the request.
        while b'method="other"' not in telemetry.text():
            time.sleep(0.01)
        series = telemetry.text().count(b"\n")
        for number in range(50):
            client.request(f"MADEUP{number}", f"/made/up/{number}")
            client.get(f"/made/up/{number}", headers={"X-Request-ID": f"made; up{number}" * 9})
        assert telemetry.text().count(b"\n") == series
    # The client of the test may log its own requests.
    told = "".join(record.getMessage() for record in caplog.records if record.name.startswith("concept_icd"))
    assert "MADEUP" not in told
    assert "made" not in told
    assert '"method": "other"' in told


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


def test_a_tokens_file_as_editors_write_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "tokens"
    file.write_bytes(f"\ufeff# who\r\nAnna Müller\t {ANNA}\r\n".encode())
    file.chmod(0o600)
    assert list(read_tokens(file).values()) == ["Anna Müller"]
    assert capsys.readouterr().err == ""
    file.chmod(0o644)
    read_tokens(file)
    assert "other users of this machine may read" in capsys.readouterr().err


@pytest.mark.parametrize(
    "token", ["1" * 16, "ab" * 20, "qrstuvwxyz\u00fcqrstuvwxyz", "\u200b0123456789abcdef", "short"]
)
def test_a_weak_token_or_one_that_cannot_be_sent_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    (tmp_path / "tokens").write_text(f"Anna {token}\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 1: the token"):
        read_tokens(tmp_path / "tokens")
    monkeypatch.setenv("CONCEPT_ICD_TOKEN", token)
    with pytest.raises(InputError, match="CONCEPT_ICD_TOKEN"):
        read_tokens(None)


@pytest.mark.parametrize(
    "line", ["anna short", ANNA, f"anna {ANNA}\nben {ANNA}", f"an\x00na {ANNA}", f"{'a' * 81} {ANNA}"]
)
def test_a_malformed_line_is_told_without_its_token(tmp_path: Path, line: str) -> None:
    (tmp_path / "tokens").write_text(line)
    with pytest.raises(InputError, match=r"tokens, line \d: ") as raised:
        read_tokens(tmp_path / "tokens")
    assert ANNA not in str(raised.value)
