"""The page in a real browser: hostile and long notes, accessibility, what it asks of the network, tokens."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.desk.page_browser import HOSTILE, LINES, PATIENCE_MS, Seat, Sit, recorded
from tests.desk.service import Service, started

pytestmark = pytest.mark.slow


class TestHostileNotes:
    def test_text_stays_text(self, sit: Sit) -> None:
        seat = sit("<i>eve</i>")
        note_id = "<b>hostile</b>\u202etxt"
        seat.find("#note-filter").fill("hostile")
        seat.open(note_id)
        lines = seat.page.evaluate("[...document.querySelectorAll('#text .line')].map(line => line.textContent)")
        assert "\n".join(lines) == HOSTILE
        assert seat.page.evaluate("window.hacked") is None
        assert seat.find("#text script, #text img, #notes i, .top i").count() == 0
        turns = seat.find("#text .turn")
        assert [turn.get_attribute("data-name") for turn in turns.all()] == ["RLO", "PDF", "RLI", "PDI"]
        seat.sees("#who", "<i>eve</i>")
        seat.sees("#unfamiliar", "This note is unlike those the coder was trained on.")
        # What follows a turned character stands where it would without it.
        order = "[...document.querySelectorAll('.turn')].slice(0, 2).map(turn => turn.getBoundingClientRect().left)"
        before, after = seat.page.evaluate(order)
        assert before < after
        seat.keep_screenshot("hostile")


class TestLongNotes:
    def test_a_thousand_lines(self, sit: Sit) -> None:
        seat = sit()
        seat.open("long")
        assert seat.find("#text .line").count() == LINES
        seat.sees("#truncated", "the note's end was not read")
        expect(seat.find("#unfamiliar")).to_have_count(0)
        seat.press("e", "e")
        seat.sees("#said", re.compile(r"Passage \d+ of \d+"))
        seat.press("j", "k", "a")
        seat.sees("#said", "Accepted")
        seat.press("u")
        seat.sees("#said", "Took back")
        seat.keep_screenshot("long")


class TestShapes:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_axe_finds_nothing_serious(self, sit: Sit, scheme: str) -> None:
        seat = sit(color_scheme=scheme)
        expect(seat.find("#notes a").first).to_be_visible()
        assert seat.barriers() == []
        seat.open({"light": "n8", "dark": "n12"}[scheme])
        seat.press("m", "a")
        seat.sees("#said", "Accepted")
        assert seat.barriers() == []
        seat.keep_screenshot(f"note-{scheme}")
        for key, name in (("?", "Keys"), ("/", "Search"), ("s", "Submit"), ("h", "History"), ("d", "Export")):
            seat.press(key)
            seat.sees("dialog[open] h2", name)
            assert seat.barriers() == []
            seat.press("Escape")
        seat.press("s", "Enter")
        seat.sees("#submitted", "anna")
        seat.find("#to-measures").click()
        seat.sees("#measures-view", "What the words mean")
        assert seat.barriers() == []
        seat.keep_screenshot(f"measures-{scheme}")
        seat.find("#to-review").click()
        seat.find("#submitted button").click()
        seat.sees("#said", "Reopened")

    def test_a_theme_can_be_chosen(self, sit: Sit) -> None:
        seat = sit(color_scheme="light")
        ground = "getComputedStyle(document.body).backgroundColor"
        light = seat.page.evaluate(ground)
        seat.find("#theme").click()
        seat.find("#theme").click()
        seat.sees("#theme", "dark")
        dark = seat.page.evaluate(ground)
        assert dark != light
        seat.page.reload()
        assert seat.page.evaluate(ground) == dark

    @pytest.mark.parametrize(("width", "height"), [(720, 450), (640, 400), (320, 256)])
    def test_enlarged_nothing_is_lost(self, sit: Sit, width: int, height: int) -> None:
        """A window of 1440 or 1280 pixels at 200 %, and of 1280 at 400 %."""
        seat = sit(viewport={"width": width, "height": height}, device_scale_factor=2)
        seat.open("n9")
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert seat.page.evaluate(overflow) <= 0
        for selector in ("#text", "#suggestions .row >> nth=0", "#submit", "#search", "#export", "#help", "#why"):
            seat.find(selector).scroll_into_view_if_needed()
            expect(seat.find(selector)).to_be_in_viewport()
        assert seat.barriers() == []
        seat.keep_screenshot(f"enlarged-{width}")
        seat.find("#to-measures").click()
        seat.sees("#measures-view", "Measures")
        assert seat.page.evaluate(overflow) <= 0


class TestNetwork:
    def test_nothing_comes_from_elsewhere(self, sit: Sit, service: Service) -> None:
        seat = sit()
        asked: list[str] = []
        seat.page.on("request", lambda request: asked.append(request.url))
        seat.page.reload()
        seat.open("n10")
        assert len(asked) > 10
        assert all(url.startswith(service.url) for url in asked)

    def test_a_silent_server_is_said(self, sit: Sit, service: Service) -> None:
        seat = sit()
        seat.open("n11")
        seat.context.set_offline(True)
        seat.press("a")
        seat.sees("#alarm", "The server does not answer")
        seat.context.set_offline(False)
        assert recorded(service, "n11")["diagnoses"] == []


def test_a_token_is_asked_for(browser: Browser, coder_folder: Path, tmp_path: Path) -> None:
    token = "correct-horse-battery"
    with started(coder_folder, tmp_path, token=token, ready=False) as service:
        seat = Seat(browser, service.url)
        seat.sees("dialog[open]", "This desk needs a token")
        seat.press(*"wrong-token-entirely", "Enter")
        seat.sees("dialog[open]", "This desk needs a token")
        seat.press(*token, "Enter")
        expect(seat.find("#notes a").first).to_be_visible(timeout=PATIENCE_MS)
        seat.leave()
