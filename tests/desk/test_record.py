"""The record in both databases, for real."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from concept_icd.desk.record.events import Conflict, NewEvent
from concept_icd.desk.record.store import Record
from concept_icd.desk.record.tables import METADATA
from concept_icd.errors import InputError
from tests.desk.postgresql import empty_database, standing_still

VERSIONS = {"coder": "1f2e"}


def add(record: Record, seen: int | None, *actions: str, review: str = "r1", by: str = "anna") -> None:
    events = [NewEvent(action, "428.0", {"kind": "diagnosis", "å": "ß'\";--"}) for action in actions]  # type: ignore[arg-type]
    record.append(review, "note 1", seen, events, by=by, versions=VERSIONS)


def test_holds_what_was_added_in_order(record: Record) -> None:
    add(record, 0, "suggest")
    add(record, 1, "accept", "remove", by="Zoë")
    add(record, None, "open")
    events = record.events("r1")
    assert [(event.version, event.action, event.by) for event in events] == [
        (1, "suggest", "anna"),
        (2, "accept", "Zoë"),
        (3, "remove", "Zoë"),
        (None, "open", "anna"),
    ]
    assert events[1].detail == {"kind": "diagnosis", "å": "ß'\";--"}
    assert events[1].versions == VERSIONS
    assert events[0].at.endswith("Z")
    assert record.versions() == {"r1": 3}
    assert record.all_events()[-1].number == events[-1].number
    assert record.events("r2") == []


@pytest.mark.parametrize("seen", [0, 1, 3, 9])
def test_one_who_saw_another_version_writes_nothing(record: Record, seen: int) -> None:
    add(record, 0, "suggest", "accept")
    with pytest.raises(Conflict):
        add(record, seen, "reject", "submit")
    assert [event.action for event in record.events("r1")] == ["suggest", "accept"]


def test_of_two_at_the_same_time_one_writes(record_url: str) -> None:
    records = [Record.open(record_url) for _ in range(2)]  # as two servers would
    for round_ in range(15):
        start = threading.Barrier(8)
        outcomes: list[int] = []
        arguments = [(records[number % 2], round_, number, start, outcomes) for number in range(8)]
        threads = [threading.Thread(target=_write, args=own) for own in arguments]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 1
    assert [event.version for event in records[0].events("r1")] == list(range(1, 16))
    for record in records:
        record.close()


def _write(record: Record, seen: int, number: int, start: threading.Barrier, outcomes: list[int]) -> None:
    start.wait()
    try:
        add(record, seen, "accept", by=str(number))
        outcomes.append(number)
    except Conflict:
        pass


def test_nothing_is_changed_or_deleted(record: Record) -> None:
    add(record, 0, "suggest")
    for statement in ("UPDATE events SET by = 'eve'", "DELETE FROM events"):
        with pytest.raises(sa.exc.DBAPIError, match="only ever added to"), record.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert record.events("r1")[0].by == "anna"


def test_opens_again_with_everything(record_url: str) -> None:
    first = Record.open(record_url)
    add(first, 0, "suggest")
    first.close()
    second = Record.open(record_url)
    assert [event.action for event in second.events("r1")] == ["suggest"]
    second.close()


def test_migrations_make_the_tables_that_the_code_reads(record: Record) -> None:
    with record.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_record_of_a_newer_version_is_told_in_a_sentence(record_url: str) -> None:
    record = Record.open(record_url)
    with record.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    record.close()
    with pytest.raises(InputError, match="written by a newer version"):
        Record.open(record_url)


def test_commits_reach_the_disk(record: Record) -> None:
    with record.engine.connect() as connection:
        if record.engine.dialect.name == "sqlite":
            assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        else:
            assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
            assert connection.exec_driver_sql("SHOW fsync").scalar() == "on"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "the record's URL is none"),
        ("mysql://root:secret@localhost/x", "neither SQLite nor PostgreSQL"),
        ("postgresql://anna:secret@127.0.0.1:1/x", "cannot open the record"),
        ("sqlite:////proc/none/record.sqlite", "cannot open the record"),
    ],
)
def test_a_record_that_cannot_be_opened_is_told_without_its_password(url: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as raised:
        Record.open(url)
    assert "secret" not in str(raised.value)


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "record.sqlite").write_text("no database at all, but long enough to look at" * 40)
    with pytest.raises(InputError, match="cannot open the record"):
        Record.open(f"sqlite:///{tmp_path}/record.sqlite")


def test_checking_writes_and_leaves_nothing(record: Record) -> None:
    add(record, 0, "suggest")
    for _ in range(3):
        record.check()
    assert [event.review for event in record.all_events()] == ["r1"]
    add(record, 1, "accept")
    assert [event.number for event in record.all_events()] == [1, 2]


def test_checking_a_full_disk_fails_as_a_decision_does(small_disk: Path) -> None:
    record = Record.open(f"sqlite:///{small_disk}/record.sqlite")
    record.check()
    fill = small_disk / "fill"
    with contextlib.suppress(OSError), fill.open("wb") as file:
        while True:
            file.write(b"x" * 4096)
            file.flush()
    with contextlib.suppress(sa.exc.OperationalError):
        for seen in range(50):
            add(record, seen, "accept")
    with pytest.raises(sa.exc.OperationalError, match="full"):
        add(record, record.versions().get("r1", 0), "accept")
    with pytest.raises(sa.exc.OperationalError, match="full"):
        record.check()
    fill.unlink()
    record.check()
    add(record, record.versions().get("r1", 0), "accept")
    record.close()


def test_a_size_of_a_record_that_is_checked_does_not_grow(tmp_path: Path) -> None:
    record = Record.open(f"sqlite:///{tmp_path}/record.sqlite")
    record.check()
    sizes = [sum(file.stat().st_size for file in tmp_path.iterdir())]
    for _ in range(20):
        record.check()
    sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert sizes[0] == sizes[1]
    record.close()


def test_a_locked_record_is_given_up(tmp_path: Path) -> None:
    record = Record.open(f"sqlite:///{tmp_path}/record.sqlite", seconds=0.2)
    other = sqlite3.connect(tmp_path / "record.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for ask in (record.check, lambda: add(record, 0, "suggest")):
        with pytest.raises(sa.exc.OperationalError, match="locked"):
            ask()
    assert record.events("r1") == []  # reading needs no lock
    other.execute("ROLLBACK")
    add(record, 0, "suggest")
    record.close()
    other.close()


def test_characters_that_a_database_refuses_are_kept_in_details(record: Record) -> None:
    detail = {"reason": "a\0b \ud800 \uffff"}
    record.append("r1", "n", 0, [NewEvent("feedback", None, detail)], by="anna", versions={"x": "\ud800"})
    assert record.events("r1")[0].detail == detail


@pytest.mark.slow
def test_a_postgresql_that_stands_still_is_given_up(postgresql: str) -> None:
    record = Record.open(empty_database(postgresql), seconds=2)
    add(record, 0, "suggest")
    with standing_still(postgresql):
        for ask in (record.check, lambda: add(record, 1, "accept")):
            with pytest.raises(sa.exc.OperationalError):
                ask()
    record.check()
    add(record, 1, "accept")
    assert [event.action for event in record.events("r1")] == ["suggest", "accept"]
    record.close()


def test_a_record_in_a_file_is_its_users_alone(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        record = Record.open(f"sqlite:///{tmp_path}/new/record.sqlite")
        add(record, 0, "suggest")
        modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()}
        record.close()
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("record.sqlite", "record.sqlite-wal", "record.sqlite-shm"), 0o600)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
