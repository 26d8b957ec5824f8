"""A connection to PostgreSQL that gives up on a server which says nothing.

The server's own limit, `statement_timeout`, does not help where the server stands still, its disk hangs or the network
is cut: then only this side can give up. libpq has no such limit.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import psycopg


class ImpatientConnection(psycopg.Connection[Any]):
    """Closes itself when the server has sent nothing for `seconds` while something was asked of it.

    What was asked last may have been done or not; an open transaction is rolled back by the server.
    """

    #: Of a connection that is being made; `set_limits` sets those of one that is.
    seconds = 4.0

    def wait(self, gen: Generator[Any, Any, Any], *more: Any, **options: Any) -> Any:
        """Waits for the server; raises `psycopg.OperationalError` when it has been silent for too long."""
        return super().wait(self._limited(gen), *more, **options)

    def _limited(self, gen: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """The same conversation: psycopg sends what the socket is ready for, or nothing ten times a second."""
        heard = time.monotonic()
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                if ready:
                    heard = time.monotonic()
                elif time.monotonic() - heard > self.seconds:
                    self.close()
                    raise psycopg.OperationalError(f"the server has said nothing for {self.seconds:g} s")
                wanted = gen.send(ready)
        except StopIteration as ended:
            return ended.value


def set_limits(connection: Any, seconds: float) -> None:
    """For a new connection: commits reach the disk, and the server gives up on a statement as we do."""
    connection.seconds = seconds
    with connection.cursor() as cursor:
        cursor.execute("SET synchronous_commit TO on")
        cursor.execute(f"SET statement_timeout TO {round(seconds * 1000)}")
    connection.commit()
