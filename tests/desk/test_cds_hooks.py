"""What an EHR sends to the running server, whole and damaged, and what it can take over from the answer."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.condition import Condition
from fhir.resources.R4B.procedure import Procedure
from hypothesis import HealthCheck, given, settings

from tests.desk.service import Service
from tests.desk.test_documents import ANY_JSON, bundle, document
from tests.fitted_coder import Fitted

HOOK = "/cds-services/suggest-icd-9-cm"
CONTEXT = {"userId": "Practitioner/1", "patientId": "2", "encounterId": "3"}
FHIR = {"Content-Type": "application/fhir+json"}


@pytest.fixture(scope="module")
def text(fitted: Fitted) -> bytes:
    """A note of which the small coder suggests something."""
    return next(coded.note.text for coded in fitted.test if fitted.coder.code(coded.note).accepted).encode()


def ask(service: Service, documents: Any, context: Any = CONTEXT) -> httpx.Response:
    body = {
        "hook": "encounter-discharge",
        "hookInstance": "1",
        "context": context,
        "prefetch": {"documents": documents},
    }
    return service.client.post(HOOK, content=json.dumps(body), headers={"Content-Type": "application/json"})


def cards(service: Service, documents: Any, context: Any = CONTEXT) -> list[dict[str, Any]]:
    answered = ask(service, documents, context)
    assert answered.status_code == 200, answered.text
    found: list[dict[str, Any]] = answered.json()["cards"]
    return found


def suggested(card: dict[str, Any]) -> list[dict[str, Any]]:
    return [item["actions"][0]["resource"] for item in card["suggestions"]]


def test_one_bad_document_does_not_stop_the_others(service: Service, text: bytes) -> None:
    (card,) = cards(service, bundle(document(b" \n", id="e"), document(text, id="g")))
    assert card["suggestions"]
    assert "1 document could not be read:\nDocument e was not read: the note is empty." in card["detail"]
    assert card["indicator"] == "warning"


@pytest.mark.parametrize(
    ("documents", "said"),
    [
        (bundle(document(status="superseded", id="old")), "Document old was not read: its status is superseded"),
        (bundle(document(kind="text/html")), "it is text/html"),
        (
            bundle({**document(), "content": [{"attachment": {"contentType": "text/plain", "url": "Binary/1"}}]}),
            "its text is not part of the request",
        ),
        (bundle(5, {"resourceType": "OperationOutcome"}), "met a problem"),
    ],
)
def test_what_was_not_read_does_not_look_like_nothing_to_code(service: Service, documents: Any, said: str) -> None:
    (card,) = cards(service, documents)
    assert said in card["detail"]
    assert (card["indicator"], "suggestions" in card) == ("warning", False)
    assert "No codes suggested: " in card["summary"]
    assert "could not be read" in card["summary"]
    assert len(card["summary"]) < 140
    given = {"card": card["uuid"], "outcome": "overridden"}
    assert service.client.post(f"{HOOK}/feedback", json={"feedback": [given]}).status_code == 200


def test_nothing_there_is_no_card_and_no_answer_is_412(service: Service) -> None:
    assert cards(service, bundle()) == cards(service, None) == []
    assert ask(service, {"resourceType": "OperationOutcome", "issue": []}).status_code == 412
    assert ask(service, {"resourceType": "Patient"}).status_code == 422


def test_more_documents_than_are_read_at_a_time(service: Service, text: bytes) -> None:
    found = cards(service, bundle(*[document(text)] * 66))
    assert len(found) == 64
    assert "Document 65 was not read: only 64 are read at a time" in found[0]["detail"]


def test_what_is_suggested_can_be_taken_over(service: Service, text: bytes) -> None:
    (card,) = cards(service, bundle(document(text, id="d1", subject={"reference": "Patient/2"})))
    assert suggested(card)
    for resource in suggested(card):
        condition = resource["resourceType"] == "Condition"
        (Condition if condition else Procedure).model_validate(resource)
        assert resource["subject"] == {"reference": "Patient/2"}
        assert resource["encounter"] == {"reference": "Encounter/3"}
        places = resource["evidence"][0]["detail"] if condition else resource["report"]
        assert {place["reference"] for place in places} == {"DocumentReference/d1"}


def test_the_documents_own_patient_and_encounter_go_first(service: Service, text: bytes) -> None:
    own = {
        "subject": {"reference": "https://ehr/fhir/Patient/9"},
        "context": {"encounter": [{"reference": "Encounter/8"}]},
    }
    for context, subject in ((CONTEXT, "https://ehr/fhir/Patient/9"), ({}, "https://ehr/fhir/Patient/9")):
        (card,) = cards(service, bundle(document(text, **own)), context)
        assert {resource["subject"]["reference"] for resource in suggested(card)} == {subject}
        assert {resource["encounter"]["reference"] for resource in suggested(card)} == {"Encounter/8"}


@pytest.mark.parametrize("reason", [{"reason": "wrong"}, {"reason": ["x"]}, {"code": "\ud800"}, {"code": 5}, {}])
def test_any_reason_is_recorded_or_left_out(service: Service, text: bytes, reason: dict[str, Any]) -> None:
    (card,) = cards(service, document(text))
    given = {"feedback": [{"card": card["uuid"], "outcome": "overridden", "overrideReason": reason}]}
    answered = service.client.post(
        f"{HOOK}/feedback", content=json.dumps(given), headers={"Content-Type": "application/json"}
    )
    assert answered.status_code == 200


@pytest.mark.slow
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(ANY_JSON, ANY_JSON)
def test_no_json_is_a_server_error(service: Service, anything: Any, other: Any) -> None:
    sound = {
        "hook": "encounter-discharge",
        "hookInstance": "1",
        "context": CONTEXT,
        "prefetch": {"documents": document()},
    }
    card = {"card": "0" * 36, "outcome": "overridden"}
    for path, body in (
        (HOOK, anything),
        *((HOOK, {**sound, field: anything}) for field in sound),
        (HOOK, {**sound, "prefetch": {"documents": {**document(), "id": anything, "subject": other}}}),
        (HOOK, {**sound, "prefetch": {"documents": bundle(anything, document())}}),
        (f"{HOOK}/feedback", anything),
        (f"{HOOK}/feedback", {"feedback": [{**card, "overrideReason": anything, "acceptedSuggestions": other}]}),
        ("/v1/code/fhir", anything),
        ("/v1/code/fhir", {**document(), "content": anything, "context": other}),
        ("/v1/feedback", anything),
    ):
        answered = service.client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answered.status_code < 500, (path, body)


class TestFhir:
    def test_a_document_reference(self, service: Service, text: bytes) -> None:
        sent = document(text, id="d7", status="current", subject={"reference": "Patient/p1"})
        answered = service.client.post("/v1/code/fhir?evidence=true", content=json.dumps(sent), headers=FHIR)
        assert (answered.status_code, answered.headers["content-type"]) == (200, "application/fhir+json")
        Bundle.model_validate(answered.json())
        resources = [entry["resource"] for entry in answered.json()["entry"]]
        coded = [one for one in resources if one["resourceType"] in ("Condition", "Procedure")]
        assert coded
        assert {one["subject"]["reference"] for one in coded} == {"Patient/p1"}
        (provenance,) = [one for one in resources if one["resourceType"] == "Provenance"]
        assert provenance["entity"][0]["what"] == {"reference": "DocumentReference/d7"}

    def test_a_plain_note_and_a_document_without_an_id(self, service: Service, text: bytes) -> None:
        for body in ({"text": text.decode()}, document(text)):
            bundle = service.client.post("/v1/code/fhir", json=body).json()
            Bundle.model_validate(bundle)
            assert bundle["entry"][0]["resource"]["resourceType"] == "DocumentReference"

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (document(kind="text/html", id="h"), "Document h was not read: it is text/html"),
            (document(status="superseded"), "its status is superseded"),
            ({"resourceType": "Bundle"}, "DocumentReference"),
            ({"text": ""}, "at least 1 character"),
            ([], "valid dictionary"),
        ],
    )
    def test_what_cannot_be_coded_is_an_operation_outcome(self, service: Service, body: Any, said: str) -> None:
        for headers in (FHIR, {"Content-Type": "application/json", "Accept": "application/fhir+json; charset=utf-8"}):
            answered = service.client.post("/v1/code/fhir", content=json.dumps(body), headers=headers)
            assert (answered.status_code, answered.headers["content-type"]) == (422, "application/fhir+json")
            outcome = answered.json()
            assert (outcome["resourceType"], outcome["issue"][0]["severity"]) == ("OperationOutcome", "error")
            assert said in outcome["issue"][0]["diagnostics"]
        assert service.client.post("/v1/code/fhir", json=body).json()["detail"] == outcome["issue"][0]["diagnostics"]


def test_base64_of_a_mime_library(service: Service, text: bytes) -> None:
    sent = document()
    sent["content"][0]["attachment"]["data"] = base64.encodebytes(text * 3).decode()
    (card,) = cards(service, sent)
    assert card["uuid"]
