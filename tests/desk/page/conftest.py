"""A browser, a server for the page's tests alone, and people who sit down at it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from tests.desk.page_browser import Seat, Sit, chromium, write_worklist
from tests.desk.service import Service, started


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="package")
def service(browser: Browser, coder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A server for all tests of the page, which each take notes of their own."""
    folder = tmp_path_factory.mktemp("page")
    write_worklist(folder / "notes.jsonl")
    with started(coder_folder, folder) as running:
        yield running


@pytest.fixture
def sit(browser: Browser, service: Service) -> Iterator[Sit]:
    """People who sit down at the desk."""
    seats: list[Seat] = []

    def down(name: str = "anna", **options: Any) -> Seat:
        seats.append(Seat(browser, service.url, name, **options))
        return seats[-1]

    yield down
    for seat in seats:
        seat.leave()
