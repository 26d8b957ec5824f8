"""Debian's Chromium at the desk: people at the page, what they press, what they see."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from tests.desk.service import Service

#: A program of this family that is not called `chromium`.
PROGRAM_VARIABLE = "CONCEPT_ICD_CHROMIUM"
#: Where screenshots are kept; by default runs/screenshots of the checkout, which git does not see.
SCREENSHOTS_VARIABLE = "CONCEPT_ICD_SCREENSHOTS"
ROOT = Path(__file__).resolve().parent.parent.parent
#: On a machine with much else to do a page takes its time; a page that is broken never comes.
PATIENCE_MS = 60_000
LINES = 1000
HOSTILE = (
    "IMPRESSION: <script>window.hacked = 1</script> & <img src=x onerror='window.hacked = 2'> cough and fever.\n"
    "Order \u202egnihtyna\u202c else. \u05d0\u05d1\u05d2 asthma \u2067wheezing\u2069. 😀 Chest pain ${1+1} {{2}}"
)


def write_worklist(path: Path) -> Path:
    """Short notes n0, n1, ..., one that means harm, a long one, and one that no coder reads to its end."""
    texts = {
        f"n{number}": f"HISTORY: Cough and fever, visit {number}. Chest normal.\nNo asthma. 😀 Line placed."
        for number in range(14)
    }
    texts["<b>hostile</b>\u202etxt"] = HOSTILE
    visit = "Cough and fever, visit {}. Chest normal.\nNo asthma. 😀 Line placed."
    texts["long"] = "\n".join(visit.format(number) for number in range(1, LINES // 2 + 1))
    notes = [{"note_id": note_id, "text": text} for note_id, text in texts.items()]
    path.write_text("".join(json.dumps(note) + "\n" for note in notes), encoding="utf-8")
    return path


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser without a window; the tests that ask for it skip where there is none."""
    program = os.environ.get(PROGRAM_VARIABLE) or shutil.which("chromium")
    if not program:
        pytest.skip(f"no Chromium: run make browser as root on Debian, or name the program with {PROGRAM_VARIABLE}")
    # Chromium's sandbox does not work for root. Nothing is looked up outside.
    options = ["--no-sandbox", "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=options)
        yield browser
        browser.close()


class Seat:
    """A person in front of the page, in a browser profile of their own."""

    def __init__(self, browser: Browser, url: str, name: str = "anna", *, known: bool = True, **options: Any) -> None:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        self.context = browser.new_context(accept_downloads=True, **options)
        self.context.set_default_timeout(PATIENCE_MS)
        if known:
            self.context.add_init_script(f"localStorage.setItem('desk-name', {json.dumps(name)})")
        self.page: Page = self.context.new_page()
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._listen)
        self.name, self.url = name, url
        self.page.goto(url)

    def _listen(self, message: Any) -> None:
        # A refused request is logged by the browser itself; the page says it to the person.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.problems.append(message.text)

    def press(self, *keys: str) -> None:
        """Keys, one after the other, as fast as they come."""
        for key in keys:
            self.page.keyboard.press(key)

    def find(self, selector: str) -> Locator:
        """What the page holds."""
        return self.page.locator(selector)

    def open(self, note_id: str) -> None:
        """A note by a click, with its suggestions and evidence."""
        self.find("#notes a").filter(has_text=re.compile(rf"^{re.escape(note_id)}(New|Open|Submitted)")).click()
        self.wait_for_codes(note_id)

    def wait_for_codes(self, note_id: str) -> None:
        """The note is open, its suggestions are there, and its evidence has been looked for."""
        expect(self.find("#note-title")).to_have_text(note_id, timeout=PATIENCE_MS)
        expect(self.find("#suggestions .row").first).to_be_attached(timeout=PATIENCE_MS)
        expect(self.find("body[data-evidence=known]")).to_be_attached(timeout=PATIENCE_MS)

    def sees(self, selector: str, text: str | re.Pattern[str]) -> None:
        """Waits until it says so."""
        expect(self.find(selector)).to_contain_text(text, timeout=PATIENCE_MS)

    def chosen(self) -> str:
        """The code that the keyboard is on."""
        return str(self.page.evaluate("document.activeElement.closest('.row')?.dataset.code ?? ''"))

    def listed(self, kind: str = "diagnoses") -> list[str]:
        """The codes of the list, in sequence."""
        return self.find(f"#{kind} .row .code").all_inner_texts()

    def keep_screenshot(self, name: str) -> Path:
        """A picture of the window, for people to look at."""
        folder = Path(os.environ.get(SCREENSHOTS_VARIABLE) or ROOT / "runs" / "screenshots")
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.png"
        self.page.screenshot(path=path)
        return path

    def barriers(self) -> list[str]:
        """What axe-core finds that is serious or critical."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {node['target']} {node.get('failureSummary', '')}"
            for each in found
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]

    def leave(self) -> None:
        """Nothing may have gone wrong unseen."""
        self.context.close()
        assert self.problems == []


#: Seats a person, by name and options of `Seat`.
Sit = Callable[..., Seat]


def recorded(service: Service, note_id: str) -> dict[str, Any]:
    """The review as it stands; asked without a name, so that nobody sees the test look."""
    notes = service.client.get("/v1/notes").json()["notes"]
    key = next(note["key"] for note in notes if note["note_id"] == note_id)
    state: dict[str, Any] = service.client.get(f"/v1/notes/{key}/review").json()
    return state
