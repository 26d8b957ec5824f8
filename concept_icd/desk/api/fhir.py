"""Reviews as FHIR R4 resources: submitted ones as confirmed, with a Claim; see `concept_icd.records.fhir`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from concept_icd.desk.review import Decided, Review
from concept_icd.records import Note
from concept_icd.records.fhir import (
    CODES,
    Document,
    Resource,
    coded_resource,
    document_resource,
    id_of,
    patient_of,
    provenance_resource,
)


def review_entries(note: Note, review: Review, titles: Mapping[str, str], systems: Mapping[str, str]) -> list[Resource]:
    """The resources of one review: the document, each accepted code, the Claim if it is submitted, the Provenance.

    Args:
        systems: kind of codes -> the URI of its code system (`Ontology.system`).
    """
    document, submitted = Document(note), review.submitted
    confirmed = submitted is not None

    def resource_of(decided: Decided) -> Resource:
        kind, code = decided.kind, decided.code
        return coded_resource(document, kind, code, titles[code], confirmed=confirmed, system=systems[kind])

    coded = [(decided, resource_of(decided)) for listed in review.accepted.values() for decided in listed]
    resources = [resource for _, resource in coded]
    last = submitted or review.last
    if last is None:
        return [document_resource(document)]
    claim = [_claim(document, coded, submitted.at)] if submitted else []
    provenance = provenance_resource([*resources, *claim], document, last.at, review.versions, last.by)
    return [document_resource(document), *resources, *claim, provenance]


def _claim(document: Document, coded: Sequence[tuple[Decided, Resource]], at: str) -> Resource:
    """A draft: what a bill needs beside its codes is not known here, and R4 asks for it, so it says so."""
    claim: Resource = {
        "resourceType": "Claim",
        "id": id_of(document.note, "claim"),
        "status": "draft",
        "type": {"coding": [{"system": f"{CODES}/claim-type", "code": "institutional"}]},
        "use": "claim",
        "patient": patient_of(document),
        "created": at,
        "provider": {"display": "not known to concept-icd"},
        "priority": {"coding": [{"system": f"{CODES}/processpriority", "code": "normal"}]},
        "insurance": [{"sequence": 1, "focal": True, "coverage": {"display": "not known to concept-icd"}}],
    }
    for kind in ("diagnosis", "procedure"):
        listed = [resource for decided, resource in coded if decided.kind == kind]
        items = [
            {"sequence": number, f"{kind}Reference": {"reference": f"urn:uuid:{resource['id']}"}}
            for number, resource in enumerate(listed, 1)
        ]
        if items and kind == "diagnosis":
            items[0]["type"] = [{"coding": [{"system": f"{CODES}/ex-diagnosistype", "code": "principal"}]}]
        if items:
            claim[kind] = items
    return claim
