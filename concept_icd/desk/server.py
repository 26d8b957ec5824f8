"""Runs the desk's application with uvicorn: one process, one port, and time limits for slow clients."""

from __future__ import annotations

import asyncio
import socket
import webbrowser
from collections import Counter
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from concept_icd.desk.app import make_app
from concept_icd.desk.desk import Desk
from concept_icd.desk.telemetry import log_to_stderr
from concept_icd.errors import InputError, counted
from concept_icd.progress import say

#: Seconds within which the head of a request must have come, since the connection or since its first byte, and its
#: body, for which the middleware answers 408 sooner where it waits for one.
HEADER_SECONDS, BODY_SECONDS = 15.0, 30.0
#: Seconds within which a client must take what it is sent, and for which a connection is kept between two requests.
TAKING_SECONDS, IDLE_SECONDS = 60.0, 30.0
#: Seconds that an answer may still take when its client sends nothing more; then it counts as gone.
HALF_CLOSED_SECONDS = 1.0
#: Connections at a time. One more takes the place of one that keeps the service waiting; where all are being answered,
#: it is told 503.
CONNECTIONS = 1000
#: Files that are not connections: the record's, the model's, the page's.
OTHER_FILES = 128
#: Seconds that requests have to end in when the service stops.
GRACE_SECONDS = 20


class TimeoutProtocol(H11Protocol):
    """HTTP with time limits for the client, which uvicorn has only between two requests.

    A client that sends its request too slowly, or does not take its answer, loses its connection; so it cannot hold
    places that others need.
    """

    def connection_made(self, transport: Any) -> None:
        """Starts the time limit of the first request."""
        # asyncio does this alone for sockets that name their protocol, and uvicorn's do not: without it, every answer
        # waits 40 ms for the client's delayed acknowledgement of its headers.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` tells of everything that is not taken
        super().connection_made(transport)
        self._expected, self.since = "", self.loop.time()
        self._request_limit: asyncio.TimerHandle | None = None
        self._answer_limit: asyncio.TimerHandle | None = None
        self._expect("head")
        make_room(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time limits."""
        self._expect("")
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Sets the time limit of what is still to come."""
        super().data_received(data)
        self._watch_request()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio asks for it
        """Waits a moment for a quick answer: a client that stopped sending may still read, or may have gone."""
        self.loop.call_later(HALF_CLOSED_SECONDS, self.transport.close)
        return not self.waits  # False: closed at once

    def on_response_complete(self) -> None:
        """The client may send the next request, or have begun to."""
        super().on_response_complete()
        self._watch_request()

    def pause_writing(self) -> None:
        """Starts the time limit of an answer that the client does not take."""
        super().pause_writing()
        self._answer_limit = self._answer_limit or self.loop.call_later(TAKING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Ends that time limit: the client takes the answer."""
        super().resume_writing()
        if self._answer_limit is not None:
            self._answer_limit.cancel()
            self._answer_limit = None

    @property
    def waits(self) -> bool:
        """Whether it is the client's turn: to send a request or the rest of one, or to take an answer."""
        return bool(self._expected or self._answer_limit) or self.cycle is None or self.cycle.response_complete

    def _watch_request(self) -> None:
        if self.conn.their_state is h11.SEND_BODY:
            self._expect("body")
        elif self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._expect("head")
        else:  # all has come; between requests uvicorn's own limit counts
            self._expect("")

    def _expect(self, part: str) -> None:
        if part == self._expected:
            return
        self._expected, self.since = part, self.loop.time()
        if self._request_limit is not None:
            self._request_limit.cancel()
            self._request_limit = None
        if part:
            seconds = HEADER_SECONDS if part == "head" else BODY_SECONDS
            self._request_limit = self.loop.call_later(seconds, self.transport.close)


def make_room(newest: TimeoutProtocol) -> None:
    """Ends a connection where there are too many.

    It is one that waits for its client, of the address that has most of those, and the one that has waited longest.
    """
    most = newest.limit_concurrency
    if most is None or len(newest.connections) < most:
        return
    waiting = [
        other
        for other in newest.connections
        if isinstance(other, TimeoutProtocol)
        and other is not newest
        and other.waits
        and not other.transport.is_closing()
    ]
    held = Counter(other.client and other.client[0] for other in waiting)
    if waiting:
        max(waiting, key=lambda other: (held[other.client and other.client[0]], -other.since)).transport.abort()


def most_connections() -> int:
    """`CONNECTIONS`, or fewer where this process may open fewer files."""
    try:
        import resource
    except ImportError:  # Windows
        return CONNECTIONS
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return CONNECTIONS if files == resource.RLIM_INFINITY else max(16, min(CONNECTIONS, files - OTHER_FILES))


def serve(desk: Desk, *, open_browser: bool = False) -> None:
    """Serves until a signal stops it; says on stderr where.

    Args:
        open_browser: show the page in this machine's browser.

    Raises:
        InputError: the port is taken, the address is not this machine's, or the model cannot be loaded.
    """
    settings = desk.settings
    log_to_stderr()
    config = uvicorn.Config(
        make_app(desk),
        host=settings.host,
        port=settings.port,
        http=TimeoutProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=most_connections() + 1,
        timeout_keep_alive=round(IDLE_SECONDS),
        timeout_graceful_shutdown=GRACE_SECONDS,
        h11_max_incomplete_event_size=32_768,
        proxy_headers=False,
        ws="none",
    )
    server = uvicorn.Server(config)
    try:
        listening = config.bind_socket()
    except SystemExit as error:
        sentence = f"cannot listen on {settings.host}, port {settings.port}: name another --port"
        raise InputError(sentence) from error
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"http://{host}:{listening.getsockname()[1]}/"
    say(f"{counted(len(desk.worklist), 'note')} on the desk at {address}")
    if open_browser:
        webbrowser.open(address)
    asyncio.run(_run(server, desk, listening))
    if desk.queue.failure:
        raise InputError(desk.queue.failure)


async def _run(server: uvicorn.Server, desk: Desk, listening: Any) -> None:
    async def stop_without_a_model() -> None:
        while desk.queue.failure is None:
            await asyncio.sleep(0.2)
        if desk.queue.failure:
            server.should_exit = True

    watch = asyncio.create_task(stop_without_a_model())
    try:
        await server.serve(sockets=[listening])
    finally:
        watch.cancel()
