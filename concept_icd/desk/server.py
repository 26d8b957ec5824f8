"""Runs the desk's application with uvicorn: one process, one port, and no patience for clients that never finish."""

from __future__ import annotations

import asyncio
import socket
import sys
import webbrowser
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from concept_icd.desk.app import make_app
from concept_icd.desk.desk import Desk
from concept_icd.desk.telemetry import log_to_stderr
from concept_icd.errors import InputError

#: Seconds within which a new connection must have sent its headers.
HEADER_SECONDS = 15.0
#: Connections and requests at a time; more are answered 503.
CONCURRENCY = 1000
#: Seconds that requests have to end in when the service stops.
GRACE_SECONDS = 20


class HurriedProtocol(H11Protocol):
    """Closes a connection whose first request does not come; uvicorn itself would wait for ever."""

    def connection_made(self, transport: Any) -> None:
        """Starts the clock."""
        # asyncio does this alone for sockets that name their protocol, and uvicorn's do not: without it, every answer
        # waits 40 ms for the client's delayed acknowledgement of its headers.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().connection_made(transport)
        self._hurry = self.loop.call_later(HEADER_SECONDS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops it."""
        self._hurry.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.scope is None and not self.transport.is_closing():
            self.transport.close()


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
        http=HurriedProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=CONCURRENCY,
        timeout_keep_alive=30,
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
    print(f"concept-icd: {len(desk.worklist)} notes on the desk at {address}", file=sys.stderr, flush=True)
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
