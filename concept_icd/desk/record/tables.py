"""The record's one table, in the words of SQLAlchemy; `migrations` makes it, with what keeps it append-only."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, String, Table, Text, UniqueConstraint

METADATA = MetaData()
EVENTS = Table(
    "events",
    METADATA,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("review", String(64), nullable=False),
    Column("note_id", Text, nullable=False),
    # Two writers who saw the same version cannot both have the next one.
    Column("version", Integer, nullable=True),
    Column("action", String(16), nullable=False),
    Column("code", String(32), nullable=True),
    Column("detail", Text, nullable=False),
    Column("by", Text, nullable=False),
    Column("at", String(24), nullable=False),
    Column("versions", Text, nullable=False),
    UniqueConstraint("review", "version", name="one_event_a_version"),
    Index("events_of_a_review", "review", "number"),
    sqlite_autoincrement=True,
)
