"""Reviews in a real browser, against a real server: by keyboard, with evidence, by two people at once."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.desk.page_browser import PATIENCE_MS, Sit, recorded
from tests.desk.service import Service
from tests.fitted_coder import CODES

pytestmark = pytest.mark.slow


class TestKeyboard:
    def test_a_whole_review(self, sit: Sit, service: Service) -> None:
        seat = sit(known=False)
        seat.sees("dialog[open]", "Every decision is recorded with this name.")
        seat.press("Control+a", *"ben", "Enter")
        seat.sees("#who", "ben")
        seat.press("n")
        seat.wait_for_codes("n0")
        seat.press("m")  # the small coder has six codes; all are wanted here
        first, second, third = [code.get_attribute("data-code") for code in seat.find("#suggestions .row").all()][:3]
        while seat.chosen() != first:
            seat.press("k")
        seat.press("a")
        seat.sees("#said", f"Accepted {first}")
        while seat.chosen() != second:
            seat.press("j")
        seat.press("r")
        seat.sees("#said", f"Rejected {second}")
        seat.press("u")
        seat.sees("#said", f"Took back reject {second}")
        assert recorded(service, "n0")["rejected"] == []
        while seat.chosen() != second:
            seat.press("ArrowUp")
        seat.press("R")
        seat.sees("dialog[open]", "Denied or ruled out")
        seat.press("1")
        seat.sees("#said", f"Rejected {second}")
        while seat.chosen() != third:
            seat.press("ArrowDown")
        seat.press("a")
        seat.sees("#said", f"Accepted {third}")
        seat.press("/")
        seat.press(*"congestive heart")
        seat.sees("#search-found", "428.0")
        seat.press("Enter")
        seat.sees("#said", "Added 428.0")
        assert seat.chosen() == "428.0"
        seat.press("K", "K", "K")  # faster than the server answers
        expect(seat.find("#diagnoses .row").first).to_contain_text("428.0", timeout=PATIENCE_MS)
        seat.sees("#diagnoses .row:first-child", "Principal")
        listed, procedures = seat.listed(), seat.listed("procedures")
        seat.keep_screenshot("review")
        seat.press("s")
        seat.sees("dialog[open]", "Submit this review?")
        seat.press("Enter")
        seat.sees("#submitted", "ben")
        state = recorded(service, "n0")
        assert [entry["code"] for entry in state["diagnoses"]] == listed
        assert [entry["code"] for entry in state["procedures"]] == procedures
        assert {first, third, "428.0"} == {*listed, *procedures}
        assert state["diagnoses"][0]["origin"] == "added"
        assert (state["status"], state["submitted"]["by"]) == ("submitted", "ben")
        reasons = {entry["code"]: entry["reason"] for entry in state["rejected"]}
        assert reasons.pop(second) == "Denied or ruled out"
        assert set(reasons.values()) <= {"undecided when submitted"}

        seat.press("h")
        seat.sees("dialog[open]", "submit")
        seat.sees("dialog[open] tr.undone", "(undone)")
        seat.press("Escape")
        seat.press("d")
        for format, check in (("CSV", self.in_csv), ("JSONL", self.in_jsonl), ("FHIR R4", self.in_fhir)):
            with seat.page.expect_download() as saved:
                seat.find("dialog[open]").get_by_role("button", name=format, exact=True).press("Enter")
            check(Path(saved.value.path()).read_text(encoding="utf-8"), listed)
            seat.press("d")
        seat.press("Escape", "n")
        seat.wait_for_codes("n1")

    def in_csv(self, text: str, listed: list[str]) -> None:
        rows = [row for row in csv.DictReader(io.StringIO(text)) if row["note_id"] == "n0"]
        assert set(listed) <= {row["code"] for row in rows}

    def in_jsonl(self, text: str, listed: list[str]) -> None:
        (entry,) = [json.loads(line) for line in text.splitlines() if json.loads(line)["note_id"] == "n0"]
        assert entry["diagnoses"] == listed

    def in_fhir(self, text: str, listed: list[str]) -> None:
        resources = {entry["fullUrl"]: entry["resource"] for entry in json.loads(text)["entry"]}
        claim = next(resource for resource in resources.values() if resource["resourceType"] == "Claim")
        in_sequence = sorted(claim["diagnosis"], key=lambda item: int(item["sequence"]))
        named = [resources[item["diagnosisReference"]["reference"]]["code"] for item in in_sequence]
        assert [code["coding"][0]["code"] for code in named] == listed
        assert in_sequence[0]["type"][0]["coding"][0]["code"] == "principal"

    def test_keys_wait_while_somebody_types(self, sit: Sit, service: Service) -> None:
        seat = sit()
        seat.open("n2")
        before = recorded(service, "n2")["version"]
        seat.find("#note-filter").focus()
        seat.press("a", "r", "?")
        assert seat.find("dialog[open]").count() == 0
        assert seat.find("#note-filter").input_value() == "ar?"
        assert recorded(service, "n2")["version"] == before

    def test_help_lists_the_keys_and_turns_single_keys_off(self, sit: Sit) -> None:
        seat = sit()
        seat.open("n3")
        seat.press("?")
        seat.sees("dialog[open]", "next note that is not submitted")
        seat.find("#single-keys").press("Space")
        seat.press("Escape")
        seat.press("?")
        assert seat.find("dialog[open]").count() == 0
        seat.press("Alt+?")
        seat.sees("dialog[open]", "Single keys work")

    def test_the_list_is_reached_moved_in_and_emptied(self, sit: Sit, service: Service) -> None:
        seat = sit()
        seat.open("n4")
        seat.press("m")
        rows = seat.find("#suggestions .row")
        codes = [str(code.get_attribute("data-code")) for code in rows.all()]
        wanted = [code for code in codes if code != "38.93"][:3]
        for number, code in enumerate(wanted):
            rows.filter(has_text=code).get_by_role("button", name=f"Accept {code}").click()
            expect(seat.find("#diagnoses .row")).to_have_count(number + 1, timeout=PATIENCE_MS)
        seat.press("c", "j", "j", "j")
        assert seat.chosen() == wanted[2]
        seat.press("K")
        seat.sees("#said", "New order")
        assert seat.listed() == [wanted[0], wanted[2], wanted[1]]
        seat.press("x")
        seat.sees("#said", f"Took out {wanted[2]}")
        assert seat.listed() == [wanted[0], wanted[1]]
        assert [entry["code"] for entry in recorded(service, "n4")["diagnoses"]] == [wanted[0], wanted[1]]
        assert seat.chosen() == wanted[1]


class TestSuggestions:
    def test_hidden_ones_come_with_the_reason(self, sit: Sit) -> None:
        seat = sit()
        seat.open("n5")
        hidden = seat.find("#suggestions .row:has(.reason)")
        number = hidden.count()
        assert 0 < number < len(CODES)
        expect(hidden.first).to_be_hidden()
        seat.sees("#more", re.compile(rf"Show {number} more below the threshold of 0\.\d\d"))
        seat.find("#more").click()
        expect(hidden.first).to_be_visible()
        seat.sees("#suggestions .row:has(.reason) >> nth=0", re.compile(r"probability 0\.\d\d is below the threshold"))
        assert seat.find("#suggestions .row:visible").count() == len(CODES)

    def test_how_far_to_read_is_said_and_marked(self, sit: Sit, service: Service) -> None:
        seat = sit()
        seat.open("n5")
        found = service.person("reader", "n5").open()["suggestions"]["read_first"]
        assert found is not None
        seat.sees("#reading", re.compile(rf"read {found} suggestions? for 90 % expected recall"))
        seat.press("m")
        ranks = seat.find("#suggestions > li").all_inner_texts()
        mark = next(place for place, text in enumerate(ranks) if "Read to here" in text)
        assert mark == found

    def test_a_code_shows_its_evidence_and_its_path(self, sit: Sit) -> None:
        seat = sit()
        seat.open("long")
        code = seat.chosen()
        inside = """mark => {
            const [own, pane] = [mark, document.querySelector('#text')].map(each => each.getBoundingClientRect());
            return own.top >= pane.top && own.bottom <= pane.bottom;
        }"""
        first = seat.find("#text mark.at").first
        assert first.evaluate(inside)
        seat.page.evaluate("document.querySelector('#text').scrollTop = 1e9")
        assert not first.evaluate(inside)
        seat.find(f"#suggestions .row[data-code='{code}'] .pick").click()
        assert first.evaluate(inside)
        seat.sees("#why h3", code)
        assert seat.find("#why tbody tr").nth(-1).inner_text().startswith(code)

    def test_evidence_shows_its_codes(self, sit: Sit) -> None:
        seat = sit()
        seat.open("n6")
        seat.press("r")  # whatever was chosen
        # What speaks against a code that is not chosen is no mark that can be seen.
        marks = seat.find("#text mark.accepted, #text mark.suggested, #text mark.at")
        assert marks.count()
        marks.first.click()
        code = seat.chosen()
        expect(marks.first).to_have_class(re.compile(r"\bat\b"))
        seat.sees("#said", code)
        seat.press("]")
        seat.sees("#said", "evidence of")

    def test_what_speaks_against_a_code_has_a_mark_of_its_own(self, sit: Sit, service: Service) -> None:
        short = [note for note in service.client.get("/v1/notes").json()["notes"] if note["note_id"].startswith("n")]
        urls = {note["note_id"]: f"/v1/notes/{note['key']}" for note in short}
        spans = ((note_id, service.client.get(f"{url}/evidence").json()["against"]) for note_id, url in urls.items())
        note_id, against = next(found for found in spans if found[1])
        (code, ((start, end), *_)), *_ = against.items()
        units = service.client.get(urls[note_id]).json()["text"].encode("utf-16-le")
        passage = units[2 * start : 2 * end].decode("utf-16-le")
        seat = sit()
        seat.open(note_id)
        seat.press("m")
        seat.find(f"#suggestions .row[data-code='{code}'] .pick").click()
        mark = seat.find("#text mark.against").first
        expect(mark).to_be_visible()
        assert mark.inner_text() in passage
        assert mark.evaluate("mark => getComputedStyle(mark).textDecorationStyle") == "wavy"
        seat.sees("#legend .key.against", "against the chosen code")
        seat.sees("#why", "against it")
        seat.keep_screenshot("against")
        other = next(other for other in CODES if other not in against)
        seat.find(f"#suggestions .row[data-code='{other}'] .pick").click()
        expect(seat.find("#text mark.against")).to_have_count(0)


class TestTwoPeople:
    def test_nobody_overwrites_silently(self, sit: Sit, service: Service) -> None:
        anna, ben = sit("anna"), sit("ben")
        anna.open("n7")
        # Ben's page does not hear of news: his network loses them.
        ben.page.route("**/review", lambda route: route.abort())
        ben.open("n7")
        code = anna.chosen()
        assert ben.chosen() == code
        anna.press("r")
        anna.sees("#said", f"Rejected {code}")
        ben.press("a")
        ben.sees("#conflict", "anna was faster")
        ben.sees("#alarm", "anna was faster")
        ben.keep_screenshot("conflict")
        assert recorded(service, "n7")["diagnoses"] == []
        expect(ben.find(f"#suggestions .row[data-code='{code}']")).to_have_attribute("data-state", "rejected")
        ben.find("#conflict").get_by_role("button", name=f"Still accept {code}").click()
        ben.sees("#said", f"Accepted {code}")
        expect(ben.find("#conflict")).to_have_count(0)
        ben.page.unroute("**/review")
        # Anna hears of it, and sees who is here.
        expect(anna.find(f"#suggestions .row[data-code='{code}']")).to_have_attribute(
            "data-state", "accepted", timeout=PATIENCE_MS
        )
        anna.sees("#note-here", "Also open: ben")
        anna.sees(".listed", "ben")
