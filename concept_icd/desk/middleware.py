"""The middleware that every request passes first: its id, Host and Origin, the token, the size and time of its body.
Behind it a request is worked on as long as its client is there.

A page of another site must not be able to decide or to read here. It cannot send `Authorization` or `X-Coder` without
a preflight, which is not answered; a name of its own that points at this machine fails the Host check; and what changes
anything must come from this origin. It also catches whatever fails behind it, so that no traceback is logged
with text of a note in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import Iterable
from urllib.parse import unquote, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from concept_icd.desk.settings import NAME_LENGTH, Settings
from concept_icd.desk.telemetry import Telemetry

READING = frozenset(("GET", "HEAD", "OPTIONS"))
#: Those that are counted and logged by their names; a client may make up any other.
METHODS = READING | {"POST", "PUT", "PATCH", "DELETE"}
#: What a browser loads before it can send a token: the page, which holds nothing secret, and the health check.
OPEN = re.compile(r"/|/page/.*|/favicon\.ico|/healthz")
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Refusal(Exception):
    """A request that goes no further."""

    def __init__(self, status: int, detail: str, headers: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(detail)
        self.status, self.detail, self.headers = status, detail, dict(headers)


class RequestMiddleware:
    """See the module; an ASGI application around another."""

    def __init__(self, app: ASGIApp, settings: Settings, telemetry: Telemetry) -> None:
        self._app, self._settings, self._telemetry = app, settings, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, headers, status = time.perf_counter(), Headers(scope=scope), 0
        answered = asyncio.Event()
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                out["X-Request-ID"] = request_id
            elif not message.get("more_body", False):
                answered.set()
            await send(message)

        try:
            self._check(scope, headers)
            body = await self._whole_body(headers, receive)
            await self._while_there(scope, body, receive, send_with_headers, answered)
        except Refusal as refusal:
            await _answer(send_with_headers, refusal, request_id)
        except Exception as error:  # noqa: BLE001
            self._telemetry.failed(error, request_id)
            if not status:
                sentence = "This request met an error of the service; its log has the request id."
                await _answer(send_with_headers, Refusal(500, sentence), request_id)
        finally:
            route = getattr(scope.get("route"), "path", "(none)")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._telemetry.answered(route, method, status or 499, time.perf_counter() - start, request_id)

    def _check(self, scope: Scope, headers: Headers) -> None:
        """Host, Origin, token and name; leaves the person's name in the request's state."""
        host, allowed = headers.get("host", ""), self._settings.hosts
        if allowed is not None and _name_of(host) not in allowed:
            raise Refusal(400, "The Host header names another machine; name it with --allow-host if it is this one.")
        if scope["method"] not in READING:
            origin = headers.get("origin")
            foreign = origin is not None and _place_of(origin) != host.lower()
            if foreign or headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
                raise Refusal(403, "Only this service's own page may send this.")
        state, named = scope["state"], headers.get("x-coder")
        state["person"], state["named_by"] = None, None
        if self._settings.tokens and not OPEN.fullmatch(scope["path"]):
            scheme, _, token = headers.get("authorization", "").partition(" ")
            known, owner = self._settings.owner(token.strip())
            if scheme.lower() != "bearer" or not known:
                raise Refusal(401, "A bearer token is needed.", [("WWW-Authenticate", "Bearer")])
            if owner is not None:
                state["person"], state["named_by"] = owner, "token"
        if state["person"] is None and named is not None:
            name = unquote(named).strip()
            if not name.isprintable() or not 0 < len(name) <= NAME_LENGTH or "\ufffd" in name:
                raise Refusal(400, "X-Coder must be a name of 1 to 80 printable characters, percent-encoded UTF-8.")
            state["person"], state["named_by"] = name, "header"
        address = scope["client"][0] if scope.get("client") else ""
        state["client"] = f"{'' if state['named_by'] == 'token' else address} {state['person'] or ''}"

    async def _while_there(
        self, scope: Scope, body: bytes, receive: Receive, send: Send, answered: asyncio.Event
    ) -> None:
        """Lets the application answer, and stops it when the client has gone before it was answered."""
        gone = asyncio.create_task(_gone(receive))
        parts = iter([body])

        async def replay() -> Message:
            if (part := next(parts, None)) is not None:
                return {"type": "http.request", "body": part, "more_body": False}
            await asyncio.shield(gone)
            return {"type": "http.disconnect"}

        async def work() -> None:
            await self._app(scope, replay, send)

        working = asyncio.create_task(work())
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answered.is_set():
                working.cancel()  # does nothing to what has ended
            with contextlib.suppress(asyncio.CancelledError):
                await working
        finally:
            gone.cancel()
            working.cancel()

    async def _whole_body(self, headers: Headers, receive: Receive) -> bytes:
        """The body, read here, so that nothing behind it waits for a slow client."""
        limits = self._settings.limits
        too_large = Refusal(413, f"The request is larger than {limits.body_bytes:,} bytes.")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdecimal() or int(length[:18]) > limits.body_bytes:
            raise too_large
        parts, size, more = [], 0, True
        try:
            async with asyncio.timeout(limits.body_seconds):
                while more:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise Refusal(400, "The request ended before its body did.")
                    parts.append(message.get("body", b""))
                    size, more = size + len(parts[-1]), message.get("more_body", False)
                    if size > limits.body_bytes:
                        raise too_large
        except TimeoutError as error:
            raise Refusal(408, f"The request did not arrive within {limits.body_seconds:g} s.") from error
        return b"".join(parts)


async def _gone(receive: Receive) -> None:
    """Ends when the client has gone; uvicorn says so too of one that was answered."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _name_of(host: str) -> str:
    """The name or address of a Host header, without its port."""
    name = host.rpartition(":")[0] if re.search(r":\d*$", host) and not host.endswith("]") else host
    return name.strip("[]").lower()


def _place_of(origin: str) -> str | None:
    """Host and port of an Origin header; None: it is no address."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None


async def _answer(send: Send, refusal: Refusal, request_id: str) -> None:
    body = json.dumps({"detail": refusal.detail, "request_id": request_id}).encode()
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **refusal.headers}
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
