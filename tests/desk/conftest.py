"""Databases, a server in a process of its own, and people who talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from concept_icd.desk.record.store import Record
from tests.desk.postgresql import empty_database, running_postgresql
from tests.desk.service import Service, started
from tests.fitted_coder import Fitted


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    with running_postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def record_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty record of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/record.sqlite"
    return empty_database(request.getfixturevalue("postgresql"))


@pytest.fixture
def record(record_url: str) -> Iterator[Record]:
    record = Record.open(record_url)
    yield record
    record.close()


@pytest.fixture(scope="session")
def coder_folder(fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk") / "coder"
    fitted.coder.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def service(coder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server for all tests, which each take notes of their own."""
    with started(coder_folder, tmp_path_factory.mktemp("service")) as running:
        yield running
