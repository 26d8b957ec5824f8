"""The record in a database: SQLite in a file, or PostgreSQL by URL. What `append` returns from is on disk."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, func, insert, select, text
from sqlalchemy.engine import Row, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from concept_icd.desk.record.events import Conflict, Event, NewEvent, now
from concept_icd.desk.record.tables import EVENTS
from concept_icd.errors import InputError
from concept_icd.outputs import private_folder

MIGRATIONS = Path(__file__).parent / "migrations"
#: Seconds that a database may take to connect, to answer, or to let another writer's lock go.
SECONDS = 4.0
#: What `check` writes and takes back: more than any event, and more pages than SQLite then keeps in memory.
PROBE = {
    **{"number": 0, "review": "health", "note_id": "", "version": None, "action": "open", "code": None},
    **{"detail": "x" * 65_536, "by": "", "at": "", "versions": "{}"},
}


_waited = threading.local()


@contextmanager
def waited_until(moment: float) -> Iterator[None]:
    """In this thread and block: what would be written after this moment, of `time.monotonic`, is not written."""
    _waited.until = moment
    try:
        yield
    finally:
        _waited.until = math.inf


class Record:
    """See the module. It may be used from several threads, and PostgreSQL's from several servers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, url: str, seconds: float = SECONDS) -> Record:
        """Connects, and brings the tables up to this version's.

        Args:
            url: `sqlite:///FILE` or `postgresql://USER:PASSWORD@HOST/DATABASE`.
            seconds: that the database may take to connect, to answer, or to let another writer's lock go.

        Raises:
            InputError: no such database, no right to it, or one of a newer version; never with its password.
        """
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise InputError("the record's URL is none; give sqlite:///FILE or postgresql://HOST/DATABASE") from error
        if parsed.drivername in ("postgres", "postgresql"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        name = parsed.render_as_string(hide_password=True)
        try:
            if (
                parsed.get_backend_name() == "sqlite"
                and parsed.database not in (None, "", ":memory:")
                and not parsed.query
            ):
                private_folder(Path(str(parsed.database)).parent)
                # SQLite gives its -wal and -shm the mode of the file itself.
                os.close(os.open(str(parsed.database), os.O_CREAT | os.O_RDWR, 0o600))
            if parsed.get_backend_name() not in ("sqlite", "postgresql"):
                raise InputError(f"the record {name} is neither SQLite nor PostgreSQL")
            engine = create_engine(parsed, pool_pre_ping=True, hide_parameters=True, pool_size=16, max_overflow=32)
            if engine.dialect.name == "sqlite":
                event.listen(engine, "connect", partial(_durable_sqlite, seconds))
                event.listen(engine, "begin", _begin_sqlite)
            else:
                _connect_impatiently(engine, seconds)
            _migrate(engine)
        except (DBAPIError, NoSuchModuleError, OSError) as error:
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
            raise InputError(f"cannot open the record {name}: {reason}") from error
        except CommandError as error:
            raise InputError(f"the record {name} was written by a newer version of concept-icd: update it") from error
        return cls(engine)

    def append(
        self,
        review: str,
        note_id: str,
        seen: int | None,
        events: Sequence[NewEvent],
        *,
        by: str,
        versions: Mapping[str, str],
    ) -> None:
        """Adds the events, all or none, and returns when they are on disk.

        Args:
            seen: the version of the review that the writer saw; the events become seen + 1, seen + 2, ... None: events
                without a version.

        Raises:
            Conflict: the review has another version by now. TimeoutError: see `waited_until`.
        """
        at, dumped = now(), json.dumps(dict(versions))
        rows = [
            {
                "review": review,
                "note_id": note_id,
                "version": None if seen is None else seen + number,
                "action": new.action,
                "code": new.code,
                # In ASCII: no character of it can be one that a database refuses.
                "detail": json.dumps(dict(new.detail)),
                "by": by,
                "at": at,
                "versions": dumped,
            }
            for number, new in enumerate(events, 1)
        ]
        try:
            with self.engine.execution_options(writes=True).begin() as connection:
                if seen is not None and self._version(connection, review) != seen:
                    raise Conflict
                connection.execute(insert(EVENTS), rows)
                if time.monotonic() > getattr(_waited, "until", math.inf):
                    raise TimeoutError
        except IntegrityError as error:
            raise Conflict from error

    def events(self, review: str) -> list[Event]:
        """The events of a review, oldest first."""
        query = select(EVENTS).where(EVENTS.c.review == review).order_by(EVENTS.c.number)
        with self.engine.connect() as connection:
            return [_event(row) for row in connection.execute(query)]

    def versions(self) -> dict[str, int]:
        """The highest version of every review."""
        query = select(EVENTS.c.review, func.max(EVENTS.c.version)).group_by(EVENTS.c.review)
        with self.engine.connect() as connection:
            return {review: version or 0 for review, version in connection.execute(query)}

    def all_events(self) -> list[Event]:
        """Every event, oldest first."""
        with self.engine.connect() as connection:
            return [_event(row) for row in connection.execute(select(EVENTS).order_by(EVENTS.c.number))]

    def check(self) -> None:
        """Writes an event and takes it back, so that nothing is added; raises where the database could not take it."""
        with self.engine.execution_options(writes=True).connect() as connection:
            driver: Any = connection.connection.driver_connection
            sqlite = self.engine.dialect.name == "sqlite"
            if sqlite:  # with no room in memory, what is not committed goes to the disk as well
                driver.execute("PRAGMA cache_size=1")
            try:
                connection.execute(insert(EVENTS), PROBE)
            finally:
                connection.rollback()
                if sqlite:
                    driver.execute("PRAGMA cache_size=-2000")

    def close(self) -> None:
        """Gives the connections back."""
        self.engine.dispose()

    @staticmethod
    def _version(connection: Connection, review: str) -> int:
        query = select(func.max(EVENTS.c.version)).where(EVENTS.c.review == review)
        return connection.execute(query).scalar() or 0


def _event(row: Row[Any]) -> Event:
    columns = row._asdict()
    return Event(**columns | {name: json.loads(columns[name]) for name in ("detail", "versions")})


def _migrate(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(writes=True).begin() as connection:
        if engine.dialect.name == "postgresql":  # servers that start together take turns
            connection.execute(text("SELECT pg_advisory_xact_lock(9428004)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _durable_sqlite(seconds: float, connection: Any, _: Any) -> None:
    """Each commit reaches the disk (FULL also in WAL mode); transactions are begun by `_begin_sqlite`."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (f"busy_timeout={round(seconds * 1000)}", "journal_mode=WAL", "synchronous=FULL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    # One who reads first and writes then must hold the lock from the start: SQLite does not let a reader wait for it.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _connect_impatiently(engine: Engine, seconds: float) -> None:
    from concept_icd.desk.record.postgresql import ImpatientConnection, set_limits

    def connect(_: Any, __: Any, arguments: Any, options: dict[str, Any]) -> Any:
        return ImpatientConnection.connect(*arguments, **{"connect_timeout": round(seconds), **options})

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "connect", lambda connection, _: set_limits(connection, seconds))
