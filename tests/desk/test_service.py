"""A running server: coding, reviews by several people, exports, what other programs ask."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from concept_icd.coder.coder import ConceptCoder
from concept_icd.corpora import read_jsonl
from concept_icd.records import Note
from concept_icd.text.normalization import normalize
from tests.desk.service import NOTES, Service
from tests.fitted_coder import CODES, Fitted, make_notes

HOOK = "/cds-services/suggest-icd-9-cm"


class TestCoding:
    def test_one_note_as_the_library_codes_it(self, service: Service, coder_folder: Path) -> None:
        note = make_notes(1, 7, "x")[0]
        answered = service.client.post("/v1/code?concepts=2", json={"note_id": "x", "text": note.text}).json()
        result = ConceptCoder.from_pretrained(coder_folder).code(Note("x", note.text), top_concepts=2)
        expected = json.loads(json.dumps(result.to_dict()))
        assert [code["code"] for code in answered["codes"]] == [code["code"] for code in expected["codes"]]
        for got, wanted in zip(answered["codes"], expected["codes"], strict=True):
            assert got["probability"] == pytest.approx(wanted["probability"], abs=1e-4)
            assert [c["key"] for c in got["concepts"]] == [c["key"] for c in wanted["concepts"]]
            assert got.keys() == wanted.keys()
        assert answered.keys() == expected.keys()
        assert (answered["note_id"], answered["versions"]) == ("x", expected["versions"])
        assert (answered["familiarity"], answered["unfamiliar"]) == (expected["familiarity"], expected["unfamiliar"])

    def test_a_list_of_notes_whatever_their_ids(self, service: Service) -> None:
        notes = [{"note_id": "same", "text": note.text} for note in make_notes(5, 8, "x")]
        together = service.client.post("/v1/code?top=3", json=notes).json()
        alone = [service.client.post("/v1/code?top=3", json=note).json() for note in notes]
        assert [[c["code"] for c in r["codes"]] for r in together] == [[c["code"] for c in r["codes"]] for r in alone]
        assert {record["note_id"] for record in together} == {"same"}
        assert {len(record["codes"]) for record in together} == {3}

    def test_evidence_is_a_span_of_the_text(self, service: Service, fitted: Fitted) -> None:
        note = next(coded.note for coded in fitted.test if fitted.coder.code(coded.note).accepted)
        codes = service.client.post("/v1/code?evidence=true", json={"text": note.text}).json()["codes"]
        spans = [span for code in codes if code["accepted"] for span in code["evidence"]]
        assert spans
        assert all(0 <= start < end <= len(note.text) for start, end in spans)

    def test_fhir(self, service: Service) -> None:
        answered = service.client.post("/v1/code/fhir", json={"text": "cough and fever"})
        assert answered.headers["content-type"] == "application/fhir+json"
        Bundle.model_validate(answered.json())

    def test_model_says_what_it_cannot_do(self, service: Service) -> None:
        model = service.client.get("/v1/model").json()
        assert model["code_list"] == list(CODES)
        assert (model["diagnoses"], model["procedures"]) == (5, 1)
        assert "2015" in " ".join(model["warnings"])


class TestCodes:
    @pytest.mark.parametrize("changed", ["\u00a0", "\t", " \u2009", "\u00ad \ufeff"])
    def test_characters_that_nobody_sees_change_nothing(self, service: Service, fitted: Fitted, changed: str) -> None:
        text = next(coded.note.text for coded in fitted.test if fitted.coder.code(coded.note).accepted)
        copy = "\ufeff" + text.replace(" ", changed) + "\r\n"
        one, other = (
            service.client.post("/v1/code?evidence=true", json={"text": note}).json()["codes"] for note in (text, copy)
        )
        assert [(code["code"], code["probability"], code["accepted"]) for code in other] == [
            (code["code"], code["probability"], code["accepted"]) for code in one
        ]
        assert any(code["evidence"] for code in one)
        for code, same in zip(one, other, strict=True):
            passages = [normalize(copy[start:end]).text for start, end in same["evidence"]]
            assert passages == [text[start:end] for start, end in code["evidence"]]

    def test_search_folds_accents_and_says_where_nothing_is_known(self, service: Service) -> None:
        def asked(words: str) -> dict[str, Any]:
            found: dict[str, Any] = service.client.get("/v1/codes", params={"q": words}).json()
            return found

        assert asked("Meniere")["codes"][0]["code"] == asked("M\u00e9ni\u00e8re")["codes"][0]["code"] == "386.0"
        assert asked("Sj\u00f6gren") == asked("Sjogren")
        assert asked("Meniere")["notice"] is None
        assert asked("Crohn\u2019s")["codes"] == []
        assert "no word of two letters or more" in asked("Crohn\u2019s")["notice"]

    def test_search_by_words_and_by_the_beginning_of_a_code(self, service: Service) -> None:
        by_words = service.client.get("/v1/codes", params={"q": "congestive heart fail"}).json()["codes"]
        assert by_words[0]["code"] == "428.0"
        assert by_words[0]["path"] == ["390-459", "420-429", "428", "428.0"]
        by_code = service.client.get("/v1/codes", params={"q": "38.9", "billable": True}).json()["codes"]
        assert {"38.93": True, "38.91": False}.items() <= {c["code"]: c["known_to_coder"] for c in by_code}.items()
        assert all(code["billable"] for code in by_code)

    def test_only_of_a_kind(self, service: Service) -> None:
        found = service.client.get("/v1/codes", params={"q": "heart", "kind": "procedure", "limit": 5}).json()["codes"]
        assert [code["kind"] for code in found] == ["procedure"] * 5

    def test_a_code_with_its_path_and_what_is_below(self, service: Service) -> None:
        shown = service.client.get("/v1/codes/428").json()
        assert [step["code"] for step in shown["path"]] == ["390-459", "420-429", "428"]
        assert "428.0" in [child["code"] for child in shown["children"]]
        assert shown["notes"] == ["Not billable: 6 codes stand below it."]
        assert service.client.get("/v1/codes/4280?kind=diagnosis").json()["code"] == "428.0"

    def test_an_unknown_code_names_the_nearest(self, service: Service) -> None:
        answered = service.client.get("/v1/codes/428.99")
        assert answered.status_code == 404
        assert "'428.9'" in answered.json()["detail"]

    @pytest.mark.parametrize("who", [{"sex": "female", "age": 0}, {"sex": "M", "age": 304}, {"sex": "unknown"}])
    def test_sex_and_age_are_read_as_from_a_corpus(self, service: Service, who: dict[str, object]) -> None:
        assert service.client.post("/v1/code", json={"text": "cough", **who}).status_code == 200

    @pytest.mark.parametrize("who", [{"sex": "weiblich"}, {"sex": 1}, {"age": -1}, {"age": 200}, {"age": "old"}])
    def test_what_is_no_sex_or_age_is_refused(self, service: Service, who: dict[str, object]) -> None:
        answered = service.client.post("/v1/code", json={"text": "cough", **who})
        assert answered.status_code == 422
        assert "'sex' must be" in answered.text or "'age' must be" in answered.text


class TestReview:
    def test_from_opening_to_export(self, service: Service) -> None:
        anna = service.person("Anna Müller", "n0")
        opened = anna.open()
        assert opened["review"]["status"] == "new"
        assert [code["rank"] for code in opened["suggestions"]["codes"]] == list(range(1, len(CODES) + 1))
        first = next(code["code"] for code in anna.suggestions if code["kind"] == "diagnosis")
        anna.does("accept", first)
        anna.does("add", "428.0")
        anna.does("add", "38.91")
        state = anna.does("reorder", kind="diagnosis", order=["428.0", first])
        assert [(c["code"], c["sequence"], c["principal"]) for c in state["diagnoses"]] == [
            ("428.0", 1, True),
            (first, 2, False),
        ]
        assert state["undo"]["action"] == "reorder"
        anna.does("undo")
        state = anna.does("submit", reject_undecided=True)
        assert (state["status"], state["submitted"]["by"]) == ("submitted", "Anna Müller")
        assert anna.decide("add", "401.9").status_code == 409

        line = json.loads(service.client.get("/v1/export.jsonl", params={"key": anna.key}).text)
        assert (line["diagnoses"], line["procedures"]) == ([first, "428.0"], ["38.91"])
        table = list(csv.DictReader(io.StringIO(service.client.get("/v1/export.csv", params={"key": anna.key}).text)))
        kept = [(row["code"], row["decision"], row["sequence"]) for row in table if row["sequence"]]
        assert kept == [(first, "accepted", "1"), ("428.0", "added", "2"), ("38.91", "added", "1")]
        bundle = service.client.get("/v1/export.fhir.json", params={"key": anna.key}).json()
        Bundle.model_validate(bundle)
        assert "Claim" in [entry["resource"]["resourceType"] for entry in bundle["entry"]]
        history = service.client.get(f"{anna.url}/history").json()["events"]
        assert [event["action"] for event in history][:3] == ["open", "suggest", "accept"]
        assert [event["undone"] for event in history if event["action"] == "reorder"] == [True]
        assert history[-1]["versions"] == opened["suggestions"]["versions"]
        assert anna.does("reopen")["status"] == "open"

    def test_exported_lines_are_a_corpus(self, service: Service, tmp_path: Path) -> None:
        anna = service.person("anna", "n1")
        anna.open()
        anna.does("add", "428.0")
        anna.does("submit", reject_undecided=True)
        (tmp_path / "reviews.jsonl").write_bytes(service.client.get(f"/v1/export.jsonl?key={anna.key}").content)
        (coded,) = read_jsonl(tmp_path / "reviews.jsonl")
        assert (coded.note.note_id, coded.diagnoses) == ("n1", ("428.0",))
        assert (coded.note.patient_id, coded.note.age, coded.note.sex) == ("p", 0.0, "F")
        assert "😀" in coded.note.text

    def test_evidence_counts_as_javascript_does(self, service: Service) -> None:
        anna = service.person("anna", "n2")
        anna.open()
        text = service.client.get(anna.url).json()["text"]
        units = text.encode("utf-16-le")
        found = service.client.get(f"{anna.url}/evidence").json()["evidence"]
        pieces = [units[2 * a : 2 * b].decode("utf-16-le") for spans in found.values() for a, b in spans]
        assert pieces
        assert all(piece in text and piece == piece.strip() for piece in pieces)

    def test_two_people_on_one_note(self, service: Service) -> None:
        anna, ben = service.person("anna", "n3"), service.person("ben", "n3")
        anna.open()
        assert ben.open()["review"]["here"] == ["anna"]
        anna.does("add", "428.0")
        refused = ben.decide("add", "401.9")
        assert refused.status_code == 409
        assert "anna was faster" in refused.json()["detail"]
        assert [code["code"] for code in refused.json()["review"]["diagnoses"]] == ["428.0"]
        assert ben.review()["last"]["by"] == "anna"
        ben.version = refused.json()["review"]["version"]
        state = ben.does("add", "401.9")
        assert [(code["code"], code["by"]) for code in state["diagnoses"]] == [("428.0", "anna"), ("401.9", "ben")]
        assert anna.decide("undo").status_code == 409
        anna.version = state["version"]
        assert [code["code"] for code in anna.does("undo")["diagnoses"]] == ["401.9"]

    def test_nobody_polls_in_vain(self, service: Service) -> None:
        anna = service.person("anna", "n4")
        anna.open()
        for url in (f"{anna.url}/review", "/v1/notes"):
            tag = service.client.get(url, headers=anna.headers).headers["etag"]
            unchanged = service.client.get(url, headers={**anna.headers, "If-None-Match": tag})
            assert (unchanged.status_code, unchanged.content) == (304, b"")
        anna.does("add", "428.0")
        assert service.client.get("/v1/notes", headers={"If-None-Match": tag}).status_code == 200

    def test_an_unopened_note_cannot_be_decided_on(self, service: Service) -> None:
        anna = service.person("anna", "n5")
        assert "open it first" in anna.decide("add", "428.0").json()["detail"]

    def test_who_decides_must_be_said(self, service: Service) -> None:
        anna = service.person("anna", "n5")
        anonymous = service.client.post(f"{anna.url}/open", json={})
        assert (anonymous.status_code, "X-Coder" in anonymous.json()["detail"]) == (400, True)

    def test_worklist_and_measures(self, service: Service) -> None:
        listed = service.client.get("/v1/notes").json()
        assert len(listed["notes"]) == NOTES == sum(listed["counts"].values())
        anna = service.person("anna", "n6")
        anna.open()
        anna.does("add", "428.0")
        anna.does("submit", reject_undecided=True)
        measures = service.client.get("/v1/measures").json()
        assert measures["submitted"] >= 1
        assert measures["definitions"].keys() >= {"accepted", "added", "removed", "minutes_per_note"}
        assert next(row for row in measures["codes"] if row["code"] == "428.0")["added"] >= 1


class TestOtherPrograms:
    def test_feedback_reaches_the_record(self, service: Service) -> None:
        body = {"note_id": "a1", "codes": [{"code": "486", "outcome": "accepted"}]}
        answered = service.client.post("/v1/feedback", json=body, headers={"X-Coder": "ehr"})
        assert answered.status_code == 201
        wrong = {**body, "codes": [{"code": "4861", "outcome": "accepted"}]}
        assert service.client.post("/v1/feedback", json=wrong, headers={"X-Coder": "ehr"}).status_code == 422

    def test_cds_hooks_at_discharge(self, service: Service, fitted: Fitted) -> None:
        (found,) = service.client.get("/cds-services").json()["services"]
        assert (found["hook"], f"/cds-services/{found['id']}") == ("encounter-discharge", HOOK)
        text = next(coded.note.text for coded in fitted.test if fitted.coder.code(coded.note).accepted)
        attachment = {"contentType": "text/plain", "data": base64.b64encode(text.encode()).decode()}
        document = {"resourceType": "DocumentReference", "id": "d1", "content": [{"attachment": attachment}]}
        hook: dict[str, Any] = {"hook": "encounter-discharge", "hookInstance": "1", "context": {"patientId": "2"}}
        assert service.client.post(HOOK, json=hook).status_code == 412
        hook["prefetch"] = {"documents": {"resourceType": "Bundle", "entry": [{"resource": document}]}}
        (card,) = service.client.post(HOOK, json=hook).json()["cards"]
        assert len(card["summary"]) < 140
        suggestion = card["suggestions"][0]
        assert suggestion["actions"][0]["resource"]["resourceType"] in ("Condition", "Procedure")
        taken = {"card": card["uuid"], "outcome": "accepted", "acceptedSuggestions": [{"id": suggestion["uuid"]}]}
        assert service.client.post(f"{HOOK}/feedback", json={"feedback": [taken]}).status_code == 200
        unknown = {**taken, "card": card["uuid"].replace(card["uuid"][0], "0")}
        if unknown != taken:
            assert service.client.post(f"{HOOK}/feedback", json={"feedback": [unknown]}).status_code == 422

    def test_metrics_count(self, service: Service) -> None:
        service.client.post("/v1/code", json={"text": "cough"})
        text = service.client.get("/metrics").text
        assert re.search(r'concept_icd_requests_total\{method="POST",route="/v1/code",status="200"\} [1-9]', text)
        assert re.search(r"concept_icd_notes_scored_total [1-9]", text)

    def test_docs_load_nothing_from_elsewhere(self, service: Service) -> None:
        page = service.client.get("/docs").text
        assert "POST /v1/code" in page
        assert not re.search(r"<script|src=|https?://(?!terminology|hl7)", page)
        openapi = service.client.get("/openapi.json").json()
        assert openapi["components"]["schemas"]["NoteIn"]["examples"]
