"""Bundles against fhir.resources' models of R4B; for these resources R4B keeps R4 (4.0.1) as it was."""

from __future__ import annotations

from typing import Any

import pytest
from fhir.resources.R4B.bundle import Bundle

from concept_icd.desk.api.fhir import review_entries
from concept_icd.desk.review import Review
from concept_icd.ontology.tree import load_ontology
from concept_icd.records import Note
from concept_icd.records.fhir import Document, bundle_of, suggested_bundle
from tests.desk.test_review import DX, PX, fold
from tests.fitted_coder import Fitted

NOTE = Note("a1", "Cough and fever. Line placed.", patient_id="p7")
ICD9, ICD10 = (
    {"diagnosis": ontology.system("diagnosis"), "procedure": ontology.system("procedure")}
    for ontology in map(load_ontology, ("icd9cm", "icd10"))
)
TITLES = {"486": "Pneumonia", "780.6": "Fever", "38.93": "Line"}


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    Bundle.model_validate(bundle)
    ids = {entry["fullUrl"] for entry in bundle["entry"]}
    refer = [entry["resource"] for entry in bundle["entry"]]
    named = {reference for resource in refer for reference in _references(resource)}
    assert named <= ids, "a reference leads nowhere"
    return [resource for resource in refer if resource["resourceType"] == kind]


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["reference"]] if "reference" in value else []
        return own + [found for part in value.values() for found in _references(part)]
    return [found for part in value for found in _references(part)] if isinstance(value, list) else []


def submitted() -> Review:
    return fold(
        ("anna", "accept", "780.6", DX),
        ("anna", "accept", "486", DX),
        ("anna", "accept", "38.93", PX),
        ("anna", "submit", None, {}),
    )


def test_a_submitted_review_has_a_claim_in_sequence_with_the_principal_marked() -> None:
    bundle = bundle_of(review_entries(NOTE, submitted(), TITLES, ICD9))
    (claim,) = resources(bundle, "Claim")
    conditions = {f"urn:uuid:{r['id']}": r for r in resources(bundle, "Condition")}
    listed = [
        (item["sequence"], conditions[item["diagnosisReference"]["reference"]]["code"]["coding"][0]["code"])
        for item in claim["diagnosis"]
    ]
    assert listed == [(1, "780.6"), (2, "486")]
    assert claim["diagnosis"][0]["type"][0]["coding"][0]["code"] == "principal"
    assert "type" not in claim["diagnosis"][1]
    assert [item["sequence"] for item in claim["procedure"]] == [1]
    (procedure,) = resources(bundle, "Procedure")
    codings = {coding["system"]: coding["code"] for coding in procedure["code"]["coding"]}
    assert codings["urn:oid:2.16.840.1.113883.6.104"] == "38.93"
    assert all(r["verificationStatus"]["coding"][0]["code"] == "confirmed" for r in conditions.values())
    (provenance,) = resources(bundle, "Provenance")
    assert provenance["agent"][1]["who"]["display"] == "anna"


def test_codes_of_icd_10_are_of_their_own_systems() -> None:
    review = fold(("anna", "accept", "I50.21", DX), ("anna", "accept", "0DTJ4ZZ", PX), ("anna", "submit", None, {}))
    titles = {"I50.21": "Acute systolic heart failure", "0DTJ4ZZ": "Resection of appendix"}
    bundle = bundle_of(review_entries(NOTE, review, titles, ICD10))
    codings = [r["code"]["coding"] for kind in ("Condition", "Procedure") for r in resources(bundle, kind)]
    assert [[(coding["system"], coding["code"]) for coding in own] for own in codings] == [
        [("http://hl7.org/fhir/sid/icd-10-cm", "I50.21")],
        [("http://www.cms.gov/Medicare/Coding/ICD10", "0DTJ4ZZ")],
    ]


def test_an_open_review_is_unconfirmed_and_claims_nothing() -> None:
    bundle = bundle_of(review_entries(NOTE, fold(("anna", "accept", "486", DX)), TITLES, ICD9))
    assert resources(bundle, "Claim") == []
    (condition,) = resources(bundle, "Condition")
    assert condition["verificationStatus"]["coding"][0]["code"] == "unconfirmed"
    assert NOTE.text not in str(bundle)


def test_reviews_without_codes_and_without_reviews() -> None:
    nothing = fold(("anna", "submit", None, {}))
    (claim,) = resources(bundle_of(review_entries(NOTE, nothing, {}, ICD9)), "Claim")
    assert "diagnosis" not in claim
    Bundle.model_validate(bundle_of([]))


def test_suggestions_of_a_coder(fitted: Fitted) -> None:
    result = next(found for note in fitted.test if (found := fitted.coder.code(note.note, evidence=True)).accepted)
    bundle = suggested_bundle(Document(fitted.test[0].note), result)
    coded = resources(bundle, "Condition") + resources(bundle, "Procedure")
    ranks = {r["code"]["coding"][0]["code"]: r["extension"][0]["valueInteger"] for r in coded}
    assert ranks == {code.code: code.rank for code in result.accepted}
    assert {r.get("status", "unconfirmed") for r in coded} <= {"unconfirmed", "unknown"}


def test_the_models_would_refuse_a_wrong_bundle() -> None:
    bundle = bundle_of(review_entries(NOTE, submitted(), TITLES, ICD9))
    del resources(bundle, "Claim")[0]["insurance"]
    with pytest.raises(ValueError, match="insurance"):
        Bundle.model_validate(bundle)
